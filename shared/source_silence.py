"""When a source of event files has fallen silent: nothing new for twice its usual gap between files."""

from datetime import datetime, timedelta
from typing import Final

# The moments at which something new was seen, not the files: a hundred that came at once came once. Windows of time
# come by themselves; of those the ones with new events count.
GAPS: Final = """
    SELECT max(first_seen_at) AS newest_at, count(gap_s) AS gaps,
           percentile_cont(0.9) WITHIN GROUP (ORDER BY gap_s) AS usual_gap_s
    FROM (SELECT first_seen_at,
                 extract(epoch FROM first_seen_at - lag(first_seen_at) OVER (ORDER BY first_seen_at)) AS gap_s
          FROM (SELECT DISTINCT first_seen_at
                FROM (SELECT first_seen_at FROM ingest_files WHERE source_id = {source_id}
                        AND (fresh > 0 OR (SELECT kind FROM sources k WHERE k.source_id = {source_id}) <> 'klaviyo')
                      ORDER BY first_seen_at DESC LIMIT 1000) newest
                ORDER BY first_seen_at DESC LIMIT 31) moments) gaps
"""
"""For one source: the moment of its newest file, and the gap that nine of ten of its last 30 stayed within, seconds."""

_LEAST_GAPS: Final = 3  # with fewer nothing is usual
_LEAST: Final = timedelta(hours=1)  # files of one export come minutes apart, and then none until the next


def silent_since(newest_at: datetime | None, gaps: int, usual_gap_s: float | None, now: datetime) -> datetime | None:
    """Since when nothing new has come, where that is too long ago; else None."""
    if newest_at is None or usual_gap_s is None or gaps < _LEAST_GAPS:
        return None
    return newest_at if now - newest_at > max(_LEAST, 2 * timedelta(seconds=usual_gap_s)) else None
