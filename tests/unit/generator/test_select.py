"""The choice: canonical cells, draws that follow their probabilities, and the same draw for the same generation."""

import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, get_type_hints
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.generator.assign import Split
from services.generator.cells import Cells
from services.generator.compose import compose
from services.generator.render import Renderer
from services.generator.select import CELL_CHARS, NO_ATTRS, TOO_MANY_ATTRS, Snapshot, cell_of, choose, uniform, usable
from shared.schemas.attributes import DateAttribute, StringAttribute
from shared.schemas.jobs import Attrs, Fields, GenerateJob
from tests.unit.generator.given import COPIES, ORG, config, job, source, template

texts = st.text(max_size=20)
attr_sets = st.dictionaries(texts, st.one_of(texts, st.lists(texts, max_size=4)), max_size=5)
ids = st.uuids()


@st.composite
def probabilities(draw: Callable[..., Any], size: int) -> tuple[float, ...]:
    weights = draw(st.lists(st.integers(0, 1000), min_size=size, max_size=size).filter(any))
    return tuple(weight / sum(weights) for weight in weights)


def policy(otherwise: tuple[float, ...], cells: dict[str, tuple[float, ...]] | None = None) -> Snapshot:
    return Snapshot(UUID(int=99), "fitted", COPIES[: len(otherwise)], otherwise, cells or {}, stored=True)


@given(otherwise=st.integers(1, 4).flatmap(probabilities), cell=texts, generation_id=ids)
def test_a_choice_is_eligible_possible_and_logged_with_the_very_probabilities_it_was_drawn_from(
    otherwise: tuple[float, ...], cell: str, generation_id: UUID
) -> None:
    snapshot = policy(otherwise)

    choice = choose(snapshot, cell, generation_id)

    assert choice.probabilities == otherwise
    assert choice.propensity == dict(zip(snapshot.eligible, otherwise, strict=True))[choice.copy_id]
    assert choice.propensity > 0
    assert choose(snapshot, cell, generation_id) == choice


@given(copy_ids=st.lists(ids, min_size=1, max_size=30, unique=True))
def test_uniform_probabilities_sum_to_one_and_the_snapshot_is_the_same_in_every_process(copy_ids: list[UUID]) -> None:
    snapshot = uniform(ORG, "welcome", copy_ids)

    assert math.fsum(snapshot.otherwise) == pytest.approx(1, abs=1e-12)
    assert usable(snapshot, copy_ids)
    assert snapshot == uniform(ORG, "welcome", copy_ids[::-1])
    assert snapshot.snapshot_id != uniform(ORG, "another", copy_ids).snapshot_id
    assert snapshot.snapshot_id != uniform(UUID(int=7), "welcome", copy_ids).snapshot_id
    assert snapshot.snapshot_id != uniform(ORG, "welcome", [*copy_ids, UUID(int=1 << 127)]).snapshot_id


@pytest.mark.parametrize("otherwise", [(0.25, 0.25, 0.25, 0.25), (0.7, 0.0, 0.29, 0.01), (1.0,)])
def test_over_many_generations_the_shares_match_the_propensities(otherwise: tuple[float, ...]) -> None:
    snapshot, draws = policy(otherwise), 20_000

    seen = Counter(choose(snapshot, NO_ATTRS, UUID(int=number)).copy_id for number in range(draws))

    for copy_id, probability in zip(snapshot.eligible, otherwise, strict=True):
        error = math.sqrt(probability * (1 - probability) / draws)
        assert abs(seen[copy_id] / draws - probability) <= 4.5 * error


@given(shares=st.integers(1, 6).flatmap(probabilities), index=st.integers(0, 5), generation_id=ids)
def test_the_variant_to_avoid_is_never_drawn_where_there_is_another_and_the_rest_keep_their_proportions(
    shares: tuple[float, ...], index: int, generation_id: UUID
) -> None:
    copy_ids = tuple(UUID(int=number + 1) for number in range(len(shares)))
    snapshot = Snapshot(UUID(int=99), "fitted", copy_ids, shares, {}, stored=True)
    avoided = UUID(int=index + 1)

    choice = choose(snapshot, NO_ATTRS, generation_id, avoided)

    rest = [share for copy_id, share in zip(copy_ids, shares, strict=True) if copy_id != avoided]
    if avoided not in copy_ids or not any(rest):
        assert choice == choose(snapshot, NO_ATTRS, generation_id)
        return
    assert choice.copy_id != avoided
    assert choice.probabilities[index] == 0
    assert math.fsum(choice.probabilities) == pytest.approx(1, abs=1e-9)
    assert choice.propensity == choice.probabilities[copy_ids.index(choice.copy_id)] > 0
    kept = [one for place, one in enumerate(choice.probabilities) if place != index]
    assert kept == pytest.approx([share / math.fsum(rest) for share in rest])


def test_the_draw_does_not_follow_the_cell() -> None:
    """The same person in another cell with the same probabilities gets the same variant: attrs only name the cell."""
    snapshot = policy((0.5, 0.5))

    same = [
        choose(snapshot, "plan=a", UUID(int=number)).copy_id == choose(snapshot, "plan=b", UUID(int=number)).copy_id
        for number in range(200)
    ]

    assert all(same)


def test_a_listed_cell_has_its_own_probabilities_and_any_other_draws_from_otherwise() -> None:
    snapshot = policy((0.0, 1.0), {"plan=pro": (1.0, 0.0)})

    def chosen(attrs: Attrs) -> UUID:
        return choose(snapshot, cell_of(attrs), UUID(int=1)).copy_id

    assert chosen({"Plan": " PRO "}) == COPIES[0]
    assert chosen({"plan": "free"}) == chosen({"plan": "pro", "city": "x"}) == chosen({}) == COPIES[1]


@given(attrs=attr_sets, data=st.data())
def test_a_cell_does_not_depend_on_order_case_or_spacing(attrs: Attrs, data: st.DataObject) -> None:
    names = data.draw(st.permutations(list(attrs)))
    shuffled: Attrs = {}
    for name in names:
        value = attrs[name]
        shuffled[name] = data.draw(st.permutations(value)) if isinstance(value, list) else f"  {value}\n"

    assert cell_of(shuffled) == cell_of(attrs)


@given(value=st.text(st.characters(codec="ascii"), min_size=1, max_size=20))
def test_upper_and_lower_case_are_the_same_cell(value: str) -> None:
    assert cell_of({"plan": value.upper()}) == cell_of({"PLAN": value.lower()})


@given(one=st.text(st.characters(codec="ascii"), max_size=9), two=st.text(st.characters(codec="ascii"), max_size=9))
def test_reserved_characters_in_a_value_never_make_it_another_cell(one: str, two: str) -> None:
    assert cell_of({"a": [one, two]}) != cell_of({"a": f"{one},{two}"})
    assert cell_of({"a": "x", "b": "y"}) != cell_of({"a": f"{one}x&b=y{two}"})


def test_a_missing_attr_and_one_without_a_value_are_the_same() -> None:
    assert cell_of({"plan": "", "persona": ["", " "], "": "x"}) == cell_of({}) == NO_ATTRS


@given(attrs=st.dictionaries(st.text(min_size=5, max_size=60), st.text(min_size=5, max_size=80), max_size=60))
def test_a_cell_is_never_longer_than_its_limit(attrs: dict[str, str]) -> None:
    assert len(cell_of({**attrs})) <= CELL_CHARS


def test_a_cell_can_be_stored_whatever_is_in_the_attrs() -> None:
    assert "\x00" not in cell_of({"a\x00": "x\x00"})
    assert cell_of({"a": "x\x00"}) != cell_of({"a": "x"})


def test_too_many_attrs_have_a_cell_of_their_own() -> None:
    assert cell_of({f"attr{number}": "x" * 40 for number in range(50)}) == TOO_MANY_ATTRS


@pytest.mark.parametrize(
    "snapshot",
    [
        policy((0.5, 0.4)),
        policy((1.5, -0.5)),
        policy((math.nan, 1.0)),
        policy((0.5, 0.5), {"plan=pro": (0.5, 0.6)}),
        policy((0.5, 0.5), {"plan=pro": (1.0,)}),
        policy((0.5, 0.3, 0.2)),
        policy((1.0,)),
    ],
)
def test_a_snapshot_that_cannot_be_drawn_from_or_covers_other_variants_is_not_usable(snapshot: Snapshot) -> None:
    assert not usable(snapshot, COPIES[:2])


@given(
    attrs=attr_sets,
    one=st.dictionaries(texts, texts, max_size=4),
    two=st.dictionaries(texts, texts, max_size=4),
    user_id=st.text("ABCDEF0123456789", min_size=6, max_size=6),
    method=st.sampled_from(["external", "random", "persistent"]),
    last=st.sampled_from([None, *COPIES]),
)
@settings(max_examples=200)
def test_fields_never_change_the_variant_its_propensity_or_its_cell(
    attrs: Attrs,
    one: dict[str, str],
    two: dict[str, str],
    user_id: str,
    method: Literal["external", "random", "persistent"],
    last: UUID | None,
) -> None:
    variants = [source(copy_id, subject="Hello", body="<p>Same</p>") for copy_id in COPIES]
    cells = Cells({"plan": StringAttribute(kind="string"), "since": DateAttribute(kind="date", edges=[0, 7])})
    split = Split(method, 0.3 if method != "external" else 0, 0.1)
    served = config(template(*variants, cells=cells, split=split))
    renderer = Renderer()

    first = compose(job(user_id=user_id, attrs=attrs, fields=one), served, renderer, last)
    second = compose(job(user_id=user_id, attrs=attrs, fields=two), served, renderer, last)

    for name in ("decision", "reason", "copy_id", "cell", "snapshot", "probabilities", "propensity"):
        assert getattr(first, name) == getattr(second, name)


def test_the_choice_cannot_be_given_fields() -> None:
    """By type: nothing that names a cell, splits or draws takes a job's fields, or the job as a whole but for its ids.

    The split takes the job for its ids; that it reads nothing else is what the property above shows.
    """
    for decides in (cell_of, Cells.of, choose):
        hints = get_type_hints(decides)
        assert Fields not in hints.values()
        assert GenerateJob not in hints.values()


def test_who_decides_loads_no_library_that_is_heavier_than_numpy() -> None:
    heavy = {"scipy", "pandas", "pyarrow", "duckdb", "sklearn", "polars", "torch", "vowpalwabbit"}
    code = f"import sys; import services.generator.app; print({heavy} & {{name.split('.')[0] for name in sys.modules}})"

    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)

    assert done.stdout.strip() == "set()"
