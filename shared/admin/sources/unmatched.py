"""Emails that show no generation yet, and opens and clicks whose email is not known yet: how many wait, and why."""

from datetime import date, datetime, timedelta
from typing import Final

from pydantic import Field

from shared.admin.context import Context
from shared.admin.operation import AskedModel, ResultModel, operation
from shared.schemas.ids import generation_day
from shared.unmatched import KEPT_DAYS

SELECT_WAITING: Final = """
    SELECT u.day, nullif(u.message_id, '') AS message_id, m.message_name, m.flow_name, u.no_generation,
        u.other_message, u.not_synced, u.tried_at, CASE WHEN u.next_at > '-infinity' THEN u.next_at END AS next_at
    FROM unmatched u LEFT JOIN LATERAL (
        SELECT flow_name, message_name FROM flow_messages f
        WHERE f.org_id = u.org_id AND f.message_id = u.message_id LIMIT 1) m ON true
    WHERE u.org_id = $1 AND u.day >= $2 AND u.no_generation + u.other_message + u.not_synced > 0
    ORDER BY u.no_generation + u.other_message DESC, u.not_synced DESC, u.day DESC, u.message_id LIMIT $3
"""
SUM_WAITING: Final = """
    SELECT coalesce(sum(no_generation), 0)::bigint AS no_generation,
        coalesce(sum(other_message), 0)::bigint AS other_message, coalesce(sum(not_synced), 0)::bigint AS not_synced
    FROM unmatched WHERE org_id = $1 AND day >= $2
"""
SELECT_NO_DELIVERY: Final = "SELECT counted_at, no_delivery FROM unmatched_orgs WHERE org_id = $1"

REASONS: Final = {
    "no_generation": (
        "emails whose person has no generation that they could show",
        "None was asked for before they were sent, or it is not stored yet. Emails of flows without a template of ours "
        "are among them: they need nothing.",
    ),
    "other_message": (
        "emails whose person has generations for other messages only",
        "Sync the flows where their messages are new: `justai flows sync`. Messages without a template need nothing.",
    ),
    "not_synced": (
        "emails that are attributed by their flow alone",
        "They count. Which of the flow's messages they are is known once the flow is synced: `justai flows sync`.",
    ),
    "no_delivery": (
        "opens and clicks of emails of which no file says that they were sent",
        "They count once a file does. Is Received Email among what is exported, for the same days?",
    ),
}  # fmt: skip
"""Why something waits: what it is, and what to do."""


class AskedWaiting(AskedModel):
    """The messages and days with most."""

    limit: int = Field(50, ge=1, le=1000)


class WaitingFor(ResultModel):
    """How many wait for one reason. `says`, `advice`: what it is, and what to do."""

    reason: str
    count: int
    says: str
    advice: str


class WaitingMessage(ResultModel):
    """Emails of one message and day of sending. `message_id` null: they name none; `next_at` null: at once; `until`:
    the last day on which they are tried."""

    day: date
    message_id: str | None
    message_name: str | None
    flow_name: str | None
    no_generation: int
    other_message: int
    not_synced: int
    tried_at: datetime | None
    next_at: datetime | None
    until: date


class AllWaiting(ResultModel):
    """`reasons`: those for which something waits. `counted_at`: when opens and clicks were counted; null: not yet."""

    reasons: list[WaitingFor]
    counted_at: datetime | None
    messages: list[WaitingMessage]


@operation(
    "sources.unmatched", "GET", "/sources/unmatched", "viewer",
    "Show how many emails show no generation yet, how many opens and clicks have no email yet, and why.",
)  # fmt: skip
async def waiting(context: Context, asked: AskedWaiting) -> AllWaiting:
    first = generation_day(context.now) - timedelta(days=KEPT_DAYS)
    rows = await context.connection.fetch(SELECT_WAITING, context.org_id, first, asked.limit)
    sums = await context.connection.fetchrow(SUM_WAITING, context.org_id, first)
    org = await context.connection.fetchrow(SELECT_NO_DELIVERY, context.org_id)
    counts = {**dict(sums or {}), "no_delivery": org["no_delivery"] if org else 0}
    return AllWaiting(
        reasons=[
            WaitingFor(reason=reason, count=counts[reason], says=says, advice=advice)
            for reason, (says, advice) in REASONS.items() if counts[reason]
        ],
        counted_at=org["counted_at"] if org else None,
        messages=[WaitingMessage(**dict(row), until=row["day"] + timedelta(days=KEPT_DAYS)) for row in rows],
    )  # fmt: skip
