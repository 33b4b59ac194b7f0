"""What follows when Klaviyo may apply a request after we have given it up. Pure.

A call is given up after ten seconds and its row tried again at once, because to wait would cost the email its copy.
Klaviyo may be at the first one still, and apply it over whatever was sent since; nobody tells us. So it is known with
what the profile holds until when that may happen, and what is answered before, and is something else, is sent once
more at that moment. The same again does no harm: in an outage alone nothing is sent that was not sent before.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from services.profile_writer.intake_rules import as_clean_up
from services.profile_writer.rows import Held, Lane, Pending, Unanswered, Verdict

MAY_LAND_FOR = timedelta(seconds=50)
"""Counted from when its end is told, so a minute or a little more after it left: what stands before servers commonly
gives a request up after that. Longer would send the second one later, and more of them."""


def brings(row: Pending) -> str:
    """What a request leaves on the profile: one generation's copy, or nothing."""
    return str(row.ref.generation_id) if row.action == "write" else "nothing"


def given_up(row: Pending, held: Held | None, now: datetime) -> Held | None:
    """What the profile holds, after no answer came to this row's request."""
    if held is None:
        return None
    what, until, before = brings(row), now + MAY_LAND_FOR, held.unanswered
    if before is None or before.until <= now:
        return replace(held, unanswered=Unanswered(until, what))
    return replace(held, unanswered=Unanswered(max(until, before.until), what if before.what == what else None))


def in_doubt_until(row: Pending, held: Held | None, now: datetime) -> datetime | None:
    """Until when something else may land over this row's request, which is answered. None: nothing can."""
    known = None if held is None else held.unanswered
    if known is None or known.until <= now or known.what == brings(row):
        return None
    return known.until


def remembered_until(clean: Held, now: datetime) -> Held:
    """A clean profile, known for as long as something may land on it."""
    known = clean.unanswered
    if known is None or known.until <= max(now, clean.clean_at):
        return clean
    return replace(clean, clean_at=known.until)


def once_more(row: Pending, held: Held | None, until: datetime, now: datetime, margin_s: float) -> Verdict:
    """What to do about a row that was applied, nobody holds it, and that something else may lie over `until` then.

    | its email | becomes |
    | is still to come at that moment | sent again then |
    | leaves before | sent again right before it, and seen to again |
    | leaves now | taken off at that moment; what was only taken off, once more |
    """
    last_try = row.deadline_at - timedelta(seconds=margin_s + 1)
    at = last_try if now < last_try < until else until
    again = replace(row, lane=Lane.DIRTY, next_attempt_at=at)
    held = None if held is None else replace(held, state="unknown")
    if row.action != "write" or at <= last_try or held is None:
        return Verdict(again, held)
    return Verdict(
        replace(as_clean_up(again, Lane.DIRTY, now), next_attempt_at=until), replace(held, clean_queued=True)
    )
