"""What the profile writer and whoever shows its work say alike, as SQL with `p` for `pending_writes`, `g` for
`generations` and `t` for `templates`."""

from typing import Final

LANES: Final = ("dirty", "fresh", "retry", "clean_up", "put_off")
"""By the numbers of migration 0004, and the rows of `retry` that are put off by a number of their own: they were not
tried before, and have no share of a turn."""

PUT_OFF: Final = "p.latest_at <= p.deadline_at"
NOT_PUT_OFF: Final = "(p.latest_at IS NULL OR p.latest_at > p.deadline_at)"  # as the index of migration 0103 says it


def lane_of(row: str = "p") -> str:
    """The place in LANES of a row of `pending_writes`."""
    return f"CASE WHEN {row}.lane = 2 AND {row}.latest_at <= {row}.deadline_at THEN 4 ELSE {row}.lane END"


LATEST_AT: Final = "greatest(g.deadline_at, g.clean_at - make_interval(secs => t.send_window_s))"
"""The last moment at which a flow may send the email of a generation; the first, where its template is gone."""
