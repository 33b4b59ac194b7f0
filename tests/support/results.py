"""A template with a history: decisions, emails and clicks of some weeks, made by rule, not by chance."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID, uuid4, uuid5

from services.ingest.counting.results import Pace, StoredCounts
from shared.db.pool import Database

NAMES = ("Warm welcome", "Short and bold", "Story first")
COPIES = [uuid5(UUID(int=27), name) for name in NAMES]
PACE = Pace(
    tick=timedelta(seconds=5), fresh=timedelta(minutes=5), older=timedelta(hours=1), late=timedelta(seconds=30),
    report=timedelta(minutes=15), lease=timedelta(hours=1),
)  # fmt: skip

INSERT_TEMPLATE = """
    INSERT INTO templates (org_id, template_id, name, state, split, control_ratio, flow_id, treatment_action_id,
        created_at, updated_at)
    VALUES ($1, $2, $3, 'active', 'random', 0.2, 'FLOW01', '70000012', $4, $4)
"""
INSERT_VARIANT = """
    INSERT INTO variants (org_id, copy_id, template_id, name, state, created_at, updated_at)
    VALUES ($1, $2, $3, $4, 'approved', $5, $5)
"""
# Of every five people one is control; of the others the first variant gets most. Their plan goes by the hash.
INSERT_DECISIONS = """
    INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, deadline_at,
        clean_at, decision, reason, copy_id, property_prefix, written_for, cell, eligible, probabilities, propensity)
    SELECT $3::date, md5($2 || ($3::date)::text || n)::uuid, $1, $2, ($3::date)::text || n, 'u.f.a',
        ($3::date)::timestamp + interval '10 hours',
        ($3::date)::timestamp + interval '10 hours 2 minutes', ($3::date)::timestamp + interval '10 hours 20 minutes',
        CASE WHEN n % 5 = 0 THEN 'control' ELSE 'treatment' END,
        CASE WHEN n % 5 = 0 THEN 'control_split' ELSE 'explore' END,
        CASE WHEN n % 5 > 0 THEN ($5::uuid[])[pick] END, 'jai', 'w.f.a',
        (ARRAY['plan=pro', 'plan=free', 'plan=trial&since=2026'])[1 + n % 3],
        CASE WHEN n % 5 > 0 THEN $5::uuid[] ELSE '{}' END, CASE WHEN n % 5 > 0 THEN $6::float8[] ELSE '{}' END,
        CASE WHEN n % 5 > 0 THEN ($6::float8[])[pick] END
    FROM generate_series(1, $4::int) n,
        LATERAL (SELECT CASE WHEN n * 7919 % 100 < 60 THEN 1 WHEN n * 7919 % 100 < 90 THEN 2 ELSE 3 END AS pick) p
"""
INSERT_OUTCOMES = """
    INSERT INTO write_outcomes SELECT day, generation_id, org_id, 'written', NULL, accepted_at, 1 FROM generations
    WHERE org_id = $1 AND template_id = $2 AND day = $3 AND decision = 'treatment'
"""
INSERT_SENDS = """
    INSERT INTO sends (org_id, transmission_id, profile_id, sent_at, day, attribution, generation_id, generation_day,
        template_id, copy_id, cell, delivered, bounced, unsubscribed, spam, human_opens, machine_opens, human_clicks,
        bot_clicks)
    SELECT org_id, 'T' || generation_id, user_id, deadline_at, day, 'message', generation_id, day, template_id, copy_id,
        cell, h % 40 > 0, h % 40 = 0, h % 500 = 17, false, (h % 10 < 4)::int, (h % 10 >= 6)::int,
        (h % 1000 < CASE WHEN copy_id IS NULL THEN 60 WHEN copy_id = $4 THEN 110 ELSE 75 END)::int, (h % 50 = 3)::int
    FROM (SELECT *, abs(hashtext(generation_id::text)) % 100000 AS h FROM generations
        WHERE org_id = $1 AND template_id = $2 AND day = $3) g
"""
INSERT_SNAPSHOT = """
    INSERT INTO policy_snapshots (org_id, template_id, snapshot_id, model, cells, otherwise, created_at, fitted_until)
    VALUES ($1, $2, $3, 'logistic', '{}', $4, $5, $5)
"""
INSERT_VERSION = """
    INSERT INTO variant_versions (org_id, copy_id, version, subject, preheader, body, created_at)
    VALUES ($1, $2, 1, $3, $3, $3, $4)
"""
INSERT_PAUSE = """
    INSERT INTO variant_events (org_id, copy_id, version, event, actor, comment, created_at)
    VALUES ($1, $2, 1, $3, $4, $5, $6)
"""


@dataclass(frozen=True, slots=True)
class History:
    """Puts templates with a history into an org. `now`: when it is."""

    db: Database
    org_id: UUID
    now: datetime

    async def template(self, template_id: str = "welcome", name: str = "Welcome series") -> None:
        """Three approved variants; other templates than `welcome` have none."""
        made = self.now - timedelta(days=60)
        async with self.db.transaction() as connection:
            await connection.execute(INSERT_TEMPLATE, self.org_id, template_id, name, made)
            for copy_id, variant in zip(COPIES, NAMES, strict=True) if template_id == "welcome" else ():
                await connection.execute(INSERT_VARIANT, self.org_id, copy_id, template_id, variant, made)
                await connection.execute(INSERT_VERSION, self.org_id, copy_id, variant, made)

    async def days(self, days: int, per_day: int, template_id: str = "welcome") -> None:
        """Decisions, writes and sends of so many days until yesterday: today may still be too young."""
        for back in range(1, days + 1):
            await self.day((self.now - timedelta(days=back)).date(), per_day, template_id)

    async def day(self, day: date, people: int, template_id: str = "welcome") -> None:
        """One of them."""
        async with self.db.transaction() as connection:
            for table in ("generations", "write_outcomes"):
                await connection.execute("SELECT ensure_partition($1, $2)", table, day)
            shares = [0.6, 0.3, 0.1]
            await connection.execute(INSERT_DECISIONS, self.org_id, template_id, day, people, COPIES, shares)
            await connection.execute(INSERT_OUTCOMES, self.org_id, template_id, day)
            await connection.execute(INSERT_SENDS, self.org_id, template_id, day, COPIES[0])
            await connection.execute(
                "INSERT INTO result_days (org_id, day) VALUES ($1, $2) ON CONFLICT DO NOTHING", self.org_id, day
            )

    async def policies(self, days: int) -> None:
        """A snapshot a day, by which the first variant gains."""
        async with self.db.transaction() as connection:
            for back in range(days):
                first = 0.34 + 0.4 * (days - back) / days
                shares = [first, (1 - first) * 0.7, (1 - first) * 0.3]
                otherwise = {str(copy_id): share for copy_id, share in zip(COPIES, shares, strict=True)}
                at = self.now - timedelta(days=back)
                await connection.execute(INSERT_SNAPSHOT, self.org_id, "welcome", uuid4(), otherwise, at)

    async def pause(self) -> None:
        """The guardrail took the last variant out, and a person put it in again."""
        async with self.db.transaction() as connection:
            why = "1.9 % of 640 left or complained, 0.4 % of control"
            for event, actor, comment, hours in (("paused", "ranker", why, 60), ("resumed", "Ann Example", "", 40)):
                at = self.now - timedelta(hours=hours)
                await connection.execute(INSERT_PAUSE, self.org_id, COPIES[2], event, actor, comment, at)

    async def count(self) -> None:
        """What ingest does with it: days, then reports."""
        counts = StoredCounts(self.db, uuid4, PACE)
        while await counts.count_day(self.now):
            pass
        while await counts.report(self.now):
            pass
