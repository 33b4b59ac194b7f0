"""What other policies than the logged one would have been worth."""

import random
from collections.abc import Sequence
from uuid import UUID

import pytest

from shared.inference import policy
from shared.inference.sequence import NotEnough
from shared.inference.variants import Draws
from tests.unit.inference.given import A, B, C, draws


def drawn(rng: random.Random, sends: int, shares: Sequence[float], rates: dict[str, Sequence[float]]) -> list[Draws]:
    """So many sends in each cell."""
    found = []
    for cell, of_cell in rates.items():
        for _ in range(sends):
            at = rng.choices(range(len(shares)), shares)[0]
            found.append(
                draws((A, B, C)[at], 1, rng.random() < of_cell[at], shares, cell=cell, fold=rng.getrandbits(1))
            )
    return found


def test_another_policys_value_is_found_from_the_log_where_the_plain_rate_is_wrong() -> None:
    rng = random.Random(4)
    log = drawn(rng, 6_000, (0.8, 0.2), {"x": (0.3, 0.1)}) + drawn(rng, 6_000, (0.2, 0.8), {"y": (0.05, 0.2)})

    found = policy.value(log, policy.fixed({B: 1.0}))
    plain = sum(one.clicks for one in log if one.copy_id == B) / sum(one.copy_id == B for one in log)

    assert isinstance(found, policy.Value)
    assert plain == pytest.approx(0.18, abs=0.01)
    for value in (found.ipw, found.snipw, found.dr):
        assert value == pytest.approx(0.15, abs=0.015)
    assert found.within.holds(0.15)
    assert not found.within.holds(found.logged)
    assert found.sends == 12_000


def test_the_logged_policy_is_worth_what_it_earned() -> None:
    log = drawn(random.Random(6), 2_000, (0.7, 0.3), {"x": (0.2, 0.1)})

    found = policy.value(log, policy.fixed({A: 0.7, B: 0.3}))

    assert isinstance(found, policy.Value)
    assert found.ipw == pytest.approx(found.logged)
    assert found.ess == pytest.approx(2_000)


def test_too_small_an_effective_size_is_refused() -> None:
    """Two clicks of a policy that the log hardly knows would otherwise look like 100 %."""
    log = [draws(A, 9_998, 100, (0.9998, 0.0002)), draws(B, 2, 2, (0.9998, 0.0002))]

    found = policy.value(log, policy.fixed({B: 1.0}))

    assert isinstance(found, NotEnough)
    assert found.why.startswith("only 2 effective sends of 10,000")
    assert isinstance(policy.value([], policy.uniform), NotEnough)


def test_what_the_log_could_never_have_sent_is_refused() -> None:
    log = [draws(A, 1_500, 90, (1.0, 0.0)), draws(A, 500, 50), draws(B, 500, 50)]

    found = policy.value(log, policy.fixed({B: 1.0}))

    assert isinstance(found, NotEnough)
    assert found.why.startswith("at 60.0% of the sends none of this policy's variants could have been sent")


def test_a_variant_that_this_person_could_not_get_leaves_its_share_to_the_others() -> None:
    """As the generator does with whoever had it last; one that did not exist then makes the send say nothing."""
    shares = {A: 0.5, B: 0.25, C: 0.25}

    kept = policy.possible(draws(A, 1, 0, (0.5, 0.0, 0.5)), shares)

    assert kept is not None
    assert dict(kept) == pytest.approx({A: 2 / 3, C: 1 / 3})
    assert policy.possible(draws(A, 1, 0), shares) is None
    assert policy.possible(draws(A, 1, 0, (1.0, 0.0)), {B: 1.0}) is None


def test_sends_at_which_the_policy_could_not_be_followed_are_left_out_and_counted() -> None:
    log = [draws(A, 500, 5, (1.0, 0.0)), draws(A, 500, 50), draws(B, 500, 100)]

    found = policy.value(log, policy.fixed({B: 1.0}))

    assert isinstance(found, policy.Value)
    assert (found.sends, found.left_out) == (1_000, 500)
    assert found.snipw == pytest.approx(0.2)
    assert found.logged == pytest.approx(0.15)


def test_the_best_variant_is_valued_on_sends_that_did_not_choose_it() -> None:
    """A and B look best on one half each, by luck; chosen and valued on the same sends it would be 20 %."""
    log = [
        draws(A, 500, 100, fold=0), draws(B, 500, 50, fold=0),
        draws(A, 500, 50, fold=1), draws(B, 500, 100, fold=1),
    ]  # fmt: skip

    best = policy.best(log)
    assert not isinstance(best, NotEnough)
    target, chosen = best
    found = policy.value(log, target)

    assert chosen == {A: 0.5, B: 0.5}
    assert isinstance(found, policy.Value)
    assert found.snipw == pytest.approx(0.1)


def test_the_best_variant_is_one_with_clicks_to_be_expected_and_not_the_luckiest_at_the_floor() -> None:
    """30,000 sends: 1.2 % click on the leader's, 1.0 % on each of four others' that are sent to 0.2 %."""
    leader, *others = ids = tuple(UUID(int=number) for number in range(1, 6))
    shares = (0.992, 0.002, 0.002, 0.002, 0.002)
    log = [
        Draws(fold, "", ids, shares, copy_id, sends, clicks)
        for fold in (0, 1)
        for copy_id, sends, clicks in [
            (leader, 14_880, 179), (others[0], 30, 1), *((one, 30, 0) for one in others[1:]),
        ]
    ]  # fmt: skip

    best = policy.best(log)

    assert not isinstance(best, NotEnough)
    target, chosen = best
    found = policy.value(log, target)
    assert chosen == {leader: 1.0}
    assert isinstance(found, policy.Value)
    assert found.snipw == pytest.approx(179 / 14_880)


def test_without_a_variant_of_which_clicks_are_to_be_expected_none_is_the_best() -> None:
    few = policy.best([draws(A, 400, 8, fold=0), draws(B, 400, 8, fold=0), draws(A, 400, 8, fold=1)])
    without_clicks = policy.best([draws(A, 400, 0, fold=fold) for fold in (0, 1)])

    assert few == NotEnough("in a half of the sends, fewer than 10 clicks are to be expected of each variant's", 200)
    assert isinstance(without_clicks, NotEnough)
    assert without_clicks.more is None
    assert policy.best([]) == policy.value([], policy.uniform)


@pytest.mark.parametrize(("clicks", "rate"), [(0, 0.005), (0, 0.01), (1, 0.015)])
def test_few_clicks_of_few_sends_leave_the_interval_wide_however_long_the_log_is(clicks: int, rate: float) -> None:
    """310 of 31,000 sends speak of the policy. Without a click the interval ended at 0.05 %."""
    p = (0.99, 0.01)
    log = [draws(A, 30_690, 307, p), draws(B, 310, clicks, p)]

    found = policy.value(log, policy.fixed({B: 1.0}))

    assert isinstance(found, policy.Value)
    assert found.ess == pytest.approx(310)
    assert found.within.holds(rate)
    assert found.within.low == 0


def test_uniform_means_every_variant_that_was_eligible_then() -> None:
    assert policy.uniform(draws(A, 1, 0, (0.2, 0.3, 0.5))) == {A: 1 / 3, B: 1 / 3, C: 1 / 3}
