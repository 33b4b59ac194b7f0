"""The newest generations whose emails showed the same for the same reason. What is counted says in which quarters to
look for them (ADR 0021), so that a rare reason of a month is found without reading the month."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from shared.admin.outcomes.shown_facts import NEWEST_JUDGED, NEWEST_OF_FEW, OWN_WORDS
from shared.admin.outcomes.shown_spans import QUARTER, SPANS, columns, minutes
from shared.admin.outcomes.shown_store import SET_FOR_FEW, Reading, facts_of
from shared.db.pool import Connection

# Spans in which there are some, newest first. Few rows each: a span has one a template and way to end.
SELECT_SPANS: Final = """
    SELECT span, at, sum(emails)::bigint AS emails FROM unnest($2::smallint[], $3::timestamptz[]) k (span, at)
    JOIN shown_counts c USING (span, at)
    WHERE c.org_id = $1 AND c.because = $4 AND ($5::text IS NULL OR c.shown = $5)
      AND ($6::text IS NULL OR c.template_id = $6)
    GROUP BY span, at ORDER BY at DESC
"""
_FEW: Final = 200
_SOON: Final = timedelta(hours=1)  # after its webhook a write has ended; most of them within minutes
_LENGTHS: Final = {minutes(span): span for span in SPANS}
_PARTS: Final = dict(pairwise(SPANS))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Emails that showed this, or anything, for this reason; of one template, or of all."""

    because: str
    shown: str | None
    template_id: str | None
    limit: int


async def newest(connection: Connection, reading: Reading, wanted: Wanted) -> Sequence[Any]:
    """Rows of `NEWEST_JUDGED`, newest first."""
    await connection.execute(SET_FOR_FEW)
    counted = await _quarters(connection, reading, wanted)
    times: list[tuple[datetime, datetime, int | None]] = [
        *((at, at + QUARTER, emails) for at, emails in counted),
        *((*one, None) for one in reading.parts.live),
    ]
    found: list[Any] = []
    for since, until, most in sorted(times, key=lambda one: one[0], reverse=True):
        org_id, _, _, first, last, now, missed = facts_of(reading.org_id, [(since, until)], reading.now)
        asked = (
            org_id, since, until, first, last, now, missed, wanted.because, wanted.shown, wanted.template_id,
        )  # fmt: skip
        # After the last there is nothing to look for.
        left = min(wanted.limit - len(found), most if most is not None else wanted.limit)
        rows: Sequence[Any] = ()
        if most is not None and most <= _FEW and wanted.because not in OWN_WORDS:
            rows = await connection.fetch(NEWEST_OF_FEW, *asked, left, _SOON)
        if most is None or not rows or rows[0]["there"] < most:
            # Where some are missing, it is not known which: the newest may be among them.
            rows = await connection.fetch(NEWEST_JUDGED, *asked, left)
        found += rows
        if len(found) >= wanted.limit:
            break
    return found


async def _quarters(connection: Connection, reading: Reading, wanted: Wanted) -> list[tuple[datetime, int]]:
    """The newest counted ones that hold as many as are wanted, and how many each holds: from long spans down to those
    in them."""
    spans = list(reading.parts.kept)
    while spans:
        asked = (wanted.because, wanted.shown, wanted.template_id)
        rows = await connection.fetch(SELECT_SPANS, reading.org_id, *columns(spans), *asked)
        holding, emails = [], 0
        for row in rows:
            if emails >= wanted.limit:
                break
            holding.append((_LENGTHS[row["span"]], row["at"], row["emails"]))
            emails += row["emails"]
        if all(span == QUARTER for span, _, _ in holding):
            return [(at, count) for _, at, count in holding]
        spans = [(minutes(part), start) for span, at, _ in holding for part, start in _inside(span, at)]
    return []


def _inside(span: timedelta, at: datetime) -> list[tuple[timedelta, datetime]]:
    """A span as those of the next length; a quarter as itself."""
    part = _PARTS.get(span, span)
    return [(part, at + number * part) for number in range(span // part)]
