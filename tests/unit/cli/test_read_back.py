"""What a profile holds, told from what a generation wrote there."""

from typing import Any
from uuid import UUID

import pytest

from shared.admin.person.read_back import ReadBack, compare

ASKED, OTHER, STRANGER, MERGED = UUID(int=1), UUID(int=2), UUID(int=3), UUID(int=4)


def copy(generation_id: UUID, **changes: str) -> dict[str, str]:
    return {
        "jai_subject": f"Hi {generation_id.int}", "jai_preheader": "", "jai_body": "<p>Hi</p>",
        "jai_generation": str(generation_id), "jai_for": "welcome.f.a",
        "jai_person": "01ANN",
    } | changes  # fmt: skip


def found(held: dict[str, Any] | None, *, wrote: bool = True) -> ReadBack:
    copies = {ASKED: copy(ASKED) if wrote else None, OTHER: copy(OTHER), MERGED: copy(MERGED, jai_person="01BOB")}
    return compare("jai", ASKED, held, copies, person="01ANN", wrote=wrote)


def test_what_we_wrote_is_as_written_whatever_else_is_on_the_profile() -> None:
    assert found(copy(ASKED, size="M", jai2_subject="x")) == ReadBack("as_written", generation_id=ASKED)


@pytest.mark.parametrize(
    "held",
    [{}, {"size": "M"}, {"jai_subject": None, "jai_body": None}, {"jai_person": "01ANN"}, {"jai_person": "01BOB"}],
)
def test_a_profile_without_the_copys_properties_is_taken_away(held: dict[str, Any]) -> None:
    assert found(held) == found(held, wrote=False) == ReadBack("taken_away")


def test_another_generation_of_ours_is_named_when_all_of_it_is_there() -> None:
    assert found(copy(OTHER)) == ReadBack("another_generation", generation_id=OTHER)
    assert found(copy(OTHER), wrote=False) == ReadBack("another_generation", generation_id=OTHER)


def test_copy_that_does_not_say_whose_it_is_was_written_by_the_release_before() -> None:
    held = {name: value for name, value in copy(ASKED).items() if name != "jai_person"}

    assert found(held) == ReadBack("as_written", generation_id=ASKED)
    assert found(held | {"jai_body": "Sale!"}) == ReadBack("overwritten", ["jai_body"], ASKED)


@pytest.mark.parametrize("whose", [{"jai_person": "01BOB"}, {"jai_person": None}])
@pytest.mark.parametrize("wrote", [True, False])
def test_copy_of_a_profile_that_was_merged_into_this_one_is_another_persons(
    whose: dict[str, str | None], wrote: bool
) -> None:
    held = {**copy(MERGED), **whose}

    assert found(held, wrote=wrote) == ReadBack("another_person", generation_id=MERGED)


def test_who_the_copy_is_for_can_be_overwritten_too() -> None:
    assert found(copy(ASKED, jai_person="01BOB")) == ReadBack("overwritten", ["jai_person"], ASKED)


@pytest.mark.parametrize("generation_id", [ASKED, OTHER])
def test_a_property_that_is_not_as_its_generation_wrote_it_was_somebody_elses(generation_id: UUID) -> None:
    assert found(copy(generation_id, jai_subject="Sale!")) == ReadBack("overwritten", ["jai_subject"], generation_id)
    assert found({**copy(generation_id), "jai_body": None}) == ReadBack("overwritten", ["jai_body"], generation_id)
    assert found({**copy(generation_id), "jai_body": ["<p>Hi</p>"]}).properties == ["jai_body"]


@pytest.mark.parametrize("marker", [str(STRANGER), "none of ours", 7, ["x"]])
def test_a_marker_that_names_none_of_ours_was_somebody_elses(marker: Any) -> None:
    held = {**copy(ASKED), "jai_generation": marker}

    assert found(held).finding == "overwritten"
    assert found(held).properties == ["jai_generation"]
    assert found(held, wrote=False).finding == "overwritten"


def test_a_profile_that_is_gone_and_a_copy_that_cannot_be_read_are_said() -> None:
    assert found(None) == ReadBack("profile_gone")
    assert compare("jai", ASKED, copy(ASKED), {ASKED: None}, person="01ANN").finding == "not_comparable"
