"""One profile of a story: what came to it, what the rules made of that, and what is really there, unseen by them."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from services.profile_writer.intake_rules import place
from services.profile_writer.rows import Held, Key, Outcome, Pending, Ref, Verdict, Wanted
from services.profile_writer.stops import Stops, sweep
from services.profile_writer.turns.rules import Sent, settle
from shared.db.losses import Loss
from shared.errors import Failure

START = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
KEY = Key("acct:A", "01GDDKASAP8TKDDA2GRZDSVP4H", "jai")
ORG = UUID(int=1)
MARGIN_S, LEASE_S, WINDOW_S = 2.0, 30.0, 120.0
DELAY_S = {"A": 60.0, "B": 600.0}
LATER_S = 300.0  # the flow's longest wait is so much longer


@dataclass(frozen=True)
class Copy:
    """What is really on the profile."""

    generation_id: UUID
    written_for: str
    accepted_at: datetime


class Profile(RuleBasedStateMachine):
    """Webhooks, deliveries and stops come by chance; turns are the test's."""

    @initialize()
    def begin(self) -> None:
        self.now, self.rng = START, Random(0)
        self.pending: Pending | None = None
        self.held: Held | None = None
        self.really: Copy | None = None
        self.gone = False  # then nothing is written there ever again
        self.turn: Sent | None = None
        self.arrived = False  # the request of the turn is applied, and not answered yet
        self.frozen: list[Sent] = []
        self.unanswered: list[tuple[Sent, datetime]] = []  # given up, and until when Klaviyo may apply it all the same
        self.turn_ids = 0
        self.accepted: list[Wanted] = []
        self.undelivered: list[Wanted] = []
        self.delivered: list[Wanted] = []
        self.outcomes: dict[UUID, Outcome] = {}
        self.klaviyo_refused_to_clear = False  # nothing can be done then but to try again a day later
        self.klaviyo_refused_what_it_took = False  # the same copy, sent once more; then it is taken off
        self.stops, self.has_stopped = Stops(), False  # now, and ever
        self.swept = True  # since the last stop, and no other template's write is to replace the copy since then
        self.landing = False  # the sweep has met something in flight, and looks again when that has landed
        self.loss: Loss | None = None
        self.lost: Copy | None = None  # copy of that span, of which the rules were not told

    # --- what happens outside ----------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 3, 20, 61, 200]))
    def time_passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(
        action=st.sampled_from(["write", "write", "clear"]),
        written_for=st.sampled_from(["A", "A", "B"]),
        at_once=st.sampled_from([True, True, False]),
        later=st.booleans(),
    )
    def a_webhook_is_accepted(self, action: str, written_for: str, at_once: bool, *, later: bool = False) -> None:
        self.now += timedelta(milliseconds=1)
        ref = Ref(self.now.date(), UUID(int=len(self.accepted) + 100), ORG)
        deadline_at = self.now + timedelta(seconds=DELAY_S[written_for])
        latest_at = deadline_at + timedelta(seconds=LATER_S) if later else None
        clean_at = (latest_at or deadline_at) + timedelta(seconds=WINDOW_S)
        wanted = Wanted(KEY, ref, action, written_for, self.now, deadline_at, clean_at, latest_at=latest_at)  # type: ignore[arg-type]  # a literal
        self.accepted.append(wanted)
        self.undelivered.append(wanted)
        if at_once:
            self.a_job_is_delivered(-1)

    @precondition(lambda self: self.accepted)
    @rule(which=st.integers(0, 100), withdrawn=st.booleans())
    def it_is_accepted_again(self, which: int, *, withdrawn: bool) -> None:
        """A webhook repeated with the same body: the same generation, for a later email. That one must not show copy
        that was withdrawn meanwhile; and may again, where it was approved again."""
        self.now += timedelta(milliseconds=1)
        first = self.accepted[which % len(self.accepted)]
        later = self.now - first.accepted_at
        again = replace(
            first, accepted_at=self.now, deadline_at=first.deadline_at + later, clean_at=first.clean_at + later,
            action="clear" if withdrawn else first.action, latest_at=first.latest_at and first.latest_at + later,
        )  # fmt: skip
        self.undelivered.append(again)

    @precondition(lambda self: self.undelivered)
    @rule(which=st.integers(0, 100))
    def a_job_is_delivered(self, which: int) -> None:
        job = self.undelivered.pop(which % len(self.undelivered))
        self.delivered.append(job)
        self.deliver(job)

    @precondition(lambda self: self.delivered)
    @rule(which=st.integers(0, 100))
    def a_job_is_delivered_again(self, which: int) -> None:
        self.deliver(self.delivered[which % len(self.delivered)])

    # --- stops -----------------------------------------------------------------------------------------------------

    @rule(template_id=st.sampled_from(["A", "B"]))
    def a_template_is_stopped(self, template_id: str) -> None:
        self.stops = Stops(templates=self.stops.templates | {(ORG, template_id)})
        self.swept, self.has_stopped = False, True

    @rule()
    def everything_is_resumed(self) -> None:
        self.stops = Stops()

    @rule()
    def the_sweep_comes(self) -> None:
        self.now += timedelta(milliseconds=1)
        self.swept, self.landing = True, self.turn is not None
        self.apply(sweep(self.stops, self.pending, self.held, self.now))

    # --- the machinery -----------------------------------------------------------------------------------------------

    def newest_for(self, message: str) -> Wanted:
        """What was decided last for this message, of all that the rules have been told."""
        return max((job for job in self.delivered if job.written_for == message), key=lambda job: job.accepted_at)

    def deliver(self, job: Wanted) -> None:
        first = next(known for known in self.accepted if known.ref.generation_id == job.ref.generation_id)
        if job.ref.generation_id in self.outcomes and job.deadline_at <= first.deadline_at:
            return
        stopped = self.stops.cover(ORG, job.written_for)
        job = replace(job, stopped=stopped)
        self.apply(place(job, self.pending, self.held, self.now, MARGIN_S, self.loss))

    def it_arrives(self) -> None:
        if not self.arrived:
            self.arrived = True
            self.really_apply()

    def really_apply(self, sent: Sent | None = None) -> None:
        sent = sent or self.turn
        assert sent is not None
        row = sent.row
        if self.gone:
            return
        written = Copy(row.ref.generation_id, row.written_for, row.accepted_at)
        self.really = written if row.action == "write" else None

    def close(self, result: Failure | None) -> None:
        assert self.turn is not None
        sent, self.turn = self.turn, None
        if self.pending is not None and self.pending.taken_by == sent.row.taken_by:
            verdict = settle(sent, result, self.pending, self.held, self.now, MARGIN_S, self.rng)
            self.apply(verdict, late=sent.row.put_off or self.now > sent.row.deadline_at)
        self.landed()

    def landed(self) -> None:
        if self.landing:
            self.landing = False
            self.apply(sweep(self.stops, self.pending, self.held, self.now))

    def apply(self, verdict: Verdict, *, late: bool | None = None) -> None:
        self.pending, self.held = verdict.pending, verdict.held
        self.swept = self.swept and (verdict.pending is None or verdict.pending.action != "write")
        for outcome in verdict.outcomes:
            if outcome.ending == "written":
                assert late is not None
                assert outcome.reason == ("answered_late" if late else None)
            self.outcomes.setdefault(outcome.ref.generation_id, outcome)
