"""How a template tests and learns: its split, holdout, policy, repeats and conversions, as one checked whole. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from shared.admin.errors import Fault, Refused
from shared.admin.wording import what_is_wrong
from shared.schemas.conversions import Conversions
from shared.schemas.conversions import stored as stored_conversions
from shared.schemas.template_file import TemplateFile

FIELDS: Final = ("split", "control_ratio", "control_share", "repeat", "policy", "conversions")
_NAMED: Final = re.compile(r"^([a-z_]+(?:\.[a-z_]+)?): (.+)$", re.DOTALL)
_ENDED: Final = "is locked: the split ended when the template was shipped; make it active again to test again"
_ARCHIVED: Final = "is locked: an archived template chooses nothing; make it a draft or active first"


class CountedConversions(Conversions):
    """What counts as a conversion of a template's emails."""


def locked(state: str) -> dict[str, str]:
    """The fields that cannot be changed in this state, each with the reason, in words that follow its name."""
    if state == "archived":
        return dict.fromkeys(FIELDS, _ARCHIVED)
    return dict.fromkeys(("split", "control_ratio"), _ENDED) if state == "shipped" else {}


def chosen(stored: Mapping[str, Any], given: Mapping[str, Any], variants: Sequence[str]) -> dict[str, Any]:
    """All of it as it is stored once `given` is put in; what is not given stays, in `policy` field by field. Raises
    Refused with every fault, and for what is locked."""
    before = {name: stored[name] for name in FIELDS}
    wanted = {**before, **{name: given[name] for name in FIELDS if name in given}}
    if "policy" in given:
        wanted["policy"] = {**stored["policy"], **given["policy"]}
        if wanted["policy"].get("model") != "fixed" and "shares" not in given["policy"]:
            wanted["policy"].pop("shares", None)
    if wanted == before:
        return before
    now = locked(stored["state"])
    if forbidden := [Fault(name, now[name]) for name in FIELDS if wanted[name] != before[name] and name in now]:
        raise Refused.of_faults(forbidden, code="locked")
    try:
        file = TemplateFile.model_validate({
            "template_id": "x", "name": "x", "control": {"subject": "x", "body": "x"},
            "split": {"method": wanted["split"], "control_ratio": wanted["control_ratio"], "salt": stored["salt"]},
            "control_share": wanted["control_share"], "repeat": wanted["repeat"], "policy": wanted["policy"],
            "conversions": wanted["conversions"],
            "variants": [{"name": name, "subject": "x", "body": "x"} for name in variants],
        })  # fmt: skip
    except ValidationError as error:
        raise Refused.of_faults([_fault(one) for one in error.errors(include_url=False, include_input=False)]) from None
    return {
        "split": file.split.method, "control_ratio": file.split.control_ratio, "control_share": file.control_share,
        "repeat": file.repeat, "policy": file.policy.model_dump(exclude_unset=True),
        "conversions": stored_conversions(file.counted_conversions),
    }  # fmt: skip


def _fault(error: Any) -> Fault:
    """At the field that is asked for, whichever part of a file it is in."""
    path = ".".join(str(step) for step in error["loc"])
    message = what_is_wrong(error, "this")
    if named := _NAMED.match(message):
        inner, message = named.groups()
        path = inner if "." in inner or not path else f"{path}.{inner}"
    return Fault(path.removeprefix("split.").replace("method", "split") if path.startswith("split.") else path, message)
