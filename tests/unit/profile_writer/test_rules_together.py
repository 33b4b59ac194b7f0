"""The rules against a model: one profile, whatever order jobs, answers, deaths and clocks come in.

The model knows what is really on the profile, which the rules never see; it only tells them what a network tells.
"""

from datetime import timedelta
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from services.profile_writer.rows import Lane, NotSent, Stopped
from services.profile_writer.turns.late_rules import hidden, may_have_landed, uncovered
from services.profile_writer.turns.rules import Sent, clean_up, expire, over, put_off, take
from services.profile_writer.turns.unanswered import MAY_LAND_FOR
from shared.db.losses import Loss
from shared.errors import Failure, Permanent, Throttled
from shared.klaviyo.errors import KeyRefused, MaybeApplied, NoAnswer, Unreachable
from tests.unit.profile_writer.one_profile import DELAY_S, LEASE_S, MARGIN_S, ORG, START, Copy, Profile

NOT_APPLIED = st.sampled_from(
    [
        Throttled("429", wait_s=1),
        KeyRefused("401"),
        NotSent("late"),
        Unreachable("refused"),
        Permanent("400", reason="invalid"),
    ]
)


class OneProfile(Profile):
    # --- turns -------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.turn is None)
    @rule(result=st.one_of(st.none(), NOT_APPLIED, st.just(MaybeApplied("reset"))))
    def a_whole_turn(self, result: Failure | None) -> None:
        self.a_turn_begins()
        if self.turn is not None and result is None:
            self.it_is_applied()
        elif self.turn is not None and result is not None:
            self.it_fails(result)

    @precondition(lambda self: self.turn is None)
    @rule()
    def a_turn_has_no_tokens(self) -> None:
        self.housekeeping()

    @precondition(lambda self: self.turn is None)
    @rule(first=st.sampled_from(["A", "B"]), then=st.sampled_from(["A", "B"]))
    def a_write_is_not_sent_before_its_first_email(self, first: str, then: str) -> None:
        """What chance seldom puts in a row."""
        self.a_webhook_is_accepted("write", first, at_once=True)
        self.a_whole_turn(None)
        self.a_webhook_is_accepted("write", then, at_once=True, later=True)
        self.now += timedelta(seconds=DELAY_S[then])
        self.housekeeping()

    @precondition(lambda self: self.turn is None)
    @rule()
    def a_turn_begins(self) -> None:
        self.housekeeping()
        row = self.pending
        if row is None or row.next_attempt_at > self.now or over(row, self.now, MARGIN_S):
            return
        self.turn_ids += 1
        verdict = take(row, self.held, UUID(int=self.turn_ids), self.now + timedelta(seconds=LEASE_S))
        assert verdict.pending is not None
        self.turn, self.arrived = Sent(verdict.pending, self.held), False
        self.apply(verdict)
        if row.action == "write" and self.stops.cover(ORG, row.written_for):
            self.close(Stopped("the gate is shut"))

    @precondition(lambda self: self.turn is not None)
    @rule()
    def its_request_arrives(self) -> None:
        """Whatever lands before its answer is read, lands over it."""
        self.it_arrives()

    @precondition(lambda self: self.turn is not None)
    @rule()
    def it_is_applied(self) -> None:
        self.it_arrives()
        self.close(None)

    @precondition(lambda self: self.turn is not None and not self.arrived)
    @rule(failure=NOT_APPLIED)
    def it_fails(self, failure: Failure) -> None:
        assert self.turn is not None
        if failure.reason == "invalid" and self.turn.row.action != "write":
            self.klaviyo_refused_to_clear = True
        if failure.reason == "invalid" and self.turn.row.ref.generation_id in self.outcomes:
            self.klaviyo_refused_what_it_took = True
        self.close(failure)

    @precondition(lambda self: self.turn is not None)
    @rule(applied=st.booleans())
    def its_answer_is_lost(self, applied: bool) -> None:
        if applied:
            self.it_arrives()
        self.close(MaybeApplied("reset"))

    @precondition(lambda self: self.turn is not None and not self.arrived)
    @rule()
    def its_answer_does_not_come(self) -> None:
        """Klaviyo is at it still."""
        assert self.turn is not None
        self.unanswered.append((self.turn, self.now + MAY_LAND_FOR))
        self.close(NoAnswer("timeout"))

    @precondition(lambda self: self.unanswered)
    @rule(which=st.integers(0, 100))
    def what_was_given_up_is_applied(self, which: int) -> None:
        """Nobody is told."""
        late, until = self.unanswered.pop(which % len(self.unanswered))
        if self.now < until:
            self.really_apply(late)

    @precondition(lambda self: self.turn is None)
    @rule(
        first=st.sampled_from(["A", "B"]),
        taken_off=st.booleans(),
        then=st.sampled_from(["A", "B"]),
        action=st.sampled_from(["write", "clear"]),
    )
    def something_newer_is_done_while_klaviyo_is_at_it_still(
        self, first: str, taken_off: bool, then: str, action: str
    ) -> None:
        """What chance seldom puts in a row."""
        self.a_webhook_is_accepted("write", first, at_once=True)
        if taken_off:
            self.a_whole_turn(None)
            self.a_webhook_is_accepted("clear", first, at_once=True)
        self.a_turn_begins()
        if self.turn is not None:
            self.its_answer_does_not_come()
        self.a_webhook_is_accepted(action, then, at_once=True)
        self.a_whole_turn(None)

    @precondition(lambda self: self.turn is not None)
    @rule(applied=st.booleans())
    def the_worker_dies(self, applied: bool) -> None:
        """The lease keeps the row until nothing of it can be on its way."""
        if applied:
            self.it_arrives()
        self.turn = None
        self.now += timedelta(seconds=LEASE_S)
        self.landed()

    @precondition(lambda self: self.turn is not None and not self.arrived)
    @rule()
    def the_worker_is_frozen(self) -> None:
        """Before its request left; its lease ends without it."""
        assert self.turn is not None
        self.frozen.append(self.turn)
        self.turn = None
        self.now += timedelta(seconds=LEASE_S)
        self.landed()

    @precondition(lambda self: self.turn is None)
    @rule(
        first=st.sampled_from(["A", "B"]), then=st.sampled_from(["A", "B"]), action=st.sampled_from(["write", "clear"])
    )
    def a_worker_is_frozen_while_something_newer_is_done(self, first: str, then: str, action: str) -> None:
        """What chance seldom puts in a row."""
        self.a_webhook_is_accepted("write", first, at_once=True)
        self.a_turn_begins()
        if self.turn is not None:
            self.the_worker_is_frozen()
        self.a_webhook_is_accepted(action, then, at_once=True)
        self.a_whole_turn(None)

    @precondition(lambda self: self.turn is None)
    @rule(
        first=st.sampled_from(["A", "B"]), then=st.sampled_from(["A", "B"]), action=st.sampled_from(["write", "clear"])
    )
    def a_worker_goes_on_while_something_newer_is_in_flight(self, first: str, then: str, action: str) -> None:
        """The same."""
        self.a_webhook_is_accepted("write", first, at_once=True)
        self.a_turn_begins()
        if self.turn is None:
            return
        self.the_worker_is_frozen()
        self.a_webhook_is_accepted(action, then, at_once=True)
        self.a_turn_begins()
        if self.turn is not None:
            self.it_arrives()
            self.a_frozen_worker_goes_on(-1, answered=True)

    @precondition(lambda self: self.frozen)
    @rule(which=st.integers(0, 100), answered=st.booleans())
    def a_frozen_worker_goes_on(self, which: int, answered: bool) -> None:
        """Its request leaves now, and lands."""
        late = self.frozen.pop(which % len(self.frozen))
        self.really_apply(late)
        assert may_have_landed(None if answered else MaybeApplied("lease_over"))
        if hidden(late, self.pending, self.held):
            writes = [job for job in self.accepted if job.action == "write"]
            emails = {job.ref.generation_id: job.latest_at or job.deadline_at for job in writes}
            known = None if self.held is None else emails.get(self.held.ref.generation_id)
            self.apply(uncovered(late, self.pending, self.held, known, self.now))

    @precondition(lambda self: self.turn is not None)
    @rule()
    def the_profile_is_gone(self) -> None:
        self.really, self.gone = None, True
        self.close(Permanent("404", reason="profile_not_found"))

    # --- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def a_dirty_profile_is_never_forgotten(self) -> None:
        if self.really is not None and (self.really is not self.lost or self.delivered):
            assert self.held is not None
            assert self.held.dirty

    @invariant()
    def a_queued_clean_up_has_a_row(self) -> None:
        if self.held is not None and self.held.dirty and self.held.clean_queued:
            assert self.pending is not None

    @invariant()
    def an_older_copy_that_could_show_is_seen_to_first(self) -> None:
        """For every generation that was decided last for its message: an older copy for that message, or its own that
        was withdrawn, is on the profile only while a row of the first lane is about to replace or remove it."""
        if self.really is None or self.turn is not None or self.klaviyo_refused_to_clear:
            return
        if self.undecided():
            return
        newest = self.newest_for(self.really.written_for)
        if self.really.generation_id == newest.ref.generation_id and newest.action == "write":
            return
        assert self.pending is not None
        assert self.pending.lane == Lane.DIRTY or self.pending.taken_by is not None

    @invariant()
    def stopped_copy_is_taken_away_first(self) -> None:
        if self.really is None or self.turn is not None or not self.swept or self.klaviyo_refused_to_clear:
            return
        if self.really is self.lost:
            return  # whose it is, nobody knows
        if self.stops.cover(ORG, self.really.written_for):
            assert self.pending is not None
            assert self.pending.lane == Lane.DIRTY
            assert self.pending.action != "write"

    def teardown(self) -> None:
        """Now everything works: the newest decision is on the profile, and in the end nothing is."""
        for job in list(self.undelivered):
            self.undelivered.remove(job)
            self.delivered.append(job)
            self.deliver(job)
        self.turn = None
        self.now += timedelta(seconds=LEASE_S)
        self.landed()
        while self.unanswered:
            self.what_was_given_up_is_applied(0)
        self.run_until_idle()
        self.check_newest()
        self.check_written()
        assert {job.ref.generation_id for job in self.delivered} == set(self.outcomes)
        for _ in range(3):
            self.now += timedelta(days=2)
            self.run_until_idle()
        assert self.really is (None if self.delivered or self.gone else self.lost)
        assert self.held is None
        assert self.pending is None

    # --- the machinery -----------------------------------------------------------------------------------------------

    def undecided(self) -> bool:
        """Lost copy is there, and no email of its message is to come, as far as the rules have been told."""
        known = {job.written_for for job in self.delivered}
        return self.really is not None and self.really is self.lost and self.really.written_for not in known

    def check_newest(self) -> None:
        if self.really is None or self.undecided() or self.klaviyo_refused_to_clear:
            return
        newest = self.newest_for(self.really.written_for)
        if newest.deadline_at > self.now:
            assert self.really.generation_id == newest.ref.generation_id
            assert newest.action == "write"

    def check_written(self) -> None:
        """What was decided last of all, and told to be written, is there until its email has left."""
        newest = max(self.delivered, key=lambda job: job.accepted_at, default=None)
        if newest is None or newest.action != "write" or newest.deadline_at <= self.now or self.gone:
            return
        told = self.outcomes[newest.ref.generation_id].ending == "written"
        if told and not self.has_stopped and not self.klaviyo_refused_what_it_took:
            assert self.really is not None
            assert self.really.generation_id == newest.ref.generation_id

    def housekeeping(self) -> None:
        row = self.pending
        if (
            row is not None
            and over(row, self.now, MARGIN_S)
            and (row.taken_by is None or row.next_attempt_at <= self.now)
        ):
            later = put_off(row, self.held, self.now, MARGIN_S)
            self.apply(later or expire(row, self.held, self.now, "quota"))
        if self.held is not None and not self.held.clean_queued and self.held.clean_at <= self.now:
            self.apply(clean_up(self.held, self.pending, self.now))

    def run_until_idle(self) -> None:
        for _ in range(20):
            self.now += timedelta(milliseconds=1)
            self.a_turn_begins()
            if self.turn is not None:
                self.it_is_applied()
            elif self.pending is not None:
                self.now = max(self.now, self.pending.next_attempt_at)
            else:
                return
        raise AssertionError(f"it never comes to rest: {self.pending}, {self.held}")


OneProfile.TestCase.settings = settings(max_examples=400, stateful_step_count=25)
TestOneProfile = OneProfile.TestCase


class RestoredProfile(OneProfile):
    """The same, where copy is there of which the restored database knows nothing."""

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.loss = Loss(START - timedelta(hours=8), START)
        self.really = self.lost = Copy(UUID(int=1), "A", START - timedelta(minutes=1))


RestoredProfile.TestCase.settings = settings(max_examples=400, stateful_step_count=25)
TestRestoredProfile = RestoredProfile.TestCase
