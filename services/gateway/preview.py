"""Requests of people who look at copy: what `copy_id`, `preview` and `write` in a body ask for, and who may ask.

They are believed only where the ids are: before any text of a person could stand. A pasted `"preview": true` further
down must cost nobody the send, so a key without the scope never gets a refusal for it; it is an unknown member, as
ever. A key that has the scope is somebody's at a desk, who is told.
"""

from typing import Any, Final
from uuid import UUID

from services.gateway.api_key import ApiKey
from services.gateway.errors import Refused
from services.gateway.reader import Asked
from shared.schemas.jobs import Preview

SCOPE: Final = "preview"

_NO: Final = (False, None, "false", "0", "")
_YES_OR_NO: Final = {True: True, "true": True, "1": True} | dict.fromkeys(_NO, False)


def preview_of(asked: Asked, api_key: ApiKey) -> Preview | None:
    """The preview that is asked for; a forced variant is one too, since nobody may learn from it. None: an ordinary
    request. Raises Refused."""
    if SCOPE not in api_key.scopes:
        if asked.trusted and any(_wanted(value) for value in asked.members.values()):
            param = next(iter(asked.members))
            raise Refused("missing_scope", f"This API key lacks the scope '{SCOPE}', which {param} needs.", param)
        return None
    if not asked.trusted:
        name = next(iter(asked.members))
        raise Refused("invalid_preview", f"{name} must stand once, and before attrs, fields and all else.", name)
    copy_id = _copy_id(asked.members.get("copy_id"))
    preview, write = (_flag(name, asked.members.get(name, False)) for name in ("preview", "write"))
    if not preview and copy_id is None:
        if write:
            raise Refused("invalid_preview", "write means nothing without preview.", "write")
        return None
    return Preview(copy_id=copy_id, write=write)


def _wanted(value: Any) -> bool:
    return value not in _NO


def _flag(name: str, value: Any) -> bool:
    try:
        return _YES_OR_NO[value]
    except (KeyError, TypeError):
        raise Refused("invalid_preview", f"{name} must be true or false.", name) from None


def _copy_id(value: Any) -> UUID | None:
    if value is None or value == "":
        return None
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise Refused("invalid_copy_id", param="copy_id") from None
