"""What a turn's answers change about an account."""

from dataclasses import replace
from random import Random

from services.profile_writer.quota.breaker import Breaker
from services.profile_writer.quota.budget import Budget
from services.profile_writer.quota.standing import Answers, Standing, after
from services.profile_writer.rows import NotSent
from shared.errors import Failure, Permanent, Throttled
from shared.klaviyo.errors import MaybeApplied, Unsendable
from shared.klaviyo.limits import RateLimit
from tests.unit.profile_writer.given import NOW, seconds

PAID_AT = NOW - seconds(1)
FRESH = Standing("acct:A", Budget(75, 700, 0.9).at(PAID_AT).paid(25))


def then(*results: Failure | None, standing: Standing = FRESH, limit: RateLimit | None = None) -> Standing:
    return after(standing, Answers(results, limit), PAID_AT, NOW, Random(1))


def test_throttling_blocks_the_account_for_as_long_as_klaviyo_says_and_a_little_more() -> None:
    blocked = then(None, Throttled("429", wait_s=30), NotSent("after it"))

    assert blocked.blocked_until is not None
    assert NOW + seconds(30) <= blocked.blocked_until <= NOW + seconds(33)
    assert blocked.budget.factor < FRESH.budget.factor


def test_tokens_of_writes_that_did_not_leave_come_back() -> None:
    assert then(None, NotSent("late"), NotSent("late")).budget.spent == FRESH.budget.spent - 2


def test_what_can_never_be_sent_costs_no_token_and_is_no_sign_of_life() -> None:
    unsendable = Unsendable("too large", reason="body_too_large")
    silent = replace(FRESH, breaker=Breaker(failures=5))

    assert then(None, unsendable).budget.spent == FRESH.budget.spent - 1
    assert then(unsendable, standing=silent).breaker.failures == 5
    assert then(unsendable, MaybeApplied("503"), standing=silent).breaker.failures == 6
    assert then(Permanent("400"), standing=silent).breaker.failures == 0


def test_what_klaviyo_advertises_replaces_our_assumption() -> None:
    told = then(None, limit=RateLimit(limit=750, remaining=400, reset_s=20))

    assert told.budget.steady_limit == 750
    assert (told.advertised.remaining, told.advertised_at) == (400, NOW)
    assert then(None, limit=RateLimit()).budget.steady_limit == 700
    assert then(None, limit=RateLimit(limit=10**8)).budget.steady_limit == 700


def test_an_account_that_answers_nothing_rests_longer_each_time_until_it_answers() -> None:
    once = then(MaybeApplied("503"))
    assert once.blocked_until is not None
    assert NOW < once.blocked_until <= NOW + seconds(0.5)

    often = then(MaybeApplied("503"), standing=replace(once, breaker=Breaker(failures=20)))
    assert often.blocked_until is not None
    assert NOW + seconds(30) <= often.blocked_until <= NOW + seconds(33)

    assert then(None, standing=once).breaker.failures == 0


def test_after_two_turns_without_an_answer_one_write_at_a_time_is_the_probe() -> None:
    once = then(MaybeApplied("503"))
    twice = then(MaybeApplied("503"), standing=once)

    assert [one.breaker.most(25) for one in (FRESH, once, twice)] == [25, 25, 1]


def test_refusals_and_permanent_answers_are_no_failures() -> None:
    throttled = then(*[Throttled("429", wait_s=1)] * 25)
    rejected = then(*[Permanent("404")] * 25)

    assert throttled.breaker == FRESH.breaker
    assert (rejected.breaker.writes, sum(rejected.breaker.failed)) == (None, 0)
    assert rejected.blocked_until is None


def test_an_account_that_fails_half_of_its_calls_is_left_alone_for_half_a_minute() -> None:
    opened = then(*[None] * 10, *[MaybeApplied("503", reason="klaviyo_503")] * 10)

    assert opened.breaker.most(25) == 1
    assert opened.blocked_until is not None
    assert NOW + seconds(30) <= opened.blocked_until <= NOW + seconds(33)
    assert opened.blocked_reason == "klaviyo_503"


def test_a_refusal_beside_failures_blocks_for_the_longer_of_both() -> None:
    both = then(*[None] * 10, *[MaybeApplied("503")] * 15, Throttled("429", wait_s=5))

    assert both.breaker.most(25) == 1
    assert both.blocked_until is not None
    assert both.blocked_until >= NOW + seconds(30)


def test_a_turn_that_sent_nothing_says_nothing_about_the_account() -> None:
    assert then(NotSent("stopping")).breaker == FRESH.breaker
    assert then(NotSent("stopping")).blocked_until is None


def test_the_factor_climbs_back_with_each_calm_minute() -> None:
    low = replace(FRESH, budget=replace(FRESH.budget, factor=0.5), factor_at=NOW - seconds(125))

    assert then(None, standing=low).budget.factor == 0.6
    assert then(None, standing=low).factor_at == NOW


def test_a_block_that_no_honest_clock_wrote_is_ignored() -> None:
    assert replace(FRESH, blocked_until=NOW + seconds(3600)).closed_until(NOW) == NOW + seconds(3600)
    assert replace(FRESH, blocked_until=NOW + seconds(90_000)).closed_until(NOW) == NOW
