"""What decides about the variants of a template, now, then, and over time."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime

from shared.admin.context import Context
from shared.admin.errors import Refused
from shared.admin.operation import AskedModel, ResultModel, operation
from shared.admin.results.days import zone_of_org
from shared.admin.templates.one import no_template
from shared.content.lifecycle import APPROVING
from shared.db.pool import Connection, Row
from shared.zones import begins, day_in

_BACK, _MOST = timedelta(days=90), timedelta(days=802)

# As they were at a moment: as they are, where nothing of their history came after it; else what the last event until
# then made of them.
SELECT_APPROVED = """
    SELECT v.copy_id::text FROM variants v
    WHERE v.org_id = $1 AND v.template_id = $2 AND v.created_at <= $3 AND CASE
        WHEN EXISTS (SELECT FROM variant_events e
            WHERE e.org_id = $1 AND e.copy_id = v.copy_id AND e.created_at > $3 AND e.event = ANY ($4::text[]))
        THEN (SELECT e.event = ANY ($5::text[]) FROM variant_events e
            WHERE e.org_id = $1 AND e.copy_id = v.copy_id AND e.created_at <= $3 AND e.event = ANY ($4::text[])
            ORDER BY e.event_id DESC LIMIT 1)
        ELSE v.state = 'approved' END
    ORDER BY 1
"""
SELECT_SERVED = """
    SELECT snapshot_id, model, cells, otherwise, created_at, fitted_until, settings, facts_hash, facts, previous_id,
           diagnostics
    FROM policy_snapshots WHERE org_id = $1 AND snapshot_id = (SELECT served_snapshot($1, $2, $4::text[], $3))
"""
SELECT_TEMPLATE = """
    SELECT t.state, (t.stopped_at IS NOT NULL OR o.stopped_at IS NOT NULL) AS stopped
    FROM templates t JOIN orgs o USING (org_id) WHERE t.org_id = $1 AND t.template_id = $2
"""
SELECT_NAMES = "SELECT copy_id::text, name FROM variants WHERE org_id = $1 AND template_id = $2"
SELECT_FIT = "SELECT fitted_at, next_fit_at, error FROM policy_fits WHERE org_id = $1 AND template_id = $2"
# The last of each day; a ranker that is fitted every minute makes a thousand of them.
SELECT_SHARES = """
    SELECT DISTINCT ON (width_bucket(created_at, $5::timestamptz[])) created_at AS at, otherwise AS shares
    FROM policy_snapshots WHERE org_id = $1 AND template_id = $2 AND created_at BETWEEN $3 AND $4
    ORDER BY width_bucket(created_at, $5::timestamptz[]), created_at DESC
"""

_CHANGING = [*APPROVING, "paused", "archived", "restored", "withdrawn"]  # what an event may make of what is served


class AskedPolicy(AskedModel):
    """As of `at`, or now."""

    template_id: str
    at: AwareDatetime | None = None
    cell: str | None = None


class PolicyVariant(ResultModel):
    """Its share stands at the same place of each list."""

    copy_id: UUID
    name: str | None


class Policy(ResultModel):
    """Shares of the approved variants, by the policy that decides about exactly these. Without a snapshot nothing was
    fitted for them yet: all are drawn alike, and where there is none, everybody is control.
    `known_until`: the moment that its facts are of, that of the newest event of an email which was loaded, or of the
    fit where the reward is of orders.
    `otherwise`: of everybody whose cell of attrs is not listed. `error`: of the last fit. `drawn_from`: whether emails
    are now, as the template is live and not stopped."""

    drawn_from: bool
    snapshot_id: UUID | None
    error: str | None
    model: str | None = None
    created_at: datetime | None = None
    fitted_until: datetime | None = None
    known_until: datetime | None = None
    sends: int | None = None
    clicks: int | None = None
    reward: str | None = None
    facts_hash: str | None = None
    variants: Sequence[PolicyVariant] = ()
    otherwise: Sequence[float] = ()
    cells: Mapping[str, Sequence[float]] = {}


class AskedShares(AskedModel):
    """Snapshots of the last 90 days, or those between two moments."""

    template_id: str
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None


class SharesThen(ResultModel):
    """Shares in the order of `Shares.variants`; null: it could not be drawn then."""

    at: datetime
    shares: list[float | None]


class Shares(ResultModel):
    """The last snapshot of each day of the org's zone: what everybody without a cell of their own was served by."""

    time_zone: str
    variants: list[PolicyVariant]
    days: list[SharesThen]


@operation(
    "policy.show", "GET", "/templates/{template_id}/policy", "viewer",
    "Show the shares of a template's variants: for everybody, and for cells of attrs.",
)  # fmt: skip
async def show(context: Context, asked: AskedPolicy) -> Policy:
    connection, org_id = context.connection, context.org_id
    template = await _template(context, asked.template_id)
    names = await _names(context, asked.template_id)
    drawn_from = template["state"] in ("active", "shipped") and not template["stopped"]
    row, approved = await served_at(connection, org_id, asked.template_id, asked.at or context.now)
    fit = await connection.fetchrow(SELECT_FIT, org_id, asked.template_id)
    error = fit["error"] if fit else None
    if row is None:
        return _alike(approved, names, asked.cell, drawn_from=drawn_from, error=error)
    order = sorted(row["otherwise"])
    otherwise = in_order(row["otherwise"], order)
    cells = {name: in_order(shares, order) for name, shares in sorted(row["cells"].items())}
    told = row["diagnostics"] or {}
    return Policy(
        drawn_from=drawn_from,
        snapshot_id=row["snapshot_id"],
        error=error,
        model=row["model"],
        created_at=row["created_at"],
        fitted_until=row["fitted_until"],
        known_until=known_until_of(row["settings"], row["fitted_until"]),
        sends=told.get("sends"),
        clicks=told.get("clicks"),
        reward=(row["settings"] or {}).get("policy", {}).get("reward", "click"),
        facts_hash=row["facts_hash"],
        variants=[PolicyVariant(copy_id=UUID(copy_id), name=names.get(copy_id)) for copy_id in order],
        otherwise=otherwise,
        cells=cells if asked.cell is None else {asked.cell: cells.get(asked.cell, otherwise)},
    )


@operation(
    "policy.shares", "GET", "/templates/{template_id}/policy/shares", "viewer",
    "Show how the shares of a template's variants changed from day to day.",
)  # fmt: skip
async def shares(context: Context, asked: AskedShares) -> Shares:
    await _template(context, asked.template_id)
    names = await _names(context, asked.template_id)
    until = asked.until or context.now
    since = asked.since or until - _BACK
    if not timedelta() <= until - since <= _MOST:
        raise Refused(f"must not be after until, nor more than {_MOST.days} days before it", field="since")
    zone = await zone_of_org(context.connection, context.org_id)
    days = begins(day_in(zone, since), day_in(zone, until), zone)
    rows = await context.connection.fetch(SELECT_SHARES, context.org_id, asked.template_id, since, until, days)
    order = sorted({copy_id for row in rows for copy_id in row["shares"]}, key=lambda one: names.get(one, one))
    return Shares(
        time_zone=zone.key,
        variants=[PolicyVariant(copy_id=UUID(copy_id), name=names.get(copy_id)) for copy_id in order],
        days=[SharesThen(at=row["at"], shares=[row["shares"].get(copy_id) for copy_id in order]) for row in rows],
    )


def known_until_of(settings: Mapping[str, Any] | None, fitted_until: datetime | None) -> datetime | None:
    """The moment that a stored snapshot's facts are of; a release before did not tell it from that of the fit."""
    stored = (settings or {}).get("known_until")
    return datetime.fromisoformat(stored) if stored else fitted_until


async def served_at(
    connection: Connection, org_id: UUID, template_id: str, at: datetime
) -> tuple[Row | None, Sequence[str]]:
    """The snapshot that a generator drew from at this moment, None where there was none of the variants that were
    approved then; and these, by copy id."""
    rows = await connection.fetch(SELECT_APPROVED, org_id, template_id, at, _CHANGING, APPROVING)
    approved = [row["copy_id"] for row in rows]
    return await connection.fetchrow(SELECT_SERVED, org_id, template_id, at, approved), approved


def _alike(
    approved: Sequence[str], names: Mapping[str, str], cell: str | None, *, drawn_from: bool, error: str | None
) -> Policy:
    """What a generator draws from where nothing is stored."""
    if not approved:
        return Policy(drawn_from=drawn_from, snapshot_id=None, error=error)
    shares = (1 / len(approved),) * len(approved)
    return Policy(
        drawn_from=drawn_from, snapshot_id=None, error=error, model="uniform", otherwise=shares,
        cells={} if cell is None else {cell: shares},
        variants=[PolicyVariant(copy_id=UUID(copy_id), name=names.get(copy_id)) for copy_id in approved],
    )  # fmt: skip


async def _template(context: Context, template_id: str) -> Row:
    row = await context.connection.fetchrow(SELECT_TEMPLATE, context.org_id, template_id)
    if row is None:
        raise no_template(template_id)
    return row


async def _names(context: Context, template_id: str) -> dict[str, str]:
    rows = await context.connection.fetch(SELECT_NAMES, context.org_id, template_id)
    return {row["copy_id"]: row["name"] for row in rows}


def in_order(shares: Any, order: list[str]) -> tuple[float, ...]:
    """Shares by copy id, or already in the order of copy ids."""
    return tuple(shares) if isinstance(shares, list) else tuple(shares[copy_id] for copy_id in order)
