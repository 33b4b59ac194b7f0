"""Which write goes by which road, and what the second one's answers change."""

from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.profile_writer.quota.breaker import Breaker
from services.profile_writer.quota.budget import Budget
from services.profile_writer.quota.phase import Phase
from services.profile_writer.quota.proof import Proof, Reading
from services.profile_writer.quota.standing import Answers, Standing, after
from services.profile_writer.rows import Action, NotSent, Stopped
from services.profile_writer.turns.roads import (
    Heard,
    Means,
    RoadRefused,
    SecondRoad,
    by_import,
    by_patch,
    in_order,
    means,
    share_out,
)
from services.profile_writer.turns.rules import Sent
from shared.errors import Throttled
from shared.klaviyo.errors import MaybeApplied, Unsendable
from shared.klaviyo.limits import RateLimit
from tests.unit.profile_writer.given import NOW, seconds, taken

# Half a minute into Klaviyo's.
PHASE = Phase((NOW.timestamp() + 30) % 60, 0.0, NOW)
LOADED = Standing("acct:A", replace(Budget(75, 750, 1.0), phase=PHASE).at(NOW).paid(60))
QUIET = Standing("acct:A", replace(Budget(75, 750, 1.0), phase=PHASE).at(NOW).paid(40))
UNPROVED = SecondRoad(Standing("acct:A", Budget(75, 700, 1.0).at(NOW)))
SEPARATE = replace(UNPROVED, proof=Proof("separate", NOW))
WRITES: list[Action] = ["write"] * 25
ACTIONS = st.lists(st.sampled_from(("write", "clear", "clean_up")), max_size=80)


def answered(
    road: SecondRoad, *results: Exception | None, looks: bool = False, heard: Heard | None = None
) -> SecondRoad:
    part = road.part(LOADED, looks=looks, now=NOW)
    return road.after(results, part, heard, LOADED, NOW, NOW, Random(1))  # type: ignore[arg-type]  # all are failures


@given(ACTIONS, st.integers(0, 30), st.integers(0, 30))
def test_no_road_carries_more_than_it_has_tokens_and_the_second_only_writes(
    actions: list[Action], patch: int, imports: int
) -> None:
    roads = in_order(actions, Means(patch, imports, 0), 0.02, 0.02)

    assert roads.count("patch") <= patch
    assert roads.count("import") <= imports
    assert all(action == "write" for action, road in zip(actions, roads, strict=True) if road == "import")


@given(st.integers(0, 60), st.integers(0, 30), st.integers(0, 30), st.floats(0.01, 0.2), st.floats(0.01, 0.2))
def test_what_is_due_first_leaves_first_over_both_roads(
    count: int, patch: int, imports: int, patch_s: float, import_s: float
) -> None:
    roads = in_order(["write"] * count, Means(patch, imports, 0), patch_s, import_s)

    taken = [road for road in roads if road is not None]
    assert taken == roads[: min(count, patch + imports)]
    places = {"patch": 0, "import": 0}
    slots = []
    for road in taken:
        slots.append(places[road] * (patch_s if road == "patch" else import_s))
        places[road] += 1
    if max(places.values()) < min(patch, imports):
        # Added up there and multiplied here, which differs in the last digit.
        assert all(later >= earlier - 1e-9 for earlier, later in pairwise(slots))


def test_without_a_second_road_everything_goes_by_patch() -> None:
    assert share_out(WRITES, Means(25, 0, 0), LOADED, None, NOW) == (["patch"] * 25, None)


def test_a_proved_road_takes_every_other_write() -> None:
    roads, part = share_out(WRITES, Means(25, 25, 0), LOADED, SEPARATE, NOW)

    assert roads[:4] == ["patch", "import", "patch", "import"]
    assert part is not None
    assert not part.looks
    assert part.ours == 60


def test_an_unproved_one_gets_one_write_in_the_middle_of_a_full_turn_under_load() -> None:
    roads, part = share_out(WRITES, Means(25, 0, 0), LOADED, UNPROVED, NOW)

    assert [place for place, road in enumerate(roads) if road == "import"] == [12]
    assert part is not None
    assert part.looks


def test_nothing_is_risked_without_load_without_a_full_turn_or_after_a_verdict() -> None:
    shared = replace(UNPROVED, proof=Proof("shared", NOW))
    blocked = replace(UNPROVED, standing=replace(UNPROVED.standing, blocked_until=NOW + seconds(5)))
    unknown = replace(LOADED, budget=replace(LOADED.budget, phase=None))
    clears: list[Action] = ["clear"] * 25

    for actions, first, second in [
        (WRITES, QUIET, UNPROVED),
        (WRITES[:20], LOADED, UNPROVED),
        (WRITES, unknown, UNPROVED),
        (WRITES, LOADED, shared),
        (WRITES, LOADED, blocked),
        (clears, LOADED, UNPROVED),
    ]:
        roads, part = share_out(actions, Means(25, 0, 0), first, second, NOW)
        assert (set(roads), part) == ({"patch"}, None)


def test_tokens_are_paid_only_where_it_carries_and_is_open() -> None:
    blocked = replace(SEPARATE, standing=replace(SEPARATE.standing, blocked_until=NOW + seconds(5)))
    probing = replace(SEPARATE, standing=replace(SEPARATE.standing, breaker=Breaker(failures=2, writes=1)))

    assert [road.tokens(25, NOW) for road in (UNPROVED, SEPARATE, blocked, probing)] == [0, 25, 0, 1]
    assert SEPARATE.at(replace(LOADED, busy_until=NOW + seconds(1)), NOW).tokens(25, NOW) == 0
    assert (UNPROVED.ready_at(LOADED, NOW), SEPARATE.ready_at(LOADED, NOW)) == (None, NOW)
    assert blocked.ready_at(LOADED, NOW) == NOW + seconds(5)


def test_a_429_on_it_blocks_it_and_takes_from_its_budget_alone() -> None:
    road = answered(SEPARATE, None, Throttled("429", wait_s=10))

    assert road.standing.blocked_until is not None
    assert road.standing.blocked_until >= NOW + seconds(10)
    assert road.standing.budget.factor < 1
    assert road.proof.verdict == "separate"


def test_what_did_not_leave_comes_back() -> None:
    paid = SEPARATE.paid(3, looks=False, now=NOW)

    assert answered(paid, None, NotSent("late"), NotSent("late")).standing.budget.spent == 1


def test_a_refusal_of_the_operation_ends_it_and_is_no_failure_of_klaviyos() -> None:
    road = answered(SEPARATE, *[RoadRefused("400")] * 25)

    assert road.proof.verdict == "refused"
    assert (road.standing.breaker, road.standing.blocked_until) == (Breaker(), None)


def test_calls_that_fail_on_it_let_it_rest_alone() -> None:
    failed = MaybeApplied("503", reason="klaviyo_503")
    sends = [Sent(taken(number), None, "import" if number % 2 else "patch") for number in range(50)]
    results = [failed if sent.road == "import" else None for sent in sends]
    part = SEPARATE.part(LOADED, looks=False, now=NOW)

    first = after(LOADED, Answers(by_patch(sends, results, part)), NOW, NOW, Random(1))
    road = answered(SEPARATE, *by_import(sends, results))

    assert (first.breaker.writes, first.breaker.failures, first.blocked_until) == (None, 0, None)
    assert sum(first.breaker.calls) == 25
    assert road.standing.breaker.writes == 1
    assert road.standing.blocked_reason == "klaviyo_503"
    assert road.proof.verdict == "separate"
    assert means(first, road, 25, 0.5, NOW) == Means(25, 0, 25)


def test_an_account_that_is_left_alone_leaves_its_second_road_open() -> None:
    probing = replace(LOADED, breaker=Breaker(failures=6, writes=1))
    resting = replace(probing, blocked_until=NOW + seconds(30))

    assert means(probing, SEPARATE, 25, 0.5, NOW) == Means(1, 25, 1)
    assert means(resting, SEPARATE, 25, 0.5, NOW) == Means(0, 25, 0)
    assert means(resting, None, 25, 0.5, NOW) == Means(0, 0, 0)


@pytest.mark.parametrize("unsent", [NotSent("late"), Stopped("stopped"), Unsendable("too large")])
def test_a_look_that_did_not_leave_comes_back_on_both_roads(unsent: Exception) -> None:
    sends = [Sent(taken(0), None), Sent(taken(1), None, "import")]
    part = UNPROVED.part(LOADED, looks=True, now=NOW)
    paid = replace(LOADED, budget=LOADED.budget.paid(2))
    road = UNPROVED.paid(1, looks=True, now=NOW)

    first = after(paid, Answers(by_patch(sends, [None, unsent], part)), NOW, NOW, Random(1))  # type: ignore[list-item]  # all are failures

    assert first.budget.spent == LOADED.budget.spent + 1
    assert answered(road, unsent, looks=True).standing.budget.spent == 0


def test_a_look_that_fails_says_nothing_about_patch() -> None:
    sends = [Sent(taken(0), None), Sent(taken(1), None, "import")]
    part = UNPROVED.part(LOADED, looks=True, now=NOW)

    assert by_patch(sends, [None, MaybeApplied("503")], part) == [None]


def test_looks_that_see_a_counter_of_its_own_prove_it_and_what_patch_spends_is_not_taken_for_anothers() -> None:
    def at(elapsed_s: float, used: int) -> Reading:
        return Reading(NOW + seconds(elapsed_s), NOW + seconds(elapsed_s), used)

    patches = [at(0.1, 70), at(0.3, 80)]
    road = UNPROVED
    for number in range(3):
        heard = Heard(RateLimit(750, 500, 30), PHASE, [at(0.2, number + 1)], patches)
        road = answered(road.paid(1, looks=True, now=NOW), None, looks=True, heard=heard)

    assert road.proof.verdict == "separate"
    assert road.standing.budget.steady_limit == 750
    assert road.standing.budget.others.spent == 0
    assert road.standing.budget.phase is not None


def test_a_turn_that_was_not_sent_says_nothing() -> None:
    paid = UNPROVED.paid(1, looks=True, now=NOW)

    road = answered(paid, NotSent("outage"), looks=True)

    assert (road.proof, road.standing.budget.spent) == (Proof(looks=1, looked_at=NOW), 0)


def test_only_what_the_minute_has_surely_counted_is_ours() -> None:
    def ours(now: datetime) -> int:
        return SEPARATE.part(replace(LOADED, budget=LOADED.budget.at(now)), looks=False, now=now).ours

    assert ours(NOW) == 60
    assert ours(NOW + seconds(29)) == 60
    assert ours(NOW + seconds(31)) == 0


def test_what_the_turn_before_may_still_give_back_is_not_surely_ours() -> None:
    later = NOW + seconds(2)
    budget = replace(Budget(75, 750, 1.0), phase=PHASE).at(NOW).paid(25).at(later).paid(25)
    road = replace(SEPARATE, standing=replace(SEPARATE.standing, budget=SEPARATE.standing.budget.paid(20).at(later)))
    closed = Standing("acct:A", budget)
    unclosed = replace(closed, busy_by=UUID(int=1))

    assert road.part(closed, looks=False, now=later).ours == 70
    assert road.part(unclosed, looks=False, now=later).ours == 25
