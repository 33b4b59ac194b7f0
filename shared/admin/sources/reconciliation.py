"""Our counts beside Klaviyo's own totals, as ingest compared them last, and asking for it now."""

from datetime import datetime
from typing import Final

from pydantic import Field

from shared.admin.context import Context
from shared.admin.operation import AskedModel, Nothing, ResultModel, operation
from shared.admin.orgs.klaviyo import not_connected
from shared.reconciling import MEANINGS

SELECT_ORG = """
    SELECT r.*, i.org_id IS NOT NULL AS connected
    FROM orgs o LEFT JOIN integrations i USING (org_id) LEFT JOIN reconcile_orgs r USING (org_id) WHERE o.org_id = $1
"""
# What differs first, and of that what differs most.
SELECT_ROWS = """
    SELECT r.basis, r.flow_id, m.flow_name, r.message_id, m.message_name, r.measure, r.ours, r.theirs, r.people, r.cause
    FROM reconciliations r LEFT JOIN LATERAL (
        SELECT flow_name, message_name FROM flow_messages f
        WHERE f.org_id = r.org_id AND f.message_id = r.message_id LIMIT 1) m ON true
    WHERE r.org_id = $1 AND r.compared_at = $2 AND ($3 OR r.cause <> 'agrees')
    ORDER BY r.cause = 'agrees', abs(r.ours - r.theirs) DESC, r.message_id, r.basis DESC, r.measure LIMIT $4
"""
SELECT_SUMS = """
    SELECT count(*) AS compared, count(*) FILTER (WHERE cause <> 'agrees') AS differing
    FROM reconciliations WHERE org_id = $1 AND compared_at = $2
"""
COMPARE_NOW = """
    INSERT INTO reconcile_orgs (org_id) VALUES ($1) ON CONFLICT (org_id) DO UPDATE SET due_at = NULL
"""

BASES: Final = {"sent": "emails sent", "happened": "events that happened"}
UNITS: Final = {
    "delivered": "delivered", "opens": "opens", "clicks": "clicks", "bounced": "bounces",
    "unsubscribes": "unsubscribes", "spam_complaints": "complaints", "conversions": "orders",
}  # fmt: skip
"""How people call what is counted."""


class AskedTotals(AskedModel):
    """`all`: also what agrees."""

    all: bool = False
    limit: int = Field(200, ge=1, le=5000)


class Difference(ResultModel):
    """One message and measure. `basis` `sent`: of emails sent in the time, whenever their events came; `happened`: of
    events in the time. `people`: those of ours that are known to be people's, where that is told apart; `cause`, `says`
    and `advice`: the likely cause in one word, a title, and what to make of it."""

    basis: str
    flow_id: str | None
    flow_name: str | None
    message_id: str
    message_name: str | None
    measure: str
    ours: int
    theirs: int
    people: int | None
    cause: str
    says: str
    advice: str


class Totals(ResultModel):
    """The last comparison. `compared_at` null: there was none yet; `problem`: why not, or why not all; `time_zone`
    null: the key may not read the account's, so days of sending are UTC's; `compared`, `differing`: so many numbers."""

    compared_at: datetime | None
    tried_at: datetime | None
    problem: str | None
    due_at: datetime | None
    time_zone: str | None
    sent_since: datetime | None
    sent_until: datetime | None
    happened_since: datetime | None
    happened_until: datetime | None
    compared: int
    differing: int
    rows: list[Difference]


class ComparisonAsked(ResultModel):
    """A comparison after this moment (`compared_at` or `tried_at`) is the answer."""

    asked_at: datetime


@operation(
    "sources.totals", "GET", "/sources/totals", "viewer",
    "Show our counts of emails beside Klaviyo's own totals, with the likely cause of each difference.",
)  # fmt: skip
async def totals(context: Context, asked: AskedTotals) -> Totals:
    org = await context.connection.fetchrow(SELECT_ORG, context.org_id)
    if org is None or not org["connected"]:
        raise not_connected()
    at = org["compared_at"]
    rows = await context.connection.fetch(SELECT_ROWS, context.org_id, at, asked.all, asked.limit)
    sums = await context.connection.fetchrow(SELECT_SUMS, context.org_id, at)
    return Totals(
        **{name: org[name] for name in Totals.model_fields if name in org.keys()},  # noqa: SIM118  # a record has values
        compared=sums["compared"] if sums else 0,
        differing=sums["differing"] if sums else 0,
        rows=[_difference(dict(row)) for row in rows],
    )


def _difference(row: dict[str, object]) -> Difference:
    known = {cause: said for cause, said in MEANINGS.items() if cause == row["cause"]}
    says, advice = next(iter(known.values()), (str(row["cause"]), ""))  # of a newer release
    return Difference.model_validate({**row, "says": says, "advice": advice})


@operation(
    "sources.compare", "POST", "/sources/totals", "editor",
    "Have our counts compared with Klaviyo's totals now rather than within the hour.",
)  # fmt: skip
async def compare(context: Context, _: Nothing) -> ComparisonAsked:
    """The ingest service does it, as soon as the account's quota of reports allows: two a minute, 225 a day."""
    org = await context.connection.fetchrow(SELECT_ORG, context.org_id)
    if org is None or not org["connected"]:
        raise not_connected()
    await context.connection.execute(COMPARE_NOW, context.org_id)
    return ComparisonAsked(asked_at=context.now)
