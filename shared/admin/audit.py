"""The audit log: who changed what, when, and what they asked for. Only ever added to; no secrets, no long texts."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field

from shared import logs
from shared.admin.context import Context
from shared.admin.operation import AskedModel, Operation, ResultModel, operation

INSERT_ENTRY = """
    INSERT INTO audit_log (org_id, at, actor, actor_kind, operation, target, asked, results, request_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
# The id decides between entries of one moment.
SELECT_ENTRIES = """
    SELECT audit_id, at, actor, actor_kind, operation, target, asked, results, request_id FROM audit_log
    WHERE org_id = $1 AND ($2::timestamptz IS NULL OR at >= $2) AND ($3::bigint IS NULL OR audit_id < $3)
      AND ($4::text IS NULL OR operation = $4 OR starts_with(operation, $4 || '.'))
    ORDER BY audit_id DESC LIMIT $5
"""
_TEXT_CHARS = 500  # what is longer is copy, whose versions are kept where it is
_ENTRIES = 200


async def remember(context: Context, of: Operation[Any, Any], asked: BaseModel, result: BaseModel) -> None:
    """Add the entry of one change, in its transaction."""
    actor = context.actor
    target = of.target_of(asked) or context.org_slug
    wish = asked.model_dump(mode="json", exclude_unset=True)
    await context.connection.execute(
        INSERT_ENTRY, context.org_id, context.now, actor.name, actor.kind, of.name, shortened(target),
        shortened(wish), ids_of(result), context.request_id,
    )  # fmt: skip


def shortened(value: Any) -> Any:
    """The same with long texts and lists cut. Fields that hold secrets are stars already; a key that somebody put into
    another field is hidden here."""
    match value:
        case str():
            text = logs.without_secrets(value)
            return text if len(text) <= _TEXT_CHARS else f"{text[:_TEXT_CHARS]}… ({len(text)} characters)"
        case Mapping():
            return {name: shortened(one) for name, one in value.items()}
        case list() if len(value) > _ENTRIES:
            return [*map(shortened, value[:_ENTRIES]), f"… ({len(value)} entries)"]
        case list():
            return [shortened(one) for one in value]
        case _:
            return value


def ids_of(result: BaseModel) -> dict[str, str]:
    """The ids among the fields of an answer."""
    return {name: str(value) for name, value in result if isinstance(value, UUID)}


class AskedEntries(AskedModel):
    """Which entries; `before` is the `audit_id` of the last one that was seen: older ones follow."""

    since: AwareDatetime | None = None
    operation: str | None = Field(None, description="One operation, or all of an area: `keys`.")
    before: int | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class Entry(ResultModel):
    """One change. `asked` without secrets; `results` are the ids of what was made."""

    audit_id: int
    at: datetime
    actor: str
    actor_kind: str
    operation: str
    target: str
    asked: dict[str, Any]
    results: dict[str, str]
    request_id: str


class Entries(ResultModel):
    """Newest first. `before`: ask for the next page with it; null after the last."""

    entries: list[Entry]
    before: int | None


@operation("audit.list", "GET", "/audit", "owner", "List changes, newest first: who did what, and when.")
async def list_entries(context: Context, asked: AskedEntries) -> Entries:
    rows = await context.connection.fetch(
        SELECT_ENTRIES, context.org_id, asked.since, asked.before, asked.operation, asked.limit + 1
    )
    entries = [Entry(**dict(row)) for row in rows[: asked.limit]]
    return Entries(entries=entries, before=entries[-1].audit_id if len(rows) > asked.limit else None)
