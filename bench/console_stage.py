"""What `make bench-console` looks at: an org with a thousand templates and one of them with millions of events."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from uuid import UUID, uuid4, uuid5

from services.ingest.counting import Pace, StoredCounts
from shared.db.pool import Database

DAYS, TEMPLATES, VARIANTS = 90, 1_000, 6
EVENTS_A_SEND = 3.2  # received, opened by machine or person, some clicked
COPIES = [uuid5(UUID(int=27), str(number)) for number in range(VARIANTS)]
_PACE = Pace(
    tick=timedelta(seconds=5), fresh=timedelta(days=1), older=timedelta(days=1), late=timedelta(days=1),
    report=timedelta(days=1), lease=timedelta(hours=2),
)  # fmt: skip

INSERT_TEMPLATES = """
    INSERT INTO templates (org_id, template_id, name, state, split, control_ratio, created_at, updated_at)
    SELECT $1, 't' || n, 'Template ' || n, 'active', 'random', 0.1, $2, $2 FROM generate_series(1, $3::int) n
"""
INSERT_VARIANTS = """
    INSERT INTO variants (org_id, copy_id, template_id, name, state, created_at, updated_at)
    SELECT $1, id, 't1', 'Variant ' || n, 'approved', $2, $2 FROM unnest($3::uuid[]) WITH ORDINALITY v (id, n)
"""
# Two attrs with 4 and 8 values; every tenth is control.
INSERT_DECISIONS = """
    INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, deadline_at,
        clean_at, decision, reason, copy_id, property_prefix, written_for, cell, eligible, probabilities, propensity)
    SELECT $2::date, gen_random_uuid(), $1, CASE WHEN n <= $3 THEN 't1' ELSE 't' || 2 + n % ($5::int - 1) END,
        'p' || (n * 7919 % 1000003), 'u.f.a', at, at, at, CASE WHEN n % 10 = 0 THEN 'control' ELSE 'treatment' END,
        CASE WHEN n % 10 = 0 THEN 'control_split' ELSE 'explore' END,
        CASE WHEN n % 10 > 0 THEN ($6::uuid[])[1 + n % $7::int] END, 'jai', 'w.f.a',
        'country=c' || n % 8 || '&plan=p' || n % 4, CASE WHEN n % 10 > 0 THEN $6::uuid[] ELSE '{}' END,
        CASE WHEN n % 10 > 0 THEN array_fill(1.0 / $7::float8, ARRAY[$7::int]) ELSE '{}' END,
        CASE WHEN n % 10 > 0 THEN 1.0 / $7::float8 END
    FROM generate_series(1, $3::int + $4::int) n, LATERAL (SELECT $2::date::timestamp + interval '10 hours' AS at) a
"""
INSERT_SENDS = """
    INSERT INTO sends (org_id, transmission_id, profile_id, sent_at, day, attribution, generation_id, generation_day,
        template_id, copy_id, cell, delivered, bounced, unsubscribed, spam, human_opens, machine_opens, human_clicks,
        bot_clicks)
    SELECT org_id, generation_id::text, user_id, deadline_at, day, 'message', generation_id, day, template_id, copy_id,
        cell, true, false, h % 500 = 17, false, (h % 10 < 4)::int, (h % 10 >= 6)::int,
        (h % 1000 < CASE WHEN copy_id IS NULL THEN 60 ELSE 70 END)::int, (h % 50 = 3)::int
    FROM (SELECT *, abs(hashtext(generation_id::text)) % 100000 AS h FROM generations
        WHERE org_id = $1 AND day = $2) g
"""


async def seed(db: Database, org_id: UUID, now: datetime, events: int, say: Callable[[str], None]) -> None:
    """Templates with 90 days of decisions: so many events of the first, a trickle of each of the others."""
    sends = round(events / EVENTS_A_SEND)
    async with db.transaction(timeout_s=600) as connection:
        await connection.execute(INSERT_TEMPLATES, org_id, now - timedelta(days=DAYS), TEMPLATES)
        await connection.execute(INSERT_VARIANTS, org_id, now, COPIES)
    for back in range(DAYS):
        await _day(db, org_id, (now - timedelta(days=back)).date(), sends // DAYS)
        say(f"day {back + 1} of {DAYS}")
    async with db.connection(600) as connection:
        await connection.execute("VACUUM ANALYZE sends", timeout=600)


async def _day(db: Database, org_id: UUID, day: date, people: int) -> None:
    async with db.transaction(timeout_s=600) as connection:
        await connection.execute("SET LOCAL statement_timeout = '600s'")
        for table in ("generations", "write_outcomes"):
            await connection.execute("SELECT ensure_partition($1, $2)", table, day)
        await connection.execute(
            INSERT_DECISIONS, org_id, day, people, 2 * TEMPLATES, TEMPLATES, COPIES, VARIANTS, timeout=600
        )
        await connection.execute(INSERT_SENDS, org_id, day, timeout=600)
        await connection.execute("INSERT INTO result_days (org_id, day) VALUES ($1, $2)", org_id, day)


async def count(db: Database, now: datetime, say: Callable[[str], None]) -> None:
    """As ingest does it; the report of the first template alone, which the page reads."""
    counts, done = StoredCounts(db, uuid4, _PACE), 0
    while await counts.count_day(now):
        done += 1
        say(f"counted {done} of {DAYS}")
    async with db.transaction() as connection:
        await connection.execute("DELETE FROM result_reports WHERE template_id <> 't1'")
    await counts.report(now)
    async with db.connection(600) as connection:
        await connection.execute("VACUUM ANALYZE result_counts", timeout=600)
