"""SQL of the ranker: what is due, what happened, what was made of it."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from services.ranker.facts import HORIZON, Fact, Variant, edges_of
from services.ranker.fit import Before, Snapshot, Task, known_variants
from services.ranker.guard import TIMEOUT_S, guard
from services.ranker.records import Claim, Paused
from services.ranker.texts import Replaced, as_variants, replaced
from shared.db.pool import Connection, Database, Row
from shared.schemas.copy import VariantSource
from shared.schemas.policy import Policy

MOST_FACTS = 500_000
"""Facts of one fit, the youngest: about 300 MB."""

_FACTS_TIMEOUT_S = 180.0
_MAX_ERROR = 1000

# The sign says what a fit would see. It is read with the claim, before the facts: what changes after it is due again.
# A claim that was overtaken between looking and taking finds its condition false on the row as it is now. A first
# version says nothing in it: so a release that knows no versions and one that does agree about most templates.
CLAIM = """
    WITH due AS (
        SELECT t.org_id, t.template_id, s.sign
        FROM templates t
        LEFT JOIN policy_feedback f ON f.org_id = t.org_id AND f.template_id = t.template_id
        LEFT JOIN policy_fits p ON p.org_id = t.org_id AND p.template_id = t.template_id
        CROSS JOIN LATERAL (
            SELECT md5(concat_ws(E'\\n', t.policy::text, t.conversions::text, coalesce(f.revision, 0)::text,
                string_agg(concat_ws(E'\\t', v.copy_id::text, v.name, v.theme, nullif(v.version, 1)::text),
                    E'\\n' ORDER BY v.copy_id))) AS sign,
                count(*) AS approved
            FROM variants v WHERE v.org_id = t.org_id AND v.template_id = t.template_id AND v.state = 'approved'
        ) s
        WHERE t.state IN ('active', 'shipped') AND s.approved > 0
          AND (p.lease_until IS NULL OR p.lease_until < $1)
          AND (p.sign IS DISTINCT FROM s.sign OR p.next_fit_at <= $1)
        ORDER BY p.fitted_at NULLS FIRST, t.org_id, t.template_id LIMIT 1
    )
    INSERT INTO policy_fits AS p (org_id, template_id, epoch, lease_until, claimed_sign)
    SELECT org_id, template_id, 1, $2, sign FROM due
    ON CONFLICT (org_id, template_id) DO UPDATE
        SET epoch = p.epoch + 1, lease_until = $2, claimed_sign = excluded.claimed_sign
        WHERE (p.lease_until IS NULL OR p.lease_until < $1)
          AND (p.sign IS DISTINCT FROM excluded.claimed_sign OR p.next_fit_at <= $1)
    RETURNING org_id, template_id, epoch, claimed_sign AS sign
"""

# Of clicks that came later nobody knows yet: with one file a day, all emails of the day would count as missed until the
# next. Where events end for good, facts stay as ripe as they were.
SELECT_KNOWN_UNTIL = "SELECT least($2, (SELECT emails_until FROM known_events WHERE org_id = $1))"

SELECT_POLICY = "SELECT policy, conversions FROM templates WHERE org_id = $1 AND template_id = $2"
SELECT_VARIANTS = """
    SELECT copy_id, name, theme, state = 'approved' AS eligible FROM variants WHERE org_id = $1 AND template_id = $2
"""

# As of a moment, so that it can be asked for again: of each variant that was served in several versions all of them,
# the one that was served then first.
SELECT_SERVED_VERSIONS = """
    SELECT t.copy_id, t.version, t.subject, t.preheader, t.body FROM (
        SELECT e.copy_id, e.version, max(e.event_id) AS served, count(*) OVER (PARTITION BY e.copy_id) AS versions
        FROM variants v JOIN variant_events e USING (copy_id)
        WHERE v.org_id = $1 AND v.template_id = $2 AND e.event IN ('approved', 'rolled_back') AND e.created_at <= $3
        GROUP BY e.copy_id, e.version
    ) e JOIN variant_versions t USING (copy_id, version)
    WHERE e.versions > 1 ORDER BY t.copy_id, e.served DESC
"""

# Only what the policy drew teaches: a generation without a propensity was chosen by somebody, to look at it. One that
# names a variant whose copy could not be rendered is a draw like others, with what came of the control content instead;
# once its day is dropped, its send tells (one that an older release wrote does not, so a generation goes first).
# A click counts when it came within the window and before the moment, so a moment in the past sees what there was to
# see. Whose a send is, is asked only of variants with replaced texts: its generation says the version; where that does
# not say, or is dropped, the version that was served then.
_SELECT_FACTS = """
    SELECT copy_id, cell, age, delay, count(*) AS sends, {worth} FROM (
        SELECT CASE WHEN drawn.copy_id = ANY ($8::uuid[]) THEN coalesce((
                SELECT r.known_as FROM unnest($8::uuid[], $9::int[], $10::uuid[]) AS r (copy_id, version, known_as)
                WHERE r.copy_id = drawn.copy_id AND r.version = coalesce(g.variant_version,
                    (SELECT e.version FROM variant_events e
                     WHERE e.copy_id = drawn.copy_id AND e.event IN ('approved', 'rolled_back')
                       AND e.created_at <= s.sent_at
                     ORDER BY e.event_id DESC LIMIT 1))
            ), drawn.copy_id) ELSE drawn.copy_id END AS copy_id, s.cell,
            greatest(width_bucket(extract(epoch FROM $3 - s.sent_at)::float8, $4::float8[]) - 1, 0) AS age,
            CASE WHEN {at} <= least($3, s.sent_at + $5 * interval '1 hour')
                 THEN greatest(width_bucket(extract(epoch FROM {at} - s.sent_at)::float8, $4) - 1, 0)
                 ELSE -1 END AS delay {columns}
        FROM sends s
        LEFT JOIN generations g ON g.day = s.generation_day AND g.generation_id = s.generation_id
        CROSS JOIN LATERAL (
            SELECT coalesce(s.copy_id, CASE WHEN g.generation_id IS NULL THEN s.drawn_copy_id ELSE g.drawn_copy_id END)
        ) drawn (copy_id) {more}
        WHERE s.org_id = $1 AND s.template_id = $2 AND s.delivered AND s.sent_at <= $3 AND s.day >= $6
          AND CASE WHEN s.copy_id IS NULL THEN drawn.copy_id IS NOT NULL
                   ELSE g.generation_id IS NULL OR g.propensity IS NOT NULL END
    ) one
    GROUP BY copy_id, cell, age, delay ORDER BY age, copy_id, cell, delay LIMIT $7
"""
_EARNED = "CROSS JOIN LATERAL earned(s.org_id, s.template_id, s.transmission_id, $3) e"
# An order's window was proven when it was attributed; a refund counts whenever it came before the moment.
SELECT_FACTS = {
    "click": _SELECT_FACTS.format(worth="NULL::int AS worth", at="s.first_click_at", columns="", more=""),
    "conversion": _SELECT_FACTS.format(worth="NULL::int AS worth", at="e.converted_at", columns="", more=_EARNED),
    "revenue": _SELECT_FACTS.format(
        worth="CASE WHEN delay >= 0 THEN sum(round(1000 * least(revenue / $11::float8::numeric, 1)))::int END AS worth",
        at="e.converted_at", columns=", e.revenue", more=_EARNED,
    ),
}  # fmt: skip

# A fit goes on from the one that is served, unless that is a generator's uniform one.
SELECT_SERVED = """
    SELECT snapshot_id, otherwise, cells, model FROM policy_snapshots
    WHERE org_id = $1 AND snapshot_id = (SELECT served_snapshot($1, $2, $3::text[])) AND fitted_until IS NOT NULL
"""

SETTLE = """
    UPDATE policy_fits SET lease_until = NULL, sign = $4, fitted_at = $5, next_fit_at = $6, snapshot_id = $7,
        facts_hash = $8, error = NULL
    WHERE org_id = $1 AND template_id = $2 AND epoch = $3
"""
FAILED = """
    UPDATE policy_fits SET lease_until = $4, error = $5 WHERE org_id = $1 AND template_id = $2 AND epoch = $3
"""
INSERT_SNAPSHOT = """
    INSERT INTO policy_snapshots (org_id, template_id, snapshot_id, model, cells, otherwise, created_at, fitted_until,
        settings, facts_hash, facts, previous_id, diagnostics)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
    ON CONFLICT (org_id, snapshot_id) DO NOTHING
"""


class Store:
    """The templates of all orgs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, now: datetime, lease_until: datetime) -> Claim | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(CLAIM, now, lease_until)
        return Claim(**row) if row else None

    async def guard(self, claim: Claim, now: datetime) -> list[Paused]:
        async with self._database.transaction(claim.org_id, TIMEOUT_S, long=True) as connection:
            return await guard(connection, claim.org_id, claim.template_id, now)

    async def task(self, claim: Claim, until: datetime) -> Task:
        key = claim.org_id, claim.template_id
        async with self._database.transaction(claim.org_id, _FACTS_TIMEOUT_S) as connection:
            [row] = await connection.fetch(SELECT_POLICY, *key)
            policy = in_force(policy_of(row["policy"]), row["conversions"])
            variants = [Variant(**row) for row in await connection.fetch(SELECT_VARIANTS, *key)]
            copy_ids = sorted(str(one.copy_id) for one in variants if one.eligible)
            served = await connection.fetchrow(SELECT_SERVED, *key, copy_ids)
            served_versions = await connection.fetch(SELECT_SERVED_VERSIONS, *key, until)
            known_until = await _known_until(connection, claim.org_id, policy, until)
        texts = await asyncio.to_thread(replaced_of, served_versions)  # texts are parsed and compared
        async with self._database.transaction(claim.org_id, _FACTS_TIMEOUT_S) as connection:
            facts = await read_facts(connection, *key, known_until, policy, texts)
        known = known_variants([*variants, *as_variants(texts, variants)], facts)
        return Task(*key, until, policy, known, facts, before_of(dict(served)) if served else None, known_until)

    async def settle(
        self, claim: Claim, task: Task, made: Snapshot, now: datetime, next_fit_at: datetime
    ) -> bool | None:
        served = task.before
        same = served is not None and (served.model, served.eligible, served.otherwise, dict(served.cells)) == (
            made.model, made.eligible, made.otherwise, dict(made.cells),
        )  # fmt: skip
        snapshot_id = served.snapshot_id if served is not None and same else made.snapshot_id
        async with self._database.transaction(claim.org_id) as connection:
            status = await connection.execute(
                SETTLE, claim.org_id, claim.template_id, claim.epoch, claim.sign, now, next_fit_at, snapshot_id,
                made.facts_hash,
            )  # fmt: skip
            if status != "UPDATE 1":
                return None
            if not same:
                await connection.execute(INSERT_SNAPSHOT, *_row(task, made, now))
        return not same

    async def failed(self, claim: Claim, error: str, retry_at: datetime) -> None:
        async with self._database.transaction(claim.org_id) as connection:
            await connection.execute(FAILED, claim.org_id, claim.template_id, claim.epoch, retry_at, error[:_MAX_ERROR])


async def read_replaced(connection: Connection, org_id: UUID, template_id: str, until: datetime) -> list[Replaced]:
    """The versions whose texts were served before then, and at that moment no more."""
    return replaced_of(await connection.fetch(SELECT_SERVED_VERSIONS, org_id, template_id, until))


def replaced_of(rows: Sequence[Row]) -> list[Replaced]:
    """The same of rows that were read."""
    return replaced(VariantSource(**row) for row in rows)


async def read_facts(
    connection: Connection, org_id: UUID, template_id: str, until: datetime, policy: Policy, texts: Sequence[Replaced]
) -> list[Fact]:
    """What was sent until then, and what was clicked or earned of it until then, as the events that are loaded now
    tell it. `policy` as it is `in_force`; what showed one of `texts` is told under what that is known as."""
    await connection.execute(f"SET LOCAL statement_timeout = '{_FACTS_TIMEOUT_S:.0f}s'")
    cap = [policy.revenue_cap] if policy.reward == "revenue" else []
    rows = await connection.fetch(
        SELECT_FACTS[policy.reward], org_id, template_id, until, edges_of(policy.window_h), policy.window_h,
        (until - HORIZON).date(), MOST_FACTS, *_columns(texts), *cap, timeout=_FACTS_TIMEOUT_S,
    )  # fmt: skip
    return [Fact(*row) for row in rows]


def _columns(texts: Sequence[Replaced]) -> tuple[list[UUID], list[int], list[UUID]]:
    return [one.copy_id for one in texts], [one.version for one in texts], [one.known_as for one in texts]


def in_force(policy: Policy, conversions: Mapping[str, Any] | None) -> Policy:
    """With the window of its reward: that of clicks is its own, the others' is where conversions are defined. So a
    snapshot's settings say which window it was fitted with. Raises ValueError."""
    if policy.reward == "click":
        return policy
    if conversions is None:
        raise ValueError(f"policy.reward: {policy.reward} needs `conversions: {{}}` or more in the template's file")
    return policy.model_copy(update={"window_h": int(conversions["window_h"])})


def policy_of(stored: Mapping[str, Any]) -> Policy:
    """Raises ValueError, naming the field, where somebody wrote it by hand and wrongly."""
    try:
        return Policy.model_validate(stored)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise ValueError(f"policy.{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


async def _known_until(connection: Connection, org_id: UUID, policy: Policy, until: datetime) -> datetime:
    """The moment that facts are of. Orders come on roads of their own, and their newest one says nothing of when the
    others were known: where the reward is of them, it is `until`."""
    if policy.reward != "click":
        return until
    moment: datetime = await connection.fetchval(SELECT_KNOWN_UNTIL, org_id, until)
    return moment


def settings_of(task: Task) -> dict[str, Any]:
    """What a snapshot's `settings` say: with the facts and the snapshot before, all that it follows from. `by_text`
    tells it from one that was made when all versions of a variant shared their facts; `known_until` says which moment
    its facts are of."""
    variants = [
        {"copy_id": str(one.copy_id), "name": one.name, "theme": one.theme, "eligible": one.eligible}
        for one in task.variants
    ]
    known_until = (task.known_until or task.fitted_until).isoformat()
    policy = task.policy.model_dump(mode="json")
    return {"policy": policy, "variants": variants, "by_text": True, "known_until": known_until}


def task_of(
    org_id: UUID, template_id: str, until: datetime, settings: Mapping[str, Any], facts: Sequence[Fact],
    before: Before | None,
) -> Task:  # fmt: skip
    """The task that these settings were stored for."""
    variants = [
        Variant(UUID(one["copy_id"]), one["name"], one["theme"], one["eligible"]) for one in settings["variants"]
    ]
    return Task(org_id, template_id, until, policy_of(settings["policy"]), variants, facts, before)


def before_of(row: Mapping[str, Any]) -> Before:
    """A stored snapshot, as far as another one follows from it."""
    eligible = tuple(sorted(map(UUID, row["otherwise"])))
    otherwise = tuple(float(row["otherwise"][str(copy_id)]) for copy_id in eligible)
    cells = {cell: tuple(map(float, shares)) for cell, shares in row["cells"].items()}
    return Before(row["snapshot_id"], row["model"], eligible, otherwise, cells)


def _row(task: Task, made: Snapshot, now: datetime) -> tuple[Any, ...]:
    otherwise = dict(zip(map(str, made.eligible), made.otherwise, strict=True))
    return (
        task.org_id, task.template_id, made.snapshot_id, made.model, made.cells, otherwise, now, task.fitted_until,
        settings_of(task), made.facts_hash, made.packed_facts, made.previous_id, dict(made.diagnostics),
    )  # fmt: skip
