"""What results suggest, from facts to the suggestions, without a database."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from cli.results_advice import sentence
from shared.admin.results.earned import judge_earned
from shared.admin.results.earned_store import Arm, Earned
from shared.admin.results.judging import Results, judge_results
from shared.admin.results.store import Asked, Fact, Read
from shared.inference.strata import Day
from shared.inference.variants import Draws
from shared.schemas.conversions import Conversions
from shared.schemas.policy import Policy, Reward
from shared.zones import zone_of

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
ASKED = Asked(UUID(int=9), "welcome", NOW - timedelta(days=90), NOW, zone_of("UTC"))
COPIES = [UUID(int=number) for number in range(1, 4)]
NAMES = {copy_id: f"v{number}" for number, copy_id in enumerate(COPIES)}


def days_ago(days: int) -> date:
    return NOW.date() - timedelta(days=days)


def fact(variant: int | None, sends: int, *, clicked: int = 0, away: int = 0, day: date) -> Fact:
    """Delivered generations; variant None: control."""
    copy_id = None if variant is None else COPIES[variant]
    counts = (sends, sends, sends, sends, 0, clicked, away, 0, away)
    return Fact(day, variant is None, copy_id, "", False, *counts)


def read_of(facts: Sequence[Fact], *, state: str = "active", **more: Any) -> Read:
    """All variants serve, and are drawn alike by everybody."""
    treated = [one for one in facts if one.copy_id is not None]
    present = tuple(sorted({one.copy_id for one in treated if one.copy_id is not None}))
    shares = tuple(1 / len(present) for _ in present)
    draws = [Draws(0, "", present, shares, one.copy_id, one.delivered, one.clicked) for one in treated if one.copy_id]
    states: Mapping[UUID, str] = dict.fromkeys(COPIES, "approved")
    return Read(state, None, NAMES, [*facts], [], [], draws, False, states=states, **more)


def judged(known: Read, earned: Earned | None = None) -> Results:
    earnings = judge_earned(earned, 0.15) if earned is not None else None
    return judge_results(known, ASKED, earnings, attr=None, control_share=None, worth=0.15)


def kinds(found: Results) -> list[tuple[str, tuple[str, ...]]]:
    return [(one.kind, one.names) for one in found.advice]


# --- pausing ---------------------------------------------------------------------------------------------------------


def driven_away(day: date) -> list[Fact]:
    """A tenth of those who get the first variant leave, and a hundredth of the others."""
    return [fact(0, 300, away=30, day=day), fact(1, 300, away=3, day=day), fact(None, 300, away=3, day=day)]


def test_a_variant_that_was_resumed_is_to_be_paused_by_what_came_after_alone() -> None:
    resumed = {COPIES[0]: days_ago(2)}
    old = [*driven_away(days_ago(3)), *driven_away(days_ago(2))]

    before = judged(read_of(old, anew=resumed))
    after = judged(read_of([*old, *driven_away(days_ago(1))], anew=resumed))

    assert kinds(judged(read_of(old))) == [("pause", ("v0",))]
    assert kinds(before) == []
    assert kinds(after) == [("pause", ("v0",))]
    assert after.advice[0].why.startswith("30 unsubscribes and complaints in 300 sends (10.00%)")


def test_the_table_of_variants_stays_about_the_time_asked_for() -> None:
    found = judged(read_of(driven_away(days_ago(2)), anew={COPIES[0]: days_ago(1)}))

    guards = {one.name: one.guard for one in found.variants}
    assert (guards["v0"].verdict, guards["v0"].events) == ("pause", 30)


# --- what it goes by -------------------------------------------------------------------------------------------------

CAP = 200
ORDERS = [(90, 20), (40, 40), (40, 180)]
"""How many buy of those who get a variant, and for how much each: the last one is clicked least and earns most."""

CLICKED = [
    fact(0, 1000, clicked=300, day=days_ago(9)), fact(1, 1000, clicked=100, day=days_ago(9)),
    fact(2, 1000, clicked=20, day=days_ago(9)), fact(None, 3000, clicked=700, day=days_ago(9)),
]  # fmt: skip


def arm_of(orders: Sequence[tuple[int, int]], sends: int, *, control: bool) -> Arm:
    """One day's, each of another person."""
    converted = sum(count for count, _ in orders)
    revenue, squares = (sum(count * value**power for count, value in orders) for power in (1, 2))
    return Arm(
        control, sends, converted, revenue, squares, sends, converted, converted, revenue, squares,
        [Day.of_events(days_ago(9), control, sends, converted)],
        [Day(days_ago(9), control, sends, revenue, squares)],
    )  # fmt: skip


def earned_of(
    reward: Reward, orders: Sequence[tuple[int, int]] = ORDERS, *, times: int = 1, currencies: Sequence[str] = ("EUR",)
) -> Earned:
    """Of 1,000 sends a variant and 3,000 of control, of whom 100 buy for 40; all of it so many times."""
    sends = 1000 * times
    many = [(count * times, value) for count, value in orders]
    drawn = (0, "", tuple(COPIES), (1 / 3, 1 / 3, 1 / 3))
    of_copies = [*zip(COPIES, many, strict=True)]
    return Earned(
        Conversions(), False, Policy(reward=reward, revenue_cap=CAP), tuple(currencies),
        arm_of(many, 3 * sends, control=False), arm_of([(100 * times, 40)], 3 * sends, control=True),
        [Draws(*drawn, copy_id, sends, count) for copy_id, (count, _) in of_copies],
        [Draws(*drawn, copy_id, sends, count * value / CAP) for copy_id, (count, value) in of_copies],
    )  # fmt: skip


def test_by_clicks_the_variant_that_earns_most_and_the_template_are_to_be_archived() -> None:
    for earned in (None, earned_of("click")):
        assert kinds(judged(read_of(CLICKED), earned)) == [
            ("archive_template", ()), ("archive_variants", ("v1", "v2")),
        ]  # fmt: skip


@pytest.mark.parametrize("reward", ["conversion", "revenue"])
def test_where_the_ranker_is_paid_by_orders_the_variant_that_earns_most_stays(reward: Reward) -> None:
    found = judged(read_of(CLICKED), earned_of(reward))

    assert [(one.kind, one.names, one.reward) for one in found.advice] == [("ship", (), reward)]
    assert found.lift == judged(read_of(CLICKED)).lift  # the page's own


def test_what_leads_in_revenue_may_be_locked_and_what_lies_below_it_archived() -> None:
    found = judged(read_of(CLICKED), earned_of("revenue", times=10))

    assert kinds(found) == [("ship", ("v2",)), ("archive_variants", ("v0", "v1"))]
    assert [sentence(one) for one in found.advice] == [
        "Treatment does better than control in revenue: it may be shipped (`state: shipped`). Ship & Iterate keeps all "
        "variants and the ranker at work; Ship & Lock keeps 'v2' alone, whose revenue a send is above all others'.",
        "To archive: 'v0', 'v1', whose interval in revenue lies below that of the best.",
    ]


def test_where_less_is_bought_than_in_control_the_template_is_to_be_archived_whatever_is_clicked() -> None:
    clicked = [*CLICKED[:3], fact(None, 3000, clicked=100, day=days_ago(9))]

    assert kinds(judged(read_of(clicked), earned_of("conversion", [(10, 40)] * 3))) == [("archive_template", ())]


def test_money_that_cannot_be_added_up_suggests_nothing() -> None:
    assert kinds(judged(read_of(CLICKED), earned_of("revenue", currencies=("EUR", "USD")))) == []


def test_time_for_other_copy_is_a_matter_of_clicks() -> None:
    weeks = [
        *(fact(arm, 4000, clicked=clicked, day=days_ago(20)) for arm, clicked in ((0, 400), (None, 200))),
        *(fact(arm, 9000, clicked=450, day=days_ago(3)) for arm in (0, None)),
    ]
    known = replace(read_of(weeks, state="shipped"), shipped_at=NOW - timedelta(days=18))

    by_clicks, by_orders = judged(known), judged(known, earned_of("conversion"))

    assert kinds(by_clicks) == [("refresh_copy", ())]
    assert by_orders.worn_off is True
    assert [kind for kind, _ in kinds(by_orders)] == []
