"""What a write does to a profile, and what the profile was at a moment."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.profile import (
    Carried,
    InvalidWrite,
    ProfileState,
    copies_in,
    markers_of,
    new_profile,
    without_copies,
    written,
)

AT = datetime(2026, 11, 23, 10, tzinfo=UTC)
EMPTY = ProfileState({}, {})
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=2))
PROPERTIES = st.dictionaries(st.sampled_from("abcdef"), VALUES)


def properties(state: ProfileState, given_properties: dict[str, Any], **patch: Any) -> dict[str, Any]:
    return dict(written(state, {"properties": given_properties}, patch, keep_nulls=False).properties)


@given(old=PROPERTIES, new=PROPERTIES)
def test_keys_that_are_not_sent_stay_and_sent_ones_win(old: dict[str, Any], new: dict[str, Any]) -> None:
    merged = properties(ProfileState({}, old), new)

    assert set(merged) == set(old) | set(new)
    assert all(merged[key] == new.get(key, old.get(key)) for key in merged if key in new or key not in old)
    assert all(merged[key] == old[key] for key in old if key not in new)


@given(old=PROPERTIES, new=PROPERTIES)
def test_writing_never_changes_an_earlier_state(old: dict[str, Any], new: dict[str, Any]) -> None:
    before = dict(old)

    properties(ProfileState({}, old), new, append={"a": 1}, unset=["b"])

    assert old == before


def test_nested_objects_are_replaced_not_merged() -> None:
    state = ProfileState({}, {"address": {"city": "Oslo", "zip": "1"}})

    assert properties(state, {"address": {"city": "Bergen"}}) == {"address": {"city": "Bergen"}}


def test_null_clears_and_absent_keeps() -> None:
    state = ProfileState({"first_name": "Ann", "last_name": "Lee"}, {"plan": "pro"})

    after = written(state, {"first_name": None, "properties": {"plan": None}}, {}, keep_nulls=False)

    assert after.fields == {"first_name": None, "last_name": "Lee"}
    assert after.properties == {"plan": None}


def test_a_bulk_import_ignores_nulls() -> None:
    state = ProfileState({"first_name": "Ann"}, {"plan": "pro"})

    after = written(state, {"first_name": None, "properties": {"plan": None, "n": 1}}, {}, keep_nulls=True)

    assert after.fields == {"first_name": "Ann"}
    assert after.properties == {"plan": "pro", "n": 1}


@pytest.mark.parametrize(
    ("old", "append", "expected"),
    [
        ({}, {"k": "v"}, ["v"]),
        ({"k": "a"}, {"k": "v"}, ["a", "v"]),
        ({"k": ["a"]}, {"k": ["b", "c"]}, ["a", "b", "c"]),
    ],
)
def test_append_always_makes_a_list(old: dict[str, Any], append: dict[str, Any], expected: list[str]) -> None:
    assert properties(ProfileState({}, old), {}, append=append)["k"] == expected


def test_unappend_takes_values_out() -> None:
    state = ProfileState({}, {"skus": ["1", "2", "1"]})

    assert properties(state, {}, unappend={"skus": "1"}) == {"skus": ["2"]}


@pytest.mark.parametrize("unset", ["jai_body", ["jai_body", "never_there"]])
def test_unset_removes_keys(unset: str | list[str]) -> None:
    assert properties(ProfileState({}, {"jai_body": "x", "plan": "pro"}), {}, unset=unset) == {"plan": "pro"}


@pytest.mark.parametrize(
    ("attributes", "patch", "pointer"),
    [
        ({"properties": ["no object"]}, {}, "/data/attributes/properties"),
        ({}, {"append": "x"}, "/data/meta/patch_properties/append"),
        ({}, {"unset": [1]}, "/data/meta/patch_properties/unset"),
    ],
)
def test_a_wrong_shape_names_its_place(attributes: dict[str, Any], patch: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidWrite) as refused:
        written(EMPTY, attributes, patch, keep_nulls=False)

    assert refused.value.pointer == pointer


def test_a_profile_remembers_what_it_was_at_any_recent_moment() -> None:
    profile = new_profile("abc123", {"first_name": "Ann"}, AT)
    for second in range(1, 4):
        state = written(profile.state, {"properties": {"n": second}}, {}, keep_nulls=False)
        profile.become(state, AT + timedelta(seconds=second), [])

    assert profile.as_of(AT).properties == {}
    assert profile.as_of(AT + timedelta(seconds=2.5)).properties == {"n": 2}
    assert profile.as_of(AT + timedelta(days=1)).properties == {"n": 3}


@pytest.mark.parametrize(
    ("carried", "expected"),
    [
        ("none", {"both": "own", "own": 1, "cleared": None}),
        ("missing", {"both": "own", "own": 1, "cleared": "other", "other": 2, "jai_generation": "g1"}),
        ("all", {"both": "other", "own": 1, "cleared": "other", "other": 2, "jai_generation": "g1"}),
    ],
)
def test_a_merge_carries_over_what_it_is_set_to_and_whose_copy_it_was(
    carried: Carried, expected: dict[str, Any]
) -> None:
    held = {"both": "other", "cleared": "other", "other": 2, "jai_generation": "g1"}
    gone = new_profile("gone01", {"email": "gone@x.example", "properties": held}, AT)
    own = {"both": "own", "own": 1, "cleared": None}
    stays = new_profile("stays1", {"email": "stays@x.example", "properties": own}, AT)
    later = AT + timedelta(minutes=1)

    stays.take_over(gone, carried, later)

    assert stays.state == ProfileState({"email": "stays@x.example"}, expected)
    assert stays.as_of(AT).properties == own
    copies = [(copy.profile_id, copy.generation_id, copy.written_at) for copy in stays.copies]
    assert copies == ([] if carried == "none" else [("gone01", "g1", later)])


def test_a_write_with_markers_is_recognised_under_any_prefix() -> None:
    given_properties = {
        "shop_subject": "Hi", "shop_preheader": "p", "shop_body": "<p>b</p>", "shop_generation": "g1",
        "shop_for": "MSG",
        "jai_generation": None, "generation": "not a marker", "jai_body": "x",
    }  # fmt: skip

    (copy,) = copies_in("abc123", given_properties, AT)

    assert (copy.prefix, copy.generation_id, copy.written_for) == ("shop", "g1", "MSG")
    assert copy.profile_id == "abc123"
    assert (copy.subject, copy.preheader, copy.body) == ("Hi", "p", "<p>b</p>")


@pytest.mark.parametrize(
    ("given_properties", "patch", "expected"),
    [
        (
            {"jai_generation": "g2", "jai_for": "M", "jai_body": "b"},
            {},
            {"jai_generation": "g2", "jai_for": "M"},
        ),
        ({"jai_generation": "g1"}, {}, {"jai_generation": "g1"}),
        ({"jai_generation": None}, {}, {"jai_generation": None}),
        ({}, {"unset": ["jai_generation", "jai_for", "gift_for"]}, {"jai_generation": None, "jai_for": None}),
        ({"plan": "pro", "gift_for": "Ann"}, {}, {}),
    ],
)
def test_a_write_tells_which_markers_it_brought_and_took_away(
    given_properties: dict[str, Any], patch: dict[str, Any], expected: dict[str, str | None]
) -> None:
    before = {"jai_generation": "g1", "jai_for": "L", "gift_for": "Bob"}
    after = properties(ProfileState({}, before), given_properties, **patch)

    assert markers_of(given_properties, before, after) == expected


def test_a_null_that_an_import_ignores_took_no_marker_away() -> None:
    before = {"jai_generation": "g1"}
    after = written(ProfileState({}, before), {"properties": {"jai_generation": None}}, {}, keep_nulls=True).properties

    assert markers_of({"jai_generation": None}, before, after) == {}


def test_a_person_without_copies_keeps_its_own_properties() -> None:
    state = ProfileState({"email": "a@b.c"}, {"jai_body": "x", "jai_for": "M", "jai_fan": True, "plan": "pro"})

    assert without_copies(state, frozenset({"jai"})).properties == {"jai_fan": True, "plan": "pro"}
