"""What a run of drafting does next, as a decision."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from shared.admin.drafts.steps import (
    ARCHIVED,
    MOST_CLAIMS,
    TOO_LATE,
    Claim,
    Ended,
    Next,
    Tried,
    deadline_of,
    estimate,
    next_step,
)
from shared.drafting.brief import Brief
from shared.drafting.model import Model
from shared.drafting.prompt import Asked, make_prompt
from shared.drafting.retries import Limits
from shared.drafting.usage import Prices

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
MODEL = Model("tiny-1", "http://127.0.0.1:8080/v1", "openai", Limits(total_s=300, max_tokens=4_000))
IN_REVIEW = Tried("in_review", "Hello")
CUT_OFF = Tried("cut_off", fault="the draft was cut off")


def claim(number: int = 3, claims: int = 1) -> Claim:
    brief = Brief(goal="Sell", themes=["welcome", "offer"])
    return Claim(UUID(int=1), UUID(int=2), 1, "welcome", brief, number, "Ann", NOW + timedelta(hours=1), claims)


def test_themes_take_turns_and_a_run_ends_after_its_last_draft() -> None:
    steps = [next_step(claim(), [IN_REVIEW] * tried, "active", NOW) for tried in range(4)]

    assert steps == [Next(1, "welcome"), Next(2, "offer"), Next(3, "welcome"), Ended("done")]


def test_only_two_drafts_in_a_row_that_were_cut_off_end_a_run() -> None:
    assert next_step(claim(4), [CUT_OFF, IN_REVIEW, CUT_OFF], "active", NOW) == Next(4, "offer")
    assert next_step(claim(4), [IN_REVIEW, CUT_OFF, CUT_OFF], "active", NOW) == Ended(
        "failed", "llm_cut_off", "the draft was cut off"
    )


@pytest.mark.parametrize(("state", "end"), [("archived", ARCHIVED), (None, ARCHIVED)])
def test_drafts_that_nobody_would_see_are_not_asked_for(state: str | None, end: Ended) -> None:
    assert next_step(claim(), [IN_REVIEW], state, NOW) == end


def test_a_run_that_is_overdue_ends_unless_nothing_is_left_of_it() -> None:
    late = NOW + timedelta(hours=1)

    assert next_step(claim(), [IN_REVIEW], "active", late) == TOO_LATE
    assert next_step(claim(1), [IN_REVIEW], "active", late) == Ended("done")


def test_a_draft_that_ended_whoever_began_it_is_not_begun_for_ever() -> None:
    assert isinstance(next_step(claim(claims=MOST_CLAIMS), [], "active", NOW), Next)
    ended = next_step(claim(claims=MOST_CLAIMS + 1), [], "active", NOW)
    assert isinstance(ended, Ended)
    assert ended.code == "left"


def test_a_deadline_leaves_an_hour_for_the_queue_and_all_tries_of_each_draft() -> None:
    assert deadline_of(20, MODEL, NOW) - NOW == timedelta(hours=1, seconds=20 * 300)


def test_an_estimate_says_what_answers_usually_take_and_what_their_limit_would() -> None:
    prompt = make_prompt(Asked(Brief(goal="Sell"), "welcome"))
    prices = Prices(read=0, written=10)

    assert estimate(prompt, 3, MODEL, prices, 500.0) == pytest.approx((3 * 0.005, 3 * 0.04))
    assert estimate(prompt, 1, MODEL, prices, None)[0] == pytest.approx(0.007)
    assert estimate(prompt, 1, MODEL, prices, 9_000.0) == pytest.approx((0.04, 0.04))
    assert estimate(prompt, 1, MODEL, Prices(10, 0), None)[0] > 0
