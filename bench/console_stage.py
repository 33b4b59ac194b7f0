"""What `make bench-console` looks at: an org with a thousand templates, one of them with millions of events, most of
them of the last 24 hours; and what its pages of operations are about."""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID, uuid4, uuid5

import asyncpg

from services.ingest.counting.results import Pace, StoredCounts
from services.ingest.counting.shown import Pace as ShownPace
from services.ingest.counting.shown import StoredShownCounts
from shared.db.pool import Database

DAYS, TEMPLATES, VARIANTS = 90, 1_000, 6
EVENTS_A_SEND = 3.2  # received, opened by machine or person, some clicked
COPIES = [uuid5(UUID(int=27), str(number)) for number in range(VARIANTS)]
_PACE = Pace(
    tick=timedelta(seconds=5), fresh=timedelta(days=1), older=timedelta(days=1), late=timedelta(days=1),
    report=timedelta(days=1), lease=timedelta(hours=2),
)  # fmt: skip
_SHOWN_PACE = ShownPace(
    tick=timedelta(seconds=5), young=timedelta(days=1), older=timedelta(days=1), lease=timedelta(hours=2)
)  # fmt: skip
_MONTH = 31  # days whose decisions are spread over hours; older ones are of one, so that there is less to count
_PIECES = 8  # of the last day; statements over a quarter of a million rows each
_BUSY = 100  # decisions of each other template within the last day

INSERT_TEMPLATES = """
    INSERT INTO templates (org_id, template_id, name, state, split, control_ratio, created_at, updated_at)
    SELECT $1, 't' || n, 'Template ' || n, 'active', 'random', 0.1, $2, $2 FROM generate_series(1, $3::int) n
"""
INSERT_VARIANTS = """
    INSERT INTO variants (org_id, copy_id, template_id, name, state, created_at, updated_at)
    SELECT $1, id, 't1', 'Variant ' || n, 'approved', $2, $2 FROM unnest($3::uuid[]) WITH ORDINALITY v (id, n)
"""
INSERT_VERSIONS = """
    INSERT INTO variant_versions (org_id, copy_id, version, subject, preheader, body, author, created_at)
    SELECT $1, id, 1, 'Hello {{ first_name }}', '', '<p>Hello</p>', 'ann@example.com', $2 FROM unnest($3::uuid[]) id
"""
# Two attrs with 4 and 8 values; every tenth is control. Evenly from $2 to $3: $4 of the first template, $5 of others.
INSERT_DECISIONS = """
    INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, deadline_at,
        clean_at, decision, reason, copy_id, property_prefix, written_for, cell, eligible, probabilities, propensity)
    SELECT (at AT TIME ZONE 'UTC')::date, gen_random_uuid(), $1, CASE WHEN n <= $4 THEN 't1'
        ELSE 't' || 2 + n % ($6::int - 1) END, 'p' || (n * 7919 % 1000003), 'u.f.a', at, at + interval '5 minutes',
        at + interval '2 hours', CASE WHEN n % 10 = 0 THEN 'control' ELSE 'treatment' END,
        CASE WHEN n % 10 = 0 THEN 'control_split' ELSE 'explore' END,
        CASE WHEN n % 10 > 0 THEN ($7::uuid[])[1 + n % $8::int] END, 'jai', 'w.f.a',
        'country=c' || n % 8 || '&plan=p' || n % 4, CASE WHEN n % 10 > 0 THEN $7::uuid[] ELSE '{}' END,
        CASE WHEN n % 10 > 0 THEN array_fill(1.0 / $8::float8, ARRAY[$8::int]) ELSE '{}' END,
        CASE WHEN n % 10 > 0 THEN 1.0 / $8::float8 END
    FROM generate_series(1, $4::int + $5::int) n, LATERAL (SELECT $2::timestamptz + ($3::timestamptz - $2) *
        (CASE WHEN n <= $4 THEN (n - 1) / greatest($4, 1)::float8 ELSE (n - $4 - 1) / greatest($5, 1)::float8 END)
        AS at) a
"""
# Of a hundred, three miss; those of the last minute are still on their way.
INSERT_OUTCOMES = """
    INSERT INTO write_outcomes (day, generation_id, org_id, outcome, reason, at, attempts)
    SELECT day, generation_id, org_id, CASE WHEN decision = 'control' THEN 'nothing_to_clear' WHEN h < 1 THEN 'expired'
            WHEN h < 2 THEN 'rejected' WHEN h < 3 THEN 'superseded' ELSE 'written' END,
        CASE WHEN decision = 'control' THEN NULL WHEN h < 1 THEN 'quota' WHEN h < 2 THEN 'profile_not_found' END,
        accepted_at + h * interval '400 milliseconds', 1
    FROM (SELECT *, abs(hashtext(generation_id::text)) % 100 AS h FROM generations
        WHERE org_id = $1 AND accepted_at >= $2 AND accepted_at < least($3, $4::timestamptz - interval '1 minute')) g
"""
INSERT_SENDS = """
    INSERT INTO sends (org_id, transmission_id, profile_id, sent_at, day, attribution, generation_id, generation_day,
        template_id, copy_id, cell, delivered, bounced, unsubscribed, spam, human_opens, machine_opens, human_clicks,
        bot_clicks)
    SELECT org_id, generation_id::text, user_id, deadline_at, day, 'message', generation_id, day, template_id, copy_id,
        cell, true, false, h % 500 = 17, false, (h % 10 < 4)::int, (h % 10 >= 6)::int,
        (h % 1000 < CASE WHEN copy_id IS NULL THEN 60 ELSE 70 END)::int, (h % 50 = 3)::int
    FROM (SELECT *, abs(hashtext(generation_id::text)) % 100000 AS h FROM generations
        WHERE org_id = $1 AND accepted_at >= $2 AND accepted_at < least($3, $4::timestamptz - interval '20 minutes')) g
"""
OPEN_DAY = "INSERT INTO result_days (org_id, day) VALUES ($1, $2) ON CONFLICT DO NOTHING"


async def seed(db: Database, org_id: UUID, now: datetime, events: int, say: Callable[[str], None]) -> None:
    """Templates with 90 days of decisions: so many events of the first, of which two thirds are of the last 24 hours
    and a thirtieth is of the last; a trickle of each of the others."""
    sends = round(events / EVENTS_A_SEND)
    lately, last_hour = round(0.64 * sends), round(0.032 * sends)
    yesterday, hour_ago = now - timedelta(days=1), now - timedelta(hours=1)
    async with db.transaction(timeout_s=600) as connection:
        await connection.execute(INSERT_TEMPLATES, org_id, now - timedelta(days=DAYS), TEMPLATES)
        await connection.execute(INSERT_VARIANTS, org_id, now, COPIES)
        await connection.execute(INSERT_VERSIONS, org_id, now, COPIES)
    for back in range(DAYS, 1, -1):
        since = now - timedelta(days=back)
        until = since + timedelta(hours=8 if back <= _MONTH else 1)
        await _stretch(db, org_id, since, until, (sends - lately) // (DAYS - 1), 2 * TEMPLATES, now)
        say(f"day {DAYS - back + 1} of {DAYS}")
    for number in range(_PIECES):
        since, until = (yesterday + (hour_ago - yesterday) * at / _PIECES for at in (number, number + 1))
        await _stretch(
            db, org_id, since, until, (lately - last_hour) // _PIECES, _BUSY * TEMPLATES * 23 // 24 // _PIECES, now
        )
        say(f"the last day: {number + 1} of {_PIECES}")
    await _stretch(db, org_id, hour_ago, now, last_hour, _BUSY * TEMPLATES // 24, now)


async def _stretch(
    db: Database, org_id: UUID, since: datetime, until: datetime, people: int, others: int, now: datetime
) -> None:
    """Decisions from `since` to before `until`, how their writes ended, and the emails that have left."""
    async with db.transaction(timeout_s=600) as connection:
        await connection.execute("SET LOCAL statement_timeout = '600s'")
        for day in {since.date(), until.date()}:
            for table in ("generations", "write_outcomes"):
                await connection.execute("SELECT ensure_partition($1, $2)", table, day)
            await connection.execute(OPEN_DAY, org_id, day)
        await connection.execute(
            INSERT_DECISIONS, org_id, since, until, people, others, TEMPLATES, COPIES, VARIANTS, timeout=600
        )
        await connection.execute(INSERT_OUTCOMES, org_id, since, until, now, timeout=600)
        await connection.execute(INSERT_SENDS, org_id, since, until, now, timeout=600)


async def count(db: Database, org_id: UUID, now: datetime, say: Callable[[str], None]) -> None:
    """As ingest does it; of reports that of the first template alone, which the page reads. The last few webhooks come
    after it."""
    counts, done = StoredCounts(db, uuid4, _PACE), 0
    while await counts.count_day(now):
        done += 1
        say(f"counted {done} of {DAYS}")
    async with db.transaction() as connection:
        await connection.execute("DELETE FROM result_reports WHERE template_id <> 't1'")
    await counts.report(now)
    shown, quarters = StoredShownCounts(db, uuid4, _SHOWN_PACE), 0
    while await shown.take_marks(now):
        pass
    while await shown.count_quarter(now):
        quarters += 1
        if quarters % 100 == 0:
            say(f"counted {quarters} quarter hours")
    await _stretch(db, org_id, now, now + timedelta(seconds=10), 300, 0, now)


async def tidy(owner_url: str) -> None:
    """As autovacuum does in its own time; a worker's role may not."""
    connection = await asyncpg.connect(owner_url)
    try:
        await connection.execute("VACUUM ANALYZE", timeout=600)
    finally:
        await connection.close()
