"""One turn of one account: claim it, pay, send, settle.

Claiming, paying and taking are one transaction; sending holds none; settling is one more. A turn that dies in between
leaves tokens spent and rows leased: both heal by themselves, and nothing is sent that was not paid for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

from services.profile_writer.book import Book
from services.profile_writer.rows import Key, Pending
from services.profile_writer.settings import Settings
from services.profile_writer.standing import Answers, Standing, after
from services.profile_writer.store import Store
from services.profile_writer.turn_rules import GIVE_UP_AFTER, Sent, clean_up, expire, over, settle, take
from services.profile_writer.turn_store import Agenda, Claim, Moments, TurnStore
from shared.clock import Clock
from shared.errors import Failure
from shared.klaviyo.limits import RateLimit

_ANSWER_GRACE_S = 2.0
"""A turn's answers usually come within this time of its last request; the account's next turn waits so long at most,
and is set free earlier when all have come."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What was taken, and what it may cost. `sends` in the order of sending."""

    turn_id: UUID
    account_key: str
    sends: Sequence[Sent]
    paid_at: datetime
    lease_until: datetime
    spacing_s: float
    in_flight_max: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Klaviyo refused an org's key: its writes wait for another one."""

    org_id: UUID
    reason: str
    message: str
    integration_at: datetime | None


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a turn's sends, in their order."""

    results: Sequence[Failure | None]
    limit: RateLimit | None
    refusals: Sequence[Refusal]


class Turns:
    """Opens and closes turns."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, rng: Random, new_id: Callable[[], UUID]) -> None:
        self._store, self._settings, self._clock, self._rng, self._new_id = store, settings, clock, rng, new_id

    async def open(self) -> Turn | None:
        """The next turn, perhaps with nothing to send; None when no account has anything to do now."""
        now = self._clock.now()
        async with self._store.free_desk() as desk:
            rows = TurnStore(desk.connection)
            claim = await rows.claim(now)
            if claim is None:
                return None
            claim = replace(claim, standing=replace(claim.standing, budget=claim.standing.budget.at(now)))
            agenda = await self._agenda(rows, claim, now)
            book = await desk.open_book({*agenda.over, *agenda.clean, *agenda.send})
            self._expire(book, agenda.over, claim, now)
            for key in agenda.clean:
                if (held := book.held(key)) is not None:
                    book.record(key, clean_up(held, book.pending(key), now))
            turn = self._take(book, agenda.send, claim.standing, now)
            await desk.save(book, now)
            standing = self._paid(claim.standing, turn, now)
            moments = await rows.moments(claim)
            await rows.save(replace(standing, runnable_at=self._runnable_at(standing, moments, now)))
        return turn

    async def close(self, turn: Turn, report: Report) -> None:
        """Record what was answered. Rows that another turn has taken over meanwhile are left to it."""
        now = self._clock.now()
        async with self._store.desk({turn.account_key}) as desk:
            rows = TurnStore(desk.connection)
            book = await desk.open_book({sent.row.key for sent in turn.sends})
            for sent, result in zip(turn.sends, report.results, strict=True):
                row, held = book.pending(sent.row.key), book.held(sent.row.key)
                if row is not None and row.taken_by == turn.turn_id:
                    margin_s = self._settings.writer_deadline_margin_s
                    book.record(sent.row.key, settle(sent, result, row, held, now, margin_s, self._rng))
            await desk.save(book, now)
            for refusal in report.refusals:
                await rows.pause(
                    refusal.org_id, turn.account_key, refusal.reason, refusal.message, now, refusal.integration_at
                )
            before = await rows.standing(turn.account_key)
            standing = replace(before, budget=before.budget.at(now))
            standing = after(standing, Answers(report.results, report.limit), turn.paid_at, now, self._rng)
            if standing.busy_by == turn.turn_id:
                standing = replace(standing, busy_until=None, busy_by=None)
            await rows.save(replace(standing, runnable_at=now))  # the next look works out when it is really due

    async def _agenda(self, rows: TurnStore, claim: Claim, now: datetime) -> Agenda:
        standing = claim.standing
        shut = standing.closed_until(now) > now or not claim.open
        most = self._settings.writer_turn_writes
        return await rows.agenda(
            claim,
            now,
            over_before=now + timedelta(seconds=self._settings.writer_deadline_margin_s),
            given_up_before=now - GIVE_UP_AFTER,
            tokens=0 if shut else min(most, standing.budget.room()),
            clean_up_tokens=0 if shut else min(most, standing.budget.room(self._settings.writer_clean_up_share)),
        )

    def _expire(self, book: Book, keys: Sequence[Key], claim: Claim, now: datetime) -> None:
        for key in keys:
            row = book.pending(key)
            if row is not None and over(row, now, self._settings.writer_deadline_margin_s):
                book.record(key, expire(row, book.held(key), now, _why_late(row, claim)))

    def _take(self, book: Book, keys: Sequence[Key], standing: Standing, now: datetime) -> Turn:
        turn_id, lease_until = self._new_id(), now + timedelta(seconds=self._settings.writer_lease_s)
        sends: list[Sent] = []
        for key in keys:
            row, before = book.pending(key), book.held(key)
            if row is None or over(row, now, self._settings.writer_deadline_margin_s):
                continue
            verdict = take(row, before, turn_id, lease_until)
            book.record(key, verdict)
            if verdict.pending is not None:
                sends.append(Sent(verdict.pending, before))
        budget = standing.budget
        return Turn(turn_id, standing.account_key, sends, now, lease_until, budget.spacing_s, budget.in_flight_max)

    @staticmethod
    def _paid(standing: Standing, turn: Turn, now: datetime) -> Standing:
        count = len(turn.sends)
        if not count:
            return standing
        busy = timedelta(seconds=turn.spacing_s * count + _ANSWER_GRACE_S)
        return replace(
            standing, budget=standing.budget.paid(count), busy_until=now + busy, busy_by=turn.turn_id,
            last_served_at=now,
        )  # fmt: skip

    def _runnable_at(self, standing: Standing, moments: Moments, now: datetime) -> datetime | None:
        """When this account is next worth a look. May be early, never late."""
        open_at = standing.closed_until(now)
        margin = timedelta(seconds=self._settings.writer_deadline_margin_s)
        share = self._settings.writer_clean_up_share
        due = [
            _latest(moments.write_at, open_at, now + timedelta(seconds=standing.budget.wait_s(now))),
            _latest(moments.clean_up_at, open_at, now + timedelta(seconds=standing.budget.wait_s(now, share))),
            moments.deadline_at and moments.deadline_at - margin,
            moments.clear_wanted_at and moments.clear_wanted_at + GIVE_UP_AFTER,
            moments.clean_at,
        ]
        return min((moment for moment in due if moment is not None), default=None)


def _latest(moment: datetime | None, *others: datetime) -> datetime | None:
    return None if moment is None else max(moment, *others)


def _why_late(row: Pending, claim: Claim) -> str:
    """The reason of an expired write, for people: what it was waiting for."""
    if row.ref.org_id in claim.paused:
        return "key_refused"
    if row.last_reason is not None:
        return row.last_reason
    return claim.standing.blocked_reason or "quota"
