"""The budget against a model of Klaviyo's fixed minute: hidden phase, latencies, both roundings, other apps."""

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.profile_writer.quota.budget import Budget
from services.profile_writer.quota.phase import MINUTE_S, phase_seen

START = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
TURN_WRITES = 25
SENT_WITHIN_S = 1.5  # what a turn leaves of the slack, for the way


def moment(elapsed_s: float) -> datetime:
    return START + timedelta(seconds=elapsed_s)


@dataclass
class Klaviyo:
    """Counts requests in the fixed windows of one account and tells what its headers would."""

    phase_s: float
    limit: int = 750
    rounds_up: bool = True
    minutes: Counter[int] = field(default_factory=Counter)
    refused: int = 0

    def window(self, at_s: float) -> int:
        return math.floor((START.timestamp() + at_s - self.phase_s) / MINUTE_S)

    def reset_s(self, at_s: float) -> int:
        left_s = (self.window(at_s) + 1) * MINUTE_S + self.phase_s - START.timestamp() - at_s
        return math.ceil(left_s) if self.rounds_up else math.floor(left_s)

    def take(self, at_s: float) -> bool:
        if self.minutes[self.window(at_s)] >= self.limit:
            self.refused += 1
            return False
        self.minutes[self.window(at_s)] += 1
        return True

    def remaining(self, at_s: float) -> int:
        return self.limit - self.minutes[self.window(at_s)]


@dataclass
class Account:
    """One account's turns, one after another, as the scheduler plays them; time is seconds since the start."""

    klaviyo: Klaviyo
    chance: Random
    latency_s: float
    budget: Budget = field(default_factory=lambda: Budget(75, 700, 1.0))
    now_s: float = 0.0
    sent: int = 0
    throttled: int = 0

    def turn(self, wanted: int) -> None:
        """Pay, send, settle. What is refused ends the turn; what was not sent is given back."""
        now = moment(self.now_s)
        self.budget = self.budget.at(now)
        paid = min(wanted, TURN_WRITES, self.budget.room(now))
        if paid == 0:
            self.now_s += max(0.05, self.budget.wait_s(now))
            return
        paid_second = int(now.timestamp())
        self.budget = self.budget.paid(paid)
        unsent, answered_s, told = 0, self.now_s, None
        for number in range(paid):
            sent_s = self.now_s + number * self.budget.spacing_s
            arrives_s = sent_s + self.latency_s * self.chance.random()
            if sent_s > self.now_s + SENT_WITHIN_S or self.throttled_now(arrives_s):
                unsent = paid - number
                break
            self.sent += 1
            answered_s = max(answered_s, arrives_s + self.latency_s * self.chance.random())
            seen = phase_seen(self.klaviyo.reset_s(arrives_s), moment(sent_s), moment(answered_s))
            phase = self.budget.phase
            self.budget = replace(self.budget, phase=seen if phase is None else phase.narrowed(seen))
            told = self.klaviyo.remaining(arrives_s)
        self.now_s = answered_s + 0.02
        self.budget = self.budget.at(moment(self.now_s)).refunded(paid_second, unsent)
        if told is not None:
            self.budget = self.budget.told(self.klaviyo.limit, told, now, moment(self.now_s))

    def throttled_now(self, arrives_s: float) -> bool:
        if self.klaviyo.take(arrives_s):
            return False
        self.throttled += 1
        return True


@settings(max_examples=60)
@given(
    phase_s=st.floats(0, 59.9),
    rounds_up=st.booleans(),
    latency_s=st.floats(0.001, 0.4),
    limit=st.sampled_from([700, 750, 150]),
    pauses=st.lists(st.tuples(st.floats(0, 40), st.integers(0, 900)), max_size=12),
    seed=st.integers(0, 2**32),
)
def test_alone_nothing_is_ever_refused(
    phase_s: float, rounds_up: bool, latency_s: float, limit: int, pauses: list[tuple[float, int]], seed: int
) -> None:
    account = Account(Klaviyo(phase_s, limit, rounds_up), Random(seed), latency_s, Budget(75, min(limit, 700), 1.0))

    for pause_s, wanted in pauses:
        account.now_s += pause_s
        before, until_s = account.sent, account.now_s + 200
        while account.sent < before + wanted and account.now_s < until_s:
            account.turn(before + wanted - account.sent)

    assert account.throttled == 0


@settings(max_examples=25)
@example(phase_s=10.75, rounds_up=False, latency_s=0.265625, seed=729)  # a turn across the edge: no other app's doing
@given(phase_s=st.floats(0, 59.9), rounds_up=st.booleans(), latency_s=st.floats(0.001, 0.3), seed=st.integers(0, 2**32))
def test_a_saturated_calm_account_uses_the_whole_limit_of_each_minute(
    phase_s: float, rounds_up: bool, latency_s: float, seed: int
) -> None:
    account = Account(Klaviyo(phase_s, 750, rounds_up), Random(seed), latency_s)

    while account.now_s < 300:
        account.turn(TURN_WRITES)

    # What leaves before the phase is known, or near the edge, counts for the minute it is in and the next.
    first, second, *full, _ = (account.klaviyo.minutes[index] for index in sorted(account.klaviyo.minutes))
    assert account.throttled == 0
    assert first + second >= 750
    assert min(full) == 750


@pytest.mark.parametrize("burst", [1, 20], ids=["one-by-one", "bursts"])
@pytest.mark.parametrize("seed", range(4))
def test_beside_another_app_that_takes_a_third_hardly_anything_is_refused(burst: int, seed: int) -> None:
    """Arrivals at random, 3.75 a second on average, one at a time or twenty at once."""
    chance = Random(seed)
    klaviyo = Klaviyo(chance.uniform(0, 60))
    account = Account(klaviyo, chance, 0.1)
    theirs: list[float] = []
    at_s = 0.0
    while at_s < 700:
        at_s += chance.expovariate(3.75 / burst)
        theirs += [at_s] * burst

    refused_theirs = 0
    while account.now_s < 600:
        while theirs and theirs[0] <= account.now_s:
            refused_theirs += not klaviyo.take(theirs.pop(0))
        account.turn(TURN_WRITES)

    assert account.throttled <= 0.005 * account.sent
    assert account.sent >= 0.9 * 525 * 10
    assert refused_theirs <= 0.25 * 225 * 10


def test_an_app_that_spent_much_early_in_one_minute_and_then_stopped_does_not_silence_the_account() -> None:
    """All its calls within five seconds look like a rate that fills every minute to come."""
    klaviyo = Klaviyo(phase_s=50)
    seen = phase_seen(50, START, START)
    budget = replace(Budget(75, 750, 1.0), phase=seen).at(START).paid(25).told(750, 725, moment(1), moment(1))
    budget = budget.at(moment(5)).paid(25).told(750, 750 - 50 - 300, moment(5), moment(5))
    sent, now_s = 0, 65.0

    while now_s < 65 + 4 * MINUTE_S:
        budget = budget.at(moment(now_s))
        if paid := min(TURN_WRITES, budget.room(moment(now_s))):
            sent += sum(klaviyo.take(now_s) for _ in range(paid))
            budget = budget.paid(paid).told(750, klaviyo.remaining(now_s), moment(now_s), moment(now_s))
        now_s += max(0.5, budget.wait_s(moment(now_s)))

    assert klaviyo.refused == 0
    assert sent >= 2 * 750


def test_it_allows_the_limit_then_denies_and_after_the_edge_is_full_again() -> None:
    budget = replace(Budget(75, 750, 1.0), phase=phase_seen(30, START, START)).at(START)

    spent = budget.paid(budget.room(START))

    assert budget.room(START) == 750
    assert spent.room(START) == spent.at(moment(28)).room(moment(28)) == 0
    assert spent.at(moment(32)).room(moment(32)) == 750
    assert 31 <= spent.wait_s(START) <= 32


def test_a_limit_that_changes_is_followed_at_once() -> None:
    budget = Budget(75, 700, 1.0).at(START).paid(25)

    assert budget.told(350, 325, START, START).room(START) == math.floor(350 * 0.9) - 25
    assert budget.told(750, 725, START, START).ceiling == 750


def test_what_a_dead_worker_paid_for_counts_until_its_minute_is_over() -> None:
    seen = phase_seen(30, START, START)
    budget = replace(Budget(75, 750, 1.0), phase=seen).at(START).paid(25)

    assert budget.at(moment(10)).room(moment(10)) == 725
    assert budget.at(moment(35)).room(moment(35)) == 750


def test_contradicting_answers_mean_a_clock_that_jumped_and_the_newer_counts() -> None:
    first = phase_seen(30, START, moment(0.1))
    agreed = first.narrowed(phase_seen(29, moment(1.5), moment(1.6)))
    jumped = agreed.narrowed(phase_seen(10, moment(3), moment(3.1)))

    assert agreed.width_s < first.width_s
    assert jumped == phase_seen(10, moment(3), moment(3.1))
    assert agreed.known(moment(60))
    assert not agreed.known(moment(3600))
