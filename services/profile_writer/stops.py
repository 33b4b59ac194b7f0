"""What is stopped, and what that does to a write that waits and to copy that is on a profile. Pure.

A stop is thrown while writes wait, are in flight, and have landed. It wins over each of them: what waits ends, what
landed is taken away first of all, and what is in flight is followed by the clean-up that takes it away again.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from services.profile_writer.intake_rules import as_clean_up, leave, remembered
from services.profile_writer.rows import Held, Lane, Outcome, Pending, Verdict


class Stop(NamedTuple):
    """One template, or (None) all templates of one org, stopped since then."""

    org_id: UUID
    template_id: str | None
    stopped_at: datetime


@dataclass(frozen=True, slots=True)
class Stops:
    """Some stops, asked by the marker of a copy: it begins with the template's id, which holds no dot."""

    orgs: frozenset[UUID] = frozenset()
    templates: frozenset[tuple[UUID, str]] = frozenset()

    @classmethod
    def of(cls, stops: Collection[Stop]) -> "Stops":
        """These, however long they have stood."""
        return cls(
            frozenset(stop.org_id for stop in stops if stop.template_id is None),
            frozenset((stop.org_id, stop.template_id) for stop in stops if stop.template_id is not None),
        )

    def cover(self, org_id: UUID, written_for: str) -> bool:
        """Whether copy of this org for this flow message is stopped."""
        return org_id in self.orgs or (org_id, written_for.partition(".")[0]) in self.templates

    def taint(self, held: Held) -> bool:
        """Whether stopped copy may be on the profile, be it beneath an unconfirmed write."""
        return held.dirty and any(self.cover(held.ref.org_id, one) for one in (held.written_for, *held.older_for))


def end(row: Pending, held: Held | None, now: datetime) -> Verdict:
    """A write of something stopped, in flight or not.

    What is in flight cannot be called back: its row stays taken and is a clean-up from here on, which follows when the
    answer has come or the lease is over. Its end is written down now, so that no crash leaves it without one.
    """
    if row.taken_by is None:
        left = _leave_nothing(row, remembered(row, held), now)
        return replace(left, outcomes=(Outcome(row.ref, "stopped", None, row.attempt),))
    in_flight = row.sent is not None and row.sent.generation_id == row.ref.generation_id
    follows = replace(row, action="clean_up", lane=Lane.DIRTY, attempt=0)
    return Verdict(follows, held, (Outcome(row.ref, "stopped", "in_flight" if in_flight else None, row.attempt),))


def _leave_nothing(row: Pending, held: Held | None, now: datetime) -> Verdict:
    """As `leave`, but this generation's own copy must not stay either: an earlier try may have brought it there."""
    if held is not None and held.dirty and held.ref.generation_id == row.ref.generation_id:
        return Verdict(as_clean_up(row, Lane.DIRTY, now), replace(held, clean_queued=True))
    return leave(row, held, now)


def take_away(held: Held, pending: Pending | None, email_at: datetime, now: datetime) -> Verdict:
    """Stopped copy is, or may be, on the profile: have it taken off in the first lane.

    `email_at` is when its email may leave. The quota is finite, so the order says whom it helps: first those whose
    email leaves now. One that was due five seconds ago and is perhaps late is as urgent as one that is due in five.
    """
    if not held.dirty:
        return Verdict(pending, held)
    if pending is not None and pending.taken_by is not None:
        return Verdict(pending, held)  # what this key holds is known again when that has landed
    queued = replace(held, clean_queued=True)
    urgent = now + abs(email_at - now)
    if pending is None:
        row = Pending(
            held.key, held.ref, "clean_up", Lane.DIRTY, held.written_for,
            held.accepted_at, urgent, held.clean_at, next_attempt_at=now,
        )  # fmt: skip
        return Verdict(row, queued)
    if pending.action == "write":
        # Of something that is not stopped, so it takes the stopped copy's place, all six properties at once. Should it
        # fall back to another lane (a retry, a newer one in its place), the next sweep hurries it on again.
        return Verdict(replace(pending, lane=Lane.DIRTY), queued)
    return Verdict(replace(pending, lane=Lane.DIRTY, deadline_at=min(pending.deadline_at, urgent)), queued)


def sweep(
    stops: Stops, pending: Pending | None, held: Held | None, now: datetime, email_at: datetime | None = None
) -> Verdict:
    """One key, as the stops leave it. Repeating it changes nothing. `email_at` None: not known, so at once."""
    outcomes: tuple[Outcome, ...] = ()
    if pending is not None and pending.action == "write" and stops.cover(pending.ref.org_id, pending.written_for):
        ended = end(pending, held, now)
        pending, held, outcomes = ended.pending, ended.held, ended.outcomes
    if held is None or not stops.taint(held):
        return Verdict(pending, held, outcomes)
    return replace(take_away(held, pending, email_at or now, now), outcomes=outcomes)
