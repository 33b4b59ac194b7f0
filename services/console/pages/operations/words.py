"""The runbook's words on a page: commands with this org's names, and what stands in backquotes as code. Pure."""

import re
from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup, escape

_CODE: Final = re.compile(r"`([^`]+)`")


def advice(text: str, org_slug: str, template_id: str = "TEMPLATE") -> Markup:
    """Everything else is escaped."""
    named = text.replace(" ORG", f" {org_slug}").replace(" TEMPLATE", f" {template_id}")
    parts = _CODE.split(named)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 else escape(part) for at, part in enumerate(parts)
    )


def counted(count: int, one: str, many: str = "") -> str:
    """`1 email`, `2,000 emails`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def moment_of(text: str) -> datetime | None:
    """A moment that a message's header holds; None for anything else."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
