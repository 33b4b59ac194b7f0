"""From facts to shares: what is learned, what holds it back, and that nothing but the facts decides."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from pydantic import ValidationError

from services.ranker.facts import NO_CLICK, Fact, Variant, canonical, pack, unpack
from services.ranker.fit import MOST_CELLS, next_snapshot
from shared.schemas.policy import Policy
from tests.unit.ranker.given import COPIES, FREE, PRO, RIPE, VARIANTS, as_before, drawn, task

TASTES = {FREE: 0, PRO: 2}


def by_plan(variant: int, cell: str) -> float:
    return 0.10 if TASTES[cell] == variant else 0.04


def the_same_for_all(variant: int, _cell: str) -> float:
    return (0.03, 0.06, 0.03)[variant]


def test_each_cell_gets_the_variant_it_likes() -> None:
    made = next_snapshot(task(drawn(by_plan)))

    assert made.cells[FREE][0] > 0.9
    assert made.cells[PRO][2] > 0.9
    assert made.model == "logistic"


def test_attrs_that_do_not_matter_leave_all_cells_near_the_shares_of_everybody() -> None:
    cells = [f"colour=c{number}" for number in range(20)]

    made = next_snapshot(task(drawn(the_same_for_all, cells=cells)))

    assert made.otherwise[1] > 0.9
    assert all(abs(shares[1] - made.otherwise[1]) < 0.05 for shares in made.cells.values())


def test_thompson_ignores_attrs() -> None:
    made = next_snapshot(task(drawn(by_plan), model="thompson"))

    assert made.cells == {}
    assert made.otherwise[1] < 0.05


def test_shares_sum_to_one_and_keep_the_floor() -> None:
    made = next_snapshot(task(drawn(by_plan), floor=0.05))

    for shares in (made.otherwise, *made.cells.values()):
        assert sum(shares) == pytest.approx(1, abs=1e-9)
        assert min(shares) >= 0.05 - 1e-6


def test_a_young_variant_has_an_equal_share_and_the_others_the_rest() -> None:
    facts = [fact for fact in drawn(the_same_for_all) if fact.copy_id != COPIES[2]]

    made = next_snapshot(task(facts))

    for shares in (made.otherwise, *made.cells.values()):
        assert shares[2] == pytest.approx(1 / 3, abs=1e-5)
        assert shares[1] > shares[0]


def test_all_variants_are_alike_until_each_has_its_burn_in() -> None:
    made = next_snapshot(task(drawn(by_plan, people=290)))

    assert made.otherwise == pytest.approx((1 / 3,) * 3, abs=1e-5)


def test_no_share_changes_by_more_than_the_cap_and_repeated_fits_arrive() -> None:
    uniform = next_snapshot(task([], model="uniform"))
    far = next_snapshot(task(drawn(by_plan), max_change=1))

    steps = [uniform]
    for _ in range(12):
        steps.append(next_snapshot(task(drawn(by_plan), max_change=0.1, before=as_before(steps[-1]))))

    for before, after in pairwise(steps):
        for cell in (FREE, PRO, "unseen"):
            old, new = (one.cells.get(cell, one.otherwise) for one in (before, after))
            assert max(abs(a - b) for a, b in zip(old, new, strict=True)) <= 0.1 + 2e-6
    assert steps[1].previous_id == uniform.snapshot_id
    assert steps[-1].cells[PRO] == pytest.approx(far.cells[PRO], abs=1e-5)


def test_without_a_cap_one_fit_goes_as_far_as_the_facts_say() -> None:
    uniform = next_snapshot(task([], model="uniform"))

    after = next_snapshot(task(drawn(by_plan), before=as_before(uniform)))

    assert after.previous_id == uniform.snapshot_id
    assert after.cells == next_snapshot(task(drawn(by_plan))).cells


def test_the_cap_does_not_hold_over_other_variants() -> None:
    others = next_snapshot(task([], model="uniform", variants=VARIANTS[:2]))

    made = next_snapshot(task(drawn(by_plan), max_change=0.01, before=as_before(others)))

    assert made.previous_id is None
    assert made.cells[PRO][2] > 0.9


def test_the_same_facts_give_the_same_snapshot_whatever_their_order() -> None:
    facts = drawn(by_plan)
    shuffled = random.Random(3).sample(facts, len(facts))

    assert next_snapshot(task(facts)) == next_snapshot(task(shuffled))


def test_other_facts_policy_or_variants_give_another_id() -> None:
    facts = drawn(by_plan)
    made = next_snapshot(task(facts))
    others = [
        next_snapshot(task(drawn(by_plan, seed=2))),
        next_snapshot(task(facts, floor=0.02)),
        next_snapshot(task(facts, variants=[replace(VARIANTS[0], theme="humour"), *VARIANTS[1:]])),
    ]

    assert len({one.snapshot_id for one in (made, *others)}) == 4


def test_a_variant_that_is_no_longer_eligible_gets_no_share_and_still_teaches() -> None:
    variants = [replace(VARIANTS[0], eligible=False), *VARIANTS[1:]]

    made = next_snapshot(task(drawn(by_plan), variants=variants))

    assert made.eligible == COPIES[1:]
    assert made.diagnostics["sends"] == 12_000


def test_a_new_variant_starts_with_what_its_theme_has_earned() -> None:
    # Six old variants, those with `humour` better; two new ones, which nobody has seen.
    copies = [*COPIES, *(type(COPIES[0])(int=number) for number in range(10, 15))]
    themes = ["humour", "humour", "humour", "plain", "plain", "plain", "humour", "plain"]
    variants = [Variant(copies[at], f"v{at}", theme, True) for at, theme in enumerate(themes)]
    facts = []
    for at in range(6):
        clicks = 240 if themes[at] == "humour" else 160
        facts += [Fact(copies[at], "", RIPE, 2, clicks), Fact(copies[at], "", RIPE, NO_CLICK, 4000 - clicks)]

    shares = dict(zip(copies, next_snapshot(task(facts, variants=variants, burn_in=0)).otherwise, strict=True))

    assert shares[copies[6]] > 2 * shares[copies[7]]


def test_young_sends_without_a_click_do_not_count_against_a_variant() -> None:
    # Both are alike; one was sent in the last five minutes only, when hardly anybody can have clicked.
    ripe = [Fact(COPIES[0], "", RIPE, 8, 200), Fact(COPIES[0], "", RIPE, NO_CLICK, 3800)]
    young = [Fact(COPIES[1], "", 0, NO_CLICK, 1500)]

    as_if_ripe = [replace(one, age=RIPE) for one in young]

    counted = next_snapshot(task([*ripe, *young], variants=VARIANTS[:2]))
    naive = next_snapshot(task([*ripe, *as_if_ripe], variants=VARIANTS[:2]))

    assert counted.otherwise[1] > 0.1
    assert naive.otherwise[1] == pytest.approx(0.002, abs=0.001)


def test_old_facts_fade_when_people_have_changed() -> None:
    long_ago, now = 40, RIPE
    facts = [
        Fact(COPIES[0], "", long_ago, 2, 800), Fact(COPIES[0], "", long_ago, NO_CLICK, 9200),
        Fact(COPIES[1], "", long_ago, 2, 400), Fact(COPIES[1], "", long_ago, NO_CLICK, 9600),
        Fact(COPIES[0], "", now, 2, 60), Fact(COPIES[0], "", now, NO_CLICK, 1940),
        Fact(COPIES[1], "", now, 2, 120), Fact(COPIES[1], "", now, NO_CLICK, 1880),
    ]  # fmt: skip

    fading = next_snapshot(task(facts, variants=VARIANTS[:2], half_life_days=7))
    lasting = next_snapshot(task(facts, variants=VARIANTS[:2], half_life_days=None))

    assert fading.otherwise[1] > 0.9
    assert lasting.otherwise[1] < 0.1


def test_a_snapshot_lists_the_cells_with_the_most_sends() -> None:
    facts = [Fact(COPIES[0], f"id=u{number:05}", RIPE, NO_CLICK, 1) for number in range(MOST_CELLS + 50)]
    facts += [Fact(COPIES[at], "plan=pro", RIPE, NO_CLICK, 500) for at in range(3)]

    made = next_snapshot(task(facts, max_change=1))

    assert len(made.cells) == MOST_CELLS
    assert "plan=pro" in made.cells


def test_cells_that_say_nothing_of_a_person_are_not_listed() -> None:
    made = next_snapshot(task(drawn(the_same_for_all, cells=["", "~"])))

    assert made.cells == {}


def test_fixed_shares_are_in_proportion_and_a_variant_that_is_not_named_is_out() -> None:
    made = next_snapshot(task(drawn(by_plan), model="fixed", shares={"v0": 3, "v1": 1}))

    assert made.otherwise == (0.75, 0.25, 0.0)
    assert made.cells == {}


def test_uniform_learns_nothing() -> None:
    assert next_snapshot(task(drawn(by_plan), model="uniform")).otherwise == (1 / 3,) * 3


def test_without_an_approved_variant_there_is_nothing_to_fit() -> None:
    with pytest.raises(ValueError, match="no variant is approved"):
        next_snapshot(task([], variants=[replace(one, eligible=False) for one in VARIANTS]))


def test_stored_facts_come_back_as_they_were() -> None:
    facts = list(canonical(drawn(by_plan)))

    packed, facts_hash = pack(facts)

    assert list(unpack(packed)) == facts
    assert facts_hash == next_snapshot(task(facts)).facts_hash
    with pytest.raises(ValueError, match="no stored facts"):
        unpack(b"something else")


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ({"model": "best"}, "model"),
        ({"floor": 0.5}, "floor"),
        ({"window_h": 0}, "window_h"),
        ({"model": "fixed"}, "needs at least one variant"),
        ({"model": "fixed", "shares": {"a": 0}}, "needs at least one variant"),
        ({"shares": {"a": 1}}, "only model fixed"),
        ({"reward": "open"}, "reward"),
        ({"epsilon": 0.1}, "epsilon"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(policy: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        Policy.model_validate(policy)
