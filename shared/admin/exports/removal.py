"""Giving an org's exports up for good. What is in the bucket stays there, and is the customer's alone."""

from shared.admin.context import Context
from shared.admin.errors import Conflict, Next
from shared.admin.exports.exports import no_target
from shared.admin.operation import Nothing, ResultModel, operation

# Nobody claims an hour of an org without a target, and whoever has one in hand finds no lease to renew.
DELETE_TARGET = "DELETE FROM export_targets WHERE org_id = $1"
FORGET_HOURS = "DELETE FROM export_hours WHERE org_id = $1"
FORGET_MARKS = "DELETE FROM export_marks WHERE org_id = $1"
SELECT_GIVEN_UP = """
    SELECT t.bucket, t.prefix, count(e.hour) FILTER (WHERE e.rows > 0) AS objects,
           count(e.hour) FILTER (WHERE e.dirty_seq > e.exported_seq) AS waiting,
           count(e.hour) FILTER (WHERE e.dirty_seq > e.exported_seq AND e.reason = 'person_deleted') AS deletions
    FROM export_targets t LEFT JOIN export_hours e USING (org_id) WHERE t.org_id = $1 GROUP BY t.bucket, t.prefix
"""


class GivenUp(ResultModel):
    """What is given up. `objects`: that are in the bucket, as far as we know; they stay. `waiting`: hours and tables
    that are not there as they are, and never will be; `deletions`: those of them that hold somebody who was deleted."""

    place: str
    objects: int
    waiting: int
    deletions: int


@operation(
    "exports.remove", "DELETE", "/exports/target", "owner",
    "Give exports up: forget the bucket, its key and what waits. What is in the bucket stays.",
)  # fmt: skip
async def remove_target(context: Context, _: Nothing) -> GivenUp:
    given_up = await _given_up(context)
    if not given_up.place.startswith("s3://"):
        raise Conflict(
            "The folder of this installation comes by itself; switch exports off",
            code="folder_comes_by_itself", next=Next("exports.off", instead=True),
        )  # fmt: skip
    for statement in (DELETE_TARGET, FORGET_MARKS, FORGET_HOURS):
        await context.connection.execute(statement, context.org_id)
    return given_up


@operation("exports.given_up", "GET", "/exports/target/removal", "owner", "Tell what giving exports up would give up.")
async def show_removal(context: Context, _: Nothing) -> GivenUp:
    return await _given_up(context)


async def _given_up(context: Context) -> GivenUp:
    row = await context.connection.fetchrow(SELECT_GIVEN_UP, context.org_id)
    if row is None:
        raise no_target()
    told = dict(row)
    place = "/".join(filter(None, (told.pop("bucket"), told.pop("prefix"))))
    return GivenUp(place=f"s3://{place}" if place else "the folder of this installation", **told)
