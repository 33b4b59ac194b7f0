"""Switching an org's exports off and on. Off, nothing is written and nothing is lost: what becomes due waits."""

from datetime import datetime

from shared.admin.context import Context
from shared.admin.exports.exports import no_target
from shared.admin.operation import Nothing, ResultModel, operation
from shared.exports import SELECT_HAS_TARGET

SWITCH = "UPDATE export_targets SET enabled = $2, switched_at = $3 WHERE org_id = $1 AND enabled <> $2"
SELECT_WAITING = """
    SELECT t.enabled, t.switched_at,
        (SELECT count(*) FROM export_hours e WHERE e.org_id = $1 AND e.dirty_seq > e.exported_seq) AS waiting,
        (SELECT count(*) FROM export_hours e
         WHERE e.org_id = $1 AND e.dirty_seq > e.exported_seq AND e.reason = 'person_deleted') AS deletions
    FROM export_targets t WHERE t.org_id = $1
"""
# What was refused while exports were off would else be asked for again only after a while.
HASTEN = "UPDATE export_hours SET due_at = $2 WHERE org_id = $1 AND dirty_seq > exported_seq AND due_at > $2"


class Switched(ResultModel):
    """How exports stand now. `waiting`: hours and tables that are not in the bucket as they are; `deletions`: those of
    them that hold somebody who was deleted. Hours that closed while exports were off and were never exported are
    counted once they are on."""

    enabled: bool
    switched_at: datetime | None
    waiting: int
    deletions: int
    changed: bool


@operation(
    "exports.off", "POST", "/exports/target/off", "editor",
    "Write nothing into the bucket until exports are on again; what becomes due waits.",
)  # fmt: skip
async def switch_off(context: Context, _: Nothing) -> Switched:
    return await _switch(context, on=False)


@operation(
    "exports.on", "POST", "/exports/target/on", "editor",
    "Export again; what has become due meanwhile is written.",
)  # fmt: skip
async def switch_on(context: Context, _: Nothing) -> Switched:
    return await _switch(context, on=True)


@operation("exports.state", "GET", "/exports/target/state", "viewer", "Tell whether exports are on, and what waits.")
async def show_state(context: Context, _: Nothing) -> Switched:
    return await _state(context, changed=False)


async def _switch(context: Context, *, on: bool) -> Switched:
    done = await context.connection.execute(SWITCH, context.org_id, on, context.now)
    if done != "UPDATE 0" and on:
        await context.connection.execute(HASTEN, context.org_id, context.now)
    return await _state(context, changed=done != "UPDATE 0")


async def _state(context: Context, *, changed: bool) -> Switched:
    if not await context.connection.fetchval(SELECT_HAS_TARGET, context.org_id):
        raise no_target()
    (row,) = await context.connection.fetch(SELECT_WAITING, context.org_id)
    return Switched(**dict(row), changed=changed)
