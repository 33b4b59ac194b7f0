"""An account whose calls fail is left alone, asked by one write, and trusted again with growing turns."""

from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.profile_writer.quota.breaker import Breaker
from tests.unit.profile_writer.given import NOW, seconds

TURN = 25
TURNS = st.lists(st.tuples(st.floats(0, 12), st.integers(0, TURN), st.integers(0, TURN)), max_size=40)


@dataclass
class Klaviyo:
    """An account that is given turns as long as it has work, and fails a share of its calls."""

    chance: Random
    breaker: Breaker = field(default_factory=Breaker)
    now_s: float = 0.0
    calls: int = 0
    failures: int = 0

    def play(self, failing: float, *, until_s: float) -> None:
        while self.now_s < until_s:
            writes = self.breaker.most(TURN)
            failed = sum(self.chance.random() < failing for _ in range(writes))
            self.calls, self.failures = self.calls + writes, self.failures + failed
            self.now_s += 0.5
            self.breaker, rest_s = self.breaker.after(writes - failed, failed, NOW + seconds(self.now_s), self.chance)
            self.now_s += rest_s


@given(TURNS, st.integers(0, 2**32))
def test_it_opens_exactly_when_half_of_at_least_twenty_calls_failed(
    turns: list[tuple[float, int, int]], seed: int
) -> None:
    """Against a list of all calls since it was last closed, counted in the same steps of 5 s."""
    breaker, chance, at_s = Breaker(), Random(seed), 0.0
    calls: list[tuple[int, int, int]] = []
    for pause_s, useful, failed in turns:
        at_s += pause_s
        now, before = NOW + seconds(at_s), breaker
        step = int(now.timestamp() // 5)
        breaker, rest_s = breaker.after(useful, failed, now, chance)
        calls.append((step, useful, failed))
        recent = [(well, badly) for when, well, badly in calls if when > step - 6]
        all_failed, all_calls = sum(badly for _, badly in recent), sum(well + badly for well, badly in recent)
        if before.writes is None and useful > 0:
            tripped = all_calls >= 20 and all_failed * 2 >= all_calls
            assert (breaker.writes, rest_s >= 30) == ((1, True) if tripped else (None, False))
        if before.writes is not None and useful > 0:
            assert (rest_s >= 30) == (failed * 2 >= useful + failed)
        if useful == 0 and failed > 0:
            assert 0 < rest_s <= 33
            assert rest_s >= 30 or before.failures < 6
            assert breaker.failures == before.failures + 1
        if breaker == Breaker():
            calls.clear()


@pytest.mark.parametrize("failing", [0.55, 0.6, 0.8, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_an_account_that_fails_more_than_half_is_hardly_asked_and_soon_whole_again(failing: float, seed: int) -> None:
    account = Klaviyo(Random(seed))

    account.play(failing, until_s=600)
    asked, failed = account.calls, account.failures
    healed_s = account.now_s
    account.play(0.0, until_s=healed_s + 5)

    assert asked <= 300  # at its pace before, it would have been 30,000
    assert failed <= 200
    assert account.breaker == Breaker() or account.breaker.writes is None
    assert account.calls >= asked + 31 + 4 * TURN  # 1, 2, 4, 8 and 16, then whole turns


@pytest.mark.parametrize("seed", range(20))
def test_an_account_that_answers_nothing_is_asked_within_half_a_minute_and_then_once_in_each(seed: int) -> None:
    account, asked_s = Klaviyo(Random(seed)), list[float]()

    while account.now_s < 300:
        asked_s.append(account.now_s)
        account.play(1.0, until_s=account.now_s + 0.1)

    first, settled = asked_s[:7], asked_s[6:]
    assert first[-1] < 35  # who was away for moments is soon known to be back
    assert min(later - earlier for earlier, later in pairwise(settled)) >= 30
    assert account.calls == TURN + len(asked_s) - 1


@pytest.mark.parametrize("seed", range(5))
def test_an_account_that_fails_a_third_is_not_left_alone(seed: int) -> None:
    account = Klaviyo(Random(seed))

    account.play(0.3, until_s=60)

    assert account.calls >= 110 * TURN
    assert account.breaker.writes is None


def test_after_a_silence_of_moments_one_write_asks_and_few_turns_are_small() -> None:
    breaker, rest_s = Breaker().after(0, TURN, NOW, Random(1))
    sizes = []
    while breaker.writes is not None:
        sizes.append(breaker.most(TURN))
        breaker, more_s = breaker.after(sizes[-1], 0, NOW + seconds(1), Random(1))
        assert more_s == 0

    assert rest_s <= 0.5
    assert sizes == [1, 2, 4, 8, 16]
    assert breaker == Breaker()


def test_a_clock_that_goes_back_forgets_nothing_and_one_gone_wrong_heals() -> None:
    breaker, _ = Breaker().after(11, 9, NOW, Random(1))
    back, _ = breaker.after(0, 3, NOW - seconds(300), Random(1))
    wrong, _ = breaker.after(11, 9, NOW + seconds(10**6), Random(1))
    healed, _ = wrong.after(5, 1, NOW, Random(1))

    assert back.writes == 1
    assert (healed.calls, healed.failed) == ((6,), (1,))
