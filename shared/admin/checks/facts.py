"""What the checks look at, read by SQL. Bounded whatever an org sends: of the newest so many generations alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.admin.checks.refused_store import LATELY, SAMPLE, RefusedWebhooks, read_refused
from shared.admin.checks.strays_store import StrayWebhooks, read_strays
from shared.admin.outcomes.shown_store import SET_FOR_FEW
from shared.db.pool import Connection
from shared.schemas.ids import generation_day

ADVISED_S = (120, 300)
"""The delay that the set-up page asks for between webhook and email: 2–5 minutes."""

MOST_PLACES = 20
_EXAMPLES = 5

SELECT_ORG = """
    SELECT o.stopped_at, i.scopes, i.verified_at, i.last4,
        (SELECT max(last_used_at) FROM api_keys k WHERE k.org_id = o.org_id) AS key_used_at,
        (SELECT count(*) FROM api_keys k WHERE k.org_id = o.org_id AND revoked_at IS NULL
            AND (expires_at IS NULL OR expires_at > $2)) AS keys,
        (SELECT greatest(max(synced_at), flows.read_at) FROM flow_messages f WHERE f.org_id = o.org_id) AS synced_at,
        (SELECT count(DISTINCT flow_id) FROM flow_messages f
            WHERE f.org_id = o.org_id AND f.flow_status <> 'gone') AS flows,
        campaigns.read_at AS campaigns_synced_at, coalesce(campaigns.found, 0) AS campaigns,
        campaigns.problem AS campaigns_problem, flows.problem AS flows_problem,
        (SELECT p.message FROM write_pauses p WHERE p.org_id = o.org_id
            AND p.integration_at IS NOT DISTINCT FROM i.updated_at) AS pause
    FROM orgs o LEFT JOIN integrations i USING (org_id)
        LEFT JOIN klaviyo_reads flows ON flows.org_id = o.org_id AND flows.kind = 'flows'
        LEFT JOIN klaviyo_reads campaigns ON campaigns.org_id = o.org_id AND campaigns.kind = 'campaigns'
    WHERE o.org_id = $1
"""
# One row for each template in service and each flow that holds a webhook of ours, or both; those with trouble first.
# A wait of which nothing is certain (until a time of day, until a date) is hardly ever nothing.
SELECT_PLACES = """
    SELECT t.template_id, t.state, coalesce(f.flow_id, t.flow_id) AS flow_id, f.flow_name, f.flow_status,
        f.delay_s, f.delay_changed_at, coalesce(f.unsaid, false) AS unsaid, count(*) OVER () AS places
    FROM (SELECT template_id, state, flow_id FROM templates
          WHERE org_id = $1 AND state IN ('active', 'shipped')) t
    FULL JOIN (SELECT flow_id, min(flow_name) AS flow_name, min(flow_status) AS flow_status,
                   min(CASE WHEN delay_s = 0 AND (open_ended OR latest_s > 0) THEN $2 ELSE delay_s END) AS delay_s,
                   max(delay_changed_at) AS delay_changed_at,
                   bool_or(open_ended AND EXISTS (
                       SELECT FROM templates t WHERE t.org_id = $1 AND t.treatment_action_id = action_id
                         AND t.state IN ('active', 'shipped') AND coalesce(t.delay_s, 0) <= m.delay_s)) AS unsaid
               FROM flow_messages m WHERE org_id = $1 AND flow_status <> 'gone'
               GROUP BY flow_id) f ON f.flow_id = t.flow_id
    WHERE t.template_id IS NOT NULL OR f.delay_s IS NOT NULL
    ORDER BY (f.flow_status = 'live' AND f.delay_s >= $2 AND NOT f.unsaid) IS NOT TRUE DESC, f.flow_name NULLS LAST,
        t.template_id
    LIMIT $3
"""
# Read once: how the newest were decided and ended, and of those whose id is no profile the person (null: not of one).
# The outcome is looked up generation by generation: of a day there may be millions.
SELECT_NEWEST = """
    WITH newest AS (
        SELECT day, generation_id, template_id, user_id, accepted_at, decision, reason FROM generations
        WHERE org_id = $1 AND accepted_at >= $2 AND day >= $3 AND decision IN ('treatment', 'control')
        ORDER BY accepted_at DESC LIMIT $4
    ), ended AS MATERIALIZED (
        SELECT n.template_id, n.user_id, n.accepted_at, n.decision, n.reason AS decided, w.outcome, w.reason
        FROM newest n LEFT JOIN LATERAL (
            SELECT outcome, reason FROM write_outcomes w
            WHERE w.day = n.day AND w.day >= $3 AND w.generation_id = n.generation_id LIMIT 1) w ON true
    )
    SELECT NULL AS user_id, template_id, decision, decided, outcome, reason, count(*) AS generations,
        max(accepted_at) AS last_at
    FROM ended GROUP BY template_id, decision, decided, outcome, reason
    UNION ALL (
        SELECT user_id, template_id, min(decision), min(decided), outcome, reason, count(*), max(accepted_at) AS last_at
        FROM ended WHERE outcome = 'rejected' AND reason IN ('profile_id_invalid', 'profile_not_found')
        GROUP BY user_id, template_id, outcome, reason ORDER BY last_at DESC LIMIT $5
    )
"""
SELECT_SAME_PREFIX = """
    SELECT name FROM templates
    WHERE org_id = $1 AND property_prefix = ANY($2) AND state IN ('active', 'shipped') ORDER BY name
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A template in service, a flow with a webhook of ours, or both. `delay_s`: from the webhook to the email, read
    from the flow; null: the flow holds no webhook of ours. `delay_changed_at`: when another delay was read than before.
    `unsaid`: the flow waits for a date or for goods, and the template does not say for how long."""

    template_id: str | None
    state: str | None
    flow_id: str | None
    flow_name: str | None
    flow_status: str | None
    delay_s: int | None
    delay_changed_at: datetime | None = None
    unsaid: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """Webhooks of one template among the newest."""

    template_id: str
    last_at: datetime
    webhooks: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Ended:
    """So many generations were decided so and ended so; `outcome` null: not settled yet."""

    decision: str
    decided: str
    outcome: str | None
    reason: str | None
    generations: int


@dataclass(frozen=True, slots=True)
class WrongId:
    """A `user_id` that is no profile of the account."""

    user_id: str
    template_id: str
    last_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Sharing:
    """Of other orgs on the same Klaviyo account: prefixes of theirs, and whether one may be there that nobody knows
    of."""

    prefixes: frozenset[str] = frozenset()
    may_be: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that is decided about. `scopes` null: not connected."""

    now: datetime
    stopped_at: datetime | None
    scopes: frozenset[str] | None
    verified_at: datetime | None
    last4: str | None
    keys: int
    key_used_at: datetime | None
    synced_at: datetime | None
    flows: int
    pause: str | None
    campaigns_synced_at: datetime | None = None
    campaigns: int = 0
    campaigns_problem: str | None = None
    flows_problem: str | None = None
    places: Sequence[Place] = ()
    more_places: int = 0
    seen: Sequence[Seen] = ()
    ended: Sequence[Ended] = ()
    wrong_ids: Sequence[WrongId] = ()
    refused: Sequence[RefusedWebhooks] = ()
    strays: Sequence[StrayWebhooks] = ()
    shared: Sharing = Sharing()
    same_prefix: Sequence[str] = ()


async def read_facts(connection: Connection, org_id: UUID, now: datetime, shared: Sharing) -> Facts:
    """The org's own: the connection sees no other's."""
    (org,) = await connection.fetch(SELECT_ORG, org_id, now)
    about = dict(org)
    scopes = about.pop("scopes")
    places = [dict(row) for row in await connection.fetch(SELECT_PLACES, org_id, ADVISED_S[0], MOST_PLACES)]
    there = max((place.pop("places") for place in places), default=0)
    since = now - LATELY
    await connection.execute(SET_FOR_FEW)
    newest = await connection.fetch(SELECT_NEWEST, org_id, since, generation_day(since), SAMPLE, _EXAMPLES)
    ended = [dict(row) for row in newest if row["user_id"] is None]
    return Facts(
        now=now,
        scopes=None if scopes is None else frozenset(scopes),
        **about,
        places=[Place(**row) for row in places],
        more_places=there - len(places),
        seen=_seen(ended),
        ended=_ended(ended),
        wrong_ids=[
            WrongId(row["user_id"], row["template_id"], row["last_at"], row["reason"])
            for row in newest
            if row["user_id"] is not None
        ],
        refused=await read_refused(connection, org_id, now),
        strays=await read_strays(connection, org_id, now),
        shared=shared,
        same_prefix=[row["name"] for row in await connection.fetch(SELECT_SAME_PREFIX, org_id, [*shared.prefixes])],
    )


def _seen(rows: Sequence[Mapping[str, Any]]) -> list[Seen]:
    """By template."""
    found: dict[str, Seen] = {}
    for row in rows:
        before = found.get(row["template_id"], Seen(row["template_id"], row["last_at"], 0, 0))
        unknown = row["generations"] if row["decided"] == "unknown_template" else 0
        last_at = max(before.last_at, row["last_at"])
        found[row["template_id"]] = Seen(
            row["template_id"], last_at, before.webhooks + row["generations"], before.unknown + unknown
        )
    return list(found.values())


def _ended(rows: Sequence[Mapping[str, Any]]) -> list[Ended]:
    """Whatever template it was of."""
    counts: Counter[tuple[str, str, str | None, str | None]] = Counter()
    for row in rows:
        counts[row["decision"], row["decided"], row["outcome"], row["reason"]] += row["generations"]
    return [Ended(*how, generations) for how, generations in counts.items()]
