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
from services.profile_writer.quota.budget import SLACK_S
from services.profile_writer.quota.phase import Phase
from services.profile_writer.quota.standing import Answers, Standing, after
from services.profile_writer.rows import Key, Pending, Road
from services.profile_writer.settings import Settings
from services.profile_writer.store import Desk, Store
from services.profile_writer.turns.agenda_store import AT_ONCE, Agenda, AgendaStore, Moments
from services.profile_writer.turns.late import uncover
from services.profile_writer.turns.late_rules import hidden, may_have_landed
from services.profile_writer.turns.road_store import RoadStore
from services.profile_writer.turns.roads import Heard, Means, Part, SecondRoad, by_import, by_patch, means, share_out
from services.profile_writer.turns.rules import (
    GIVE_UP_AFTER,
    Sent,
    accepted_keys,
    clean_up,
    expire,
    one_of_each,
    over,
    put_off,
    settle,
    take,
)
from services.profile_writer.turns.store import Claim, TurnStore
from shared import logs, metrics
from shared.clock import Clock
from shared.db.pool import Connection
from shared.errors import Failure, Transient
from shared.klaviyo.limits import RateLimit

log = logs.get(__name__)

_SENDING_GRACE_S = 1.0
"""What a turn may lag behind its spacing. What it has not sent by then it gives back: the account is free for the next
turn then, and two turns must not add up. It is free earlier when all answers have come."""

_ON_THE_WAY_S = 0.5
"""What a request may take to arrive, so that it arrives within the slack of its token."""

_LEASE_MARGIN_S = 1.0
"""Time to settle before the lease ends."""

_LOOK_AGAIN_S = 0.25
"""A turn that found nothing to do is not followed by another one at once, whatever it was looked at for."""

_EXPIRE_EVERY_S = 0.5
"""Deadlines pass one by one; they are dealt with together."""

_SPOILT = timedelta(minutes=1)
"""How long an account is left alone whose rows nobody can make a turn of."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What was taken, and what it may cost. `sends` in the order of sending."""

    turn_id: UUID
    account_key: str
    sends: Sequence[Sent]
    paid_at: datetime
    send_until: datetime  # no request leaves later
    answers_until: datetime  # no answer is waited for longer
    spacing_s: float
    in_flight_max: int
    second: Part | None = None  # of what goes by the second road
    asked: frozenset[UUID] = frozenset()  # orgs whose refused key one of the sends tries again


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
    last_sent_at: datetime | None
    phase: Phase | None = None
    second: Heard | None = None


class Turns:
    """Opens and closes turns."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, rng: Random, new_id: Callable[[], UUID]) -> None:
        self._store, self._settings, self._clock, self._rng, self._new_id = store, settings, clock, rng, new_id

    async def open(self) -> Turn | datetime | None:
        """The next turn, perhaps with nothing to send. When no account has anything to do now: when one will, or None
        when nothing waits at all."""
        now = self._clock.now()
        account_key: str | None = None
        try:
            async with self._store.free_desk() as desk:
                rows = TurnStore(desk.connection)
                claim = await rows.claim(now)
                if claim is None:
                    return await rows.next_look()
                account_key = claim.standing.account_key
                claim = replace(claim, standing=replace(claim.standing, budget=claim.standing.budget.at(now)))
                return await self._begin(desk, rows, claim, now)
        except Transient:  # of the database
            raise
        except Exception as error:
            if account_key is None:
                raise
            # It was the least recently served one, and would be claimed again for ever, before all others.
            log.error("turn.not_opened", account_key=account_key, exc_info=error)
            async with self._store.desk({account_key}) as desk:
                await TurnStore(desk.connection).put_off(account_key, now, now + _SPOILT)
            return now

    async def _begin(self, desk: Desk, rows: TurnStore, claim: Claim, now: datetime) -> Turn:
        """The turn of an account that this transaction has claimed."""
        second = await self._second_road(desk.connection, claim, now)
        payable = self._means(claim, second, now)
        agendas = AgendaStore(desk.connection)
        agenda = await self._agenda(agendas, claim, payable, now)
        book = await desk.open_book({*agenda.over, *agenda.clean, *agenda.send})
        self._expire(book, agenda.over, claim, now)
        for key in agenda.clean:
            if (held := book.held(key)) is not None:
                book.record(key, clean_up(held, book.pending(key), now))
        turn = self._take(book, agenda.send, claim, second, payable, now)
        await desk.save(book, now)
        if turn.asked:
            await rows.asking(turn.asked, now)
        standing = self._paid(claim.standing, turn, now)
        if second is not None and turn.second is not None:
            second = second.paid(_count(turn, "import"), looks=turn.second.looks, now=now)
            await RoadStore(desk.connection).save(second)
        moments = await agendas.moments(claim)
        agenda = replace(agenda, send=tuple(sent.row.key for sent in turn.sends))
        runnable_at = self._runnable_at(claim, standing, second, agenda, moments, now)
        await rows.save(replace(standing, runnable_at=runnable_at))
        return turn

    async def close(self, turn: Turn, report: Report) -> None:
        """Record what was answered. Rows that another turn has taken over meanwhile are left to it, but for what landed
        late and may lie over something newer."""
        now = self._clock.now()
        async with self._store.desk({turn.account_key}) as desk:
            rows = TurnStore(desk.connection)
            book = await desk.open_book({sent.row.key for sent in turn.sends})
            late = self._settle(book, turn, report, now)
            await uncover(desk, book, late, now)
            if late:
                log.warning("turn.landed_late", account_key=turn.account_key, writes=len(late))
            await desk.save(book, now)
            if accepted := turn.asked & accepted_keys(turn.sends, report.results):
                await rows.accepted(accepted)
                log.info("klaviyo.key_accepted", account_key=turn.account_key, orgs=len(accepted))
            for refusal in report.refusals:
                await rows.pause(
                    refusal.org_id, turn.account_key, refusal.reason, refusal.message, now, refusal.integration_at
                )
            before = await rows.standing(turn.account_key)
            standing = replace(before, budget=before.budget.at(now))
            answers = Answers(by_patch(turn.sends, report.results, turn.second), report.limit, report.phase)
            standing = after(standing, answers, turn.paid_at, now, self._rng)
            _tell(before, standing)
            if turn.second is not None:
                await self._close_second(RoadStore(desk.connection), turn, turn.second, report, standing, now)
            if standing.busy_by == turn.turn_id:
                standing = replace(standing, busy_until=_next_slot(turn, report), busy_by=None)
            await rows.save(replace(standing, runnable_at=now))  # the next look works out when it is really due

    def _settle(self, book: Book, turn: Turn, report: Report, now: datetime) -> list[Sent]:
        """What follows from each answer; returns what may have landed after the turn had lost its row."""
        late: list[Sent] = []
        for sent, result in zip(turn.sends, report.results, strict=True):
            row, held = book.pending(sent.row.key), book.held(sent.row.key)
            if row is not None and row.taken_by == turn.turn_id:
                margin_s = self._settings.writer_deadline_margin_s
                book.record(sent.row.key, settle(sent, result, row, held, now, margin_s, self._rng))
            elif may_have_landed(result) and hidden(sent, row, held):
                late.append(sent)
        return late

    async def _close_second(
        self, roads: RoadStore, turn: Turn, part: Part, report: Report, first: Standing, now: datetime
    ) -> None:
        before = (await roads.read(turn.account_key)).at(first, now)
        results = by_import(turn.sends, report.results)
        road = before.after(results, part, report.second, first, turn.paid_at, now, self._rng)
        await roads.save(road)
        _tell(before.standing, road.standing, "import")
        if road.proof.verdict != before.proof.verdict:
            log.info("second_road.judged", account_key=turn.account_key, verdict=road.proof.verdict)

    async def _second_road(self, connection: Connection, claim: Claim, now: datetime) -> SecondRoad | None:
        if not self._settings.writer_import_road:
            return None
        return (await RoadStore(connection).read(claim.standing.account_key)).at(claim.standing, now)

    def _means(self, claim: Claim, second: SecondRoad | None, now: datetime) -> Means:
        settings = self._settings
        if not claim.open:
            return Means(0, 0, 0)
        return means(claim.standing, second, settings.writer_turn_writes, settings.writer_clean_up_share, now)

    async def _agenda(self, agendas: AgendaStore, claim: Claim, payable: Means, now: datetime) -> Agenda:
        return await agendas.agenda(
            claim,
            now,
            margin_s=self._settings.writer_deadline_margin_s,
            given_up_before=now - GIVE_UP_AFTER,
            tokens=payable.patch + payable.imports,
            clean_up_tokens=payable.clean_up,
            chance=self._rng.random(),
        )

    def _expire(self, book: Book, keys: Sequence[Key], claim: Claim, now: datetime) -> None:
        for key in keys:
            row = book.pending(key)
            margin_s = self._settings.writer_deadline_margin_s
            if row is not None and over(row, now, margin_s):
                later = put_off(row, book.held(key), now, margin_s)
                book.record(key, later or expire(row, book.held(key), now, _why_late(row, claim, now)))

    def _take(
        self, book: Book, keys: Sequence[Key], claim: Claim, second: SecondRoad | None, payable: Means, now: datetime
    ) -> Turn:  # fmt: skip
        turn_id, lease_s, standing = self._new_id(), self._settings.writer_lease_s, claim.standing
        sends: list[Sent] = []
        waiting = [row for key in keys if (row := book.pending(key)) is not None]
        sendable = [row for row in waiting if not over(row, now, self._settings.writer_deadline_margin_s)]
        due = one_of_each(sendable, claim.asked)
        roads, part = share_out([row.action for row in due], payable, standing, second, now)
        for row, road in zip(due, roads, strict=True):
            if road is None:
                continue
            before = book.held(row.key)
            verdict = take(row, before, turn_id, now + timedelta(seconds=lease_s))
            book.record(row.key, verdict)
            if verdict.pending is not None:
                sends.append(Sent(verdict.pending, before, road))
        budget = standing.budget
        answers_s = max(0.0, lease_s - _LEASE_MARGIN_S)
        spaced_s = budget.spacing_s * len(sends)
        if part is not None and not part.looks:
            imports = sum(sent.road == "import" for sent in sends)
            spaced_s = max(budget.spacing_s * (len(sends) - imports), part.spacing_s * imports)
        sending_s = min(spaced_s + _SENDING_GRACE_S, SLACK_S - _ON_THE_WAY_S, answers_s)
        return Turn(
            turn_id=turn_id,
            account_key=standing.account_key,
            sends=sends,
            paid_at=now,
            send_until=now + timedelta(seconds=sending_s),
            answers_until=now + timedelta(seconds=answers_s),
            spacing_s=budget.spacing_s,
            in_flight_max=budget.in_flight_max,
            second=part,
            asked=frozenset(sent.row.ref.org_id for sent in sends).intersection(claim.asked),
        )

    @staticmethod
    def _paid(standing: Standing, turn: Turn, now: datetime) -> Standing:
        served = replace(standing, last_served_at=now)
        if not turn.sends:
            return served
        both = turn.second is not None and turn.second.looks
        budget = standing.budget.paid(len(turn.sends) if both else _count(turn, "patch"))
        return replace(served, budget=budget, busy_until=turn.send_until, busy_by=turn.turn_id)

    def _runnable_at(
        self, claim: Claim, standing: Standing, second: SecondRoad | None, agenda: Agenda, moments: Moments,
        now: datetime,
    ) -> datetime | None:  # fmt: skip
        """When this account is next worth a look. May be early, never late."""
        settings = self._settings
        due: list[datetime | None] = [claim.ask_at]
        if claim.open:
            open_at = standing.closed_until(now)
            room_at = now + timedelta(seconds=standing.budget.wait_s(now))
            clean_up_room_at = now + timedelta(seconds=standing.budget.wait_s(now, settings.writer_clean_up_share))
            ready_at = max(open_at, room_at)
            if second is not None and (second_at := second.ready_at(standing, now)) is not None:
                ready_at = min(ready_at, second_at)
            due += [
                _latest(moments.write_at, ready_at),
                _latest(moments.clean_up_at, open_at, clean_up_room_at),
            ]
        over_at = [
            moments.deadline_at and moments.deadline_at - timedelta(seconds=settings.writer_deadline_margin_s),
            moments.clear_wanted_at and moments.clear_wanted_at + GIVE_UP_AFTER,
            moments.clean_at,
        ]
        more = max(len(agenda.over), len(agenda.clean)) >= AT_ONCE
        pause = timedelta(seconds=0 if more else _EXPIRE_EVERY_S)
        due += [_latest(moment, now + pause) for moment in over_at]
        first = min((moment for moment in due if moment is not None), default=None)
        idle = not (agenda.over or agenda.clean or agenda.send)
        return _latest(first, now + timedelta(seconds=_LOOK_AGAIN_S)) if idle else first


def _tell(before: Standing, standing: Standing, road: Road = "patch") -> None:
    """When the breaker opens; a probe that fails leaves it open. The counter is of accounts: while the second road
    alone rests, PATCH carries on."""
    if standing.breaker.writes == 1 and before.breaker.writes != 1:
        reason, until = standing.blocked_reason or "unknown", standing.blocked_until
        if road == "patch":
            metrics.count("klaviyo_breaker_opened_total", reason=reason)
        log.warning("klaviyo.left_alone", account_key=standing.account_key, road=road, reason=reason, until=until)


def _next_slot(turn: Turn, report: Report) -> datetime | None:
    """The next turn's first request keeps the distance to this one's last."""
    spacing_s = max(turn.spacing_s, turn.second.spacing_s if turn.second else 0.0)
    return report.last_sent_at and report.last_sent_at + timedelta(seconds=spacing_s)


def _count(turn: Turn, road: Road) -> int:
    return sum(sent.road == road for sent in turn.sends)


def _latest(moment: datetime | None, *others: datetime) -> datetime | None:
    return None if moment is None else max(moment, *others)


def _why_late(row: Pending, claim: Claim, now: datetime) -> str:
    """The reason of an expired write, one of three: `key_refused`; `outage`, when it was tried and Klaviyo did not
    answer, or nobody served its account; else `quota`: it was served, but could not carry this one in time."""
    standing = claim.standing
    if row.ref.org_id in (*claim.paused, *claim.asked):
        return "key_refused"
    if row.attempt > 0:
        return "outage"
    if standing.blocked_until is not None and standing.blocked_until > now:
        return "outage" if standing.breaker.failures else "quota"
    return "quota" if standing.budget.scarce(now) else "outage"
