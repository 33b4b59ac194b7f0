"""Made-up event files: what a shop's emails cause, in the order in which it happens, cut into files.

Per 100 emails about 98 deliveries, 1.5 bounces, 45 first opens (over half of them by machines), 12 later ones, 5 clicks
(a fifth by bots), and now and then an unsubscribe or an order. A file repeats 4 % of the rows of the one before. All
follows from the numbers of the emails, so that two runs make the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import duckdb

REPEATED = 25
"""One row in so many is told again by the next file."""

# Transmission IDs carry their moment, as Klaviyo's do.
_ULID = """
    CREATE OR REPLACE TEMP MACRO ulid(moment, name) AS list_aggregate(list_transform(range(9, -1, -1), lambda k:
        substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', (1 + ((epoch_ms(moment) >> (5 * k)::int) & 31))::int, 1)),
        'string_agg', '') || upper(left(md5(name), 16))
"""
# People take their time, most of them little of it.
_LATE = """
    CREATE OR REPLACE TEMP MACRO late(sent_at, h, least_s, usual_s, spread) AS
        sent_at + to_seconds(least_s - usual_s * ln((1 + h % spread) / 9974))
"""
# A send's identity, everywhere the same. Eight of ten belong to a flow and have a generation.
_SENDS = """
    CREATE OR REPLACE TEMP TABLE mails AS
    SELECT n, (hash(n) >> 2)::bigint AS h, '01K' || upper(left(md5('p' || n), 23)) AS profile_id,
        CASE WHEN n % 10 < 8 THEN ['TZWDfu', 'XTwpRQ', 'V72r6j', 'RkPq2n'][1 + n % 4]
            ELSE '01H7F525FKR31P27Y7PNGVBBKK' END AS message_id,
        CASE WHEN n % 10 < 8 THEN 'WFzxH9' END AS flow_id,
        $start::timestamp + to_seconds(3600 * 5 * (n - $first) / $count) AS sent_at, ulid(sent_at, 't' || n)
            AS transmission_id
    FROM range($first, $first + $count) r (n)
"""
_HAPPENED = """
    CREATE OR REPLACE TEMP TABLE happened AS
    WITH all_events AS (
        SELECT *, 'Received Email' AS metric, 0 AS nth, sent_at + to_seconds(2 + h % 20) AS moment FROM mails
        WHERE h % 1000 >= 15
        UNION ALL BY NAME
        SELECT *, 'Bounced Email' AS metric, 1 AS nth, sent_at + to_seconds(5 + h % 600) AS moment FROM mails
        WHERE h % 1000 < 15
        UNION ALL BY NAME
        SELECT *, 'Opened Email' AS metric, 2 AS nth, late(sent_at, h, 30, 2000, 9973) AS moment
        FROM mails WHERE h % 1000 BETWEEN 15 AND 465
        UNION ALL BY NAME
        SELECT *, 'Opened Email' AS metric, 3 AS nth, late(sent_at, h, 900, 3000, 9967) AS moment
        FROM mails WHERE h % 1000 BETWEEN 15 AND 135
        UNION ALL BY NAME
        SELECT *, 'Clicked Email' AS metric, 4 AS nth, late(sent_at, h, 60, 2500, 9949) AS moment
        FROM mails WHERE h % 1000 BETWEEN 100 AND 150
        UNION ALL BY NAME
        SELECT *, 'Unsubscribed from Email Marketing' AS metric, 5 AS nth,
            sent_at + to_seconds(300 + h % 5000) AS moment
        FROM mails WHERE h % 1000 BETWEEN 200 AND 202
        UNION ALL BY NAME
        SELECT *, 'Placed Order' AS metric, 6 AS nth, sent_at + to_seconds(4000 + h % 9000) AS moment
        FROM mails WHERE h % 1000 BETWEEN 120 AND 127
    )
    SELECT *, left(md5('e' || n || ':' || nth), 12) AS id, hash(n * 7 + nth) % 25 = 0 AS repeated,
        (row_number() OVER (ORDER BY moment, n, nth) - 1) * $files // count(*) OVER () AS file
    FROM (SELECT * FROM all_events)
"""
_ROWS = """
    SELECT id, metric, profile_id, strftime(date_trunc('second', moment), '%Y-%m-%d %H:%M:%S+00:00') AS datetime,
        CASE metric
        WHEN 'Placed Order' THEN json_object(
            '$event_id', 'order-' || n, '$value', (h % 20000) / 100.0, '$currency_code', 'EUR', 'OrderId', '#' || n,
            'Items', ['Trail shoe', 'Merino sock'], 'Discount Code', 'WELCOME10', 'Source Name', 'web',
            'Billing', json_object('City', 'Zürich', 'Zip', '8004', 'Country', 'Switzerland'),
            'Shipping', json_object('City', 'Zürich', 'Zip', '8004', 'Country', 'Switzerland'))
        WHEN 'Bounced Email' THEN json_object(
            'Subject', 'Your "trail" pick – 20 % until Sunday', '$message', message_id, 'Bounce Type', 'Hard',
            '$_cohort$message_send_cohort', epoch(sent_at)::bigint || ':' || message_id,
            'Campaign Name', 'Welcome series · mail ' || n % 4, 'Email Domain', 'mail' || h % 300 || '.example',
            '$event_id', message_id || ':' || h || ':' || epoch(moment)::bigint)
        WHEN 'Unsubscribed from Email Marketing' THEN json_object(
            'Subject', 'Your "trail" pick – 20 % until Sunday', '$message', message_id, 'List', 'Newsletter',
            '$_cohort$message_send_cohort', epoch(sent_at)::bigint || ':' || message_id,
            'Campaign Name', 'Welcome series · mail ' || n % 4, 'method', 'Unsubscribe link')
        ELSE json_merge_patch(
            json_object(
                'Subject', 'Your "trail" pick – 20 % until Sunday, ' || ['Ana', 'Björn', 'Chloé', 'Dan'][1 + h % 4],
                '$message', message_id, '$flow', flow_id, 'Campaign Name', 'Welcome series · mail ' || n % 4,
                'Recipient Email Address', 'person.' || n || '@mail' || h % 300 || '.example',
                'Email Domain', 'mail' || h % 300 || '.example', '$ESP', 0,
                '$internal', json_object('Transmission ID', transmission_id, 'Handoff Time', epoch(sent_at)::bigint),
                '$event_id', message_id || ':' || transmission_id || ':' || nth),
            CASE metric
            WHEN 'Opened Email' THEN json_object(
                'machine_open', h % 100 < 55, 'Client Name', 'Apple Mail', 'Client Type', 'mobile')
            WHEN 'Clicked Email' THEN json_object(
                'Bot Click', h % 5 = 0, 'URL', 'https://shop.example/products/' || h % 5000 || '?utm_source=mail',
                'Client Name', 'Safari')
            ELSE '{}' END)
        END AS event_properties
    FROM happened WHERE file = $file OR (file = $file - 1 AND repeated)
    ORDER BY moment, n, nth
"""
GENERATION_COLUMNS = (
    "day", "generation_id", "org_id", "template_id", "user_id", "tracking_id", "accepted_at", "deadline_at",
    "clean_at", "decision", "reason", "copy_id", "property_prefix", "written_for", "cell",
)  # fmt: skip
_GENERATIONS = """
    SELECT sent_at::date, md5('g' || n)::uuid, $org_id, 'welcome', profile_id, profile_id || '.WFzxH9.ACT' || n % 4,
        sent_at - INTERVAL 130 seconds, sent_at - INTERVAL 10 seconds, sent_at + INTERVAL 15 minutes,
        CASE WHEN h % 10 = 0 THEN 'control' ELSE 'treatment' END, 'bench',
        CASE WHEN h % 10 <> 0 THEN $copy_ids[1 + h % 4] END, 'jai', 'welcome.WFzxH9.ACT' || n % 4,
        ['', 'gold', 'silver'][1 + h % 3]
    FROM mails WHERE flow_id IS NOT NULL
"""
MESSAGES = {"ACT0": "TZWDfu", "ACT1": "XTwpRQ", "ACT2": "V72r6j", "ACT3": "RkPq2n"}
_EVENTS_PER_MAIL = 1.64


@dataclass(frozen=True, slots=True)
class Files:
    """What was written: `rows` in all files, of which `events` are different ones, of so many mails."""

    paths: Sequence[Path]
    rows: int
    events: int
    sends: int
    attributed: int
    bytes: int


class Maker:
    """Makes mails one batch after the other; no two batches share an id."""

    def __init__(self) -> None:
        self._db = duckdb.connect(config={"memory_limit": "2GB", "threads": 2})
        self._db.execute(_ULID)
        self._db.execute(_LATE)
        self._first = 0

    def close(self) -> None:
        self._db.close()

    def make(self, folder: Path, name: str, rows: int, files: int, start: datetime) -> Files:
        """About so many rows of mails that are sent within five hours from `start`, as files in `folder`."""
        count = max(100, round(rows / _EVENTS_PER_MAIL / (1 + 1 / REPEATED * (files - 1) / files)))
        self._db.execute(
            _SENDS, {"start": start.astimezone(UTC).replace(tzinfo=None), "first": self._first, "count": count}
        )
        self._db.execute(_HAPPENED, {"files": files})
        self._first += count
        paths = [folder / f"{name}-{number:03d}.csv" for number in range(files)]
        written = 0
        for number, path in enumerate(paths):
            self._db.execute("SET VARIABLE file = " + str(number))
            rows_of = _ROWS.replace("$file", "getvariable('file')")
            found = self._db.execute(f"COPY ({rows_of}) TO '{path}' (FORMAT csv, HEADER)").fetchone()
            written += found[0] if found else 0
        events, sends, attributed = self._one(
            "SELECT count(*), (SELECT count(*) FROM mails), (SELECT count(*) FROM mails WHERE flow_id IS NOT NULL"
            " AND h % 1000 >= 15) FROM happened"
        )
        return Files(paths, written, events, sends, attributed, sum(path.stat().st_size for path in paths))

    def generations(self, path: Path, org_id: UUID, copy_ids: Sequence[UUID]) -> None:
        """The generations that the batch's flow mails showed, as CSV without header, by GENERATION_COLUMNS."""
        values = {"org_id": org_id, "copy_ids": list(copy_ids)}
        self._db.execute(f"CREATE OR REPLACE TEMP TABLE shown AS {_GENERATIONS}", values)
        self._db.execute(f"COPY shown TO '{path}' (FORMAT csv, HEADER false)")

    def _one(self, query: str) -> tuple[int, ...]:
        row = self._db.execute(query).fetchone()
        assert row is not None  # a count
        return row
