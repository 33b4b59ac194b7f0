"""The life of a variant: who may do what, what is served meanwhile, and what importing a file does."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.content.lifecycle import Action, Event, Move, NotAllowed, Standing, Written, about, act, touched, write

DRAFT = Standing("draft", 1)
LIVE = Standing("approved", 1)
WROTE = [Event(1, "written", "Ann")]


def done(
    action: Action, now: Standing, history: list[Event] | None = None, *, actor: str = "Bob", review: bool = False
) -> Move:
    return act(action, now, WROTE if history is None else history, actor=actor, review_required=review)


def refused(
    action: Action, now: Standing, history: list[Event] | None = None, *, actor: str = "Bob", review: bool = False
) -> str:
    with pytest.raises(NotAllowed) as caught:
        done(action, now, history, actor=actor, review=review)
    return str(caught.value)


def test_a_draft_goes_through_check_review_and_approval() -> None:
    checked = done("check", DRAFT).standing
    submitted = done("submit", checked, actor="Ann").standing
    approved = done("approve", submitted, review=True).standing

    assert [one.shown(served=False) for one in (DRAFT, checked, submitted, approved)] == [
        "draft", "checked", "in review", "approved",
    ]  # fmt: skip
    assert approved.shown(served=True) == "live"
    assert done("archive", approved).standing.shown(served=True) == "archived"


def test_where_reviews_are_required_nobody_approves_what_they_wrote_or_submitted() -> None:
    review = Standing("draft", 1, 1, "in_review")
    history = [*WROTE, Event(1, "submitted", "Cy")]

    assert "somebody else: ann " in refused("approve", review, history, actor="ann ", review=True)
    assert "somebody else: Cy" in refused("approve", review, history, actor="Cy", review=True)
    assert "submit it first" in refused("approve", DRAFT, review=True)
    assert done("approve", review, history, actor="Bob", review=True).standing == LIVE
    assert done("approve", DRAFT, actor="Ann").standing == LIVE


def test_the_author_of_another_version_may_review_this_one() -> None:
    now = Standing("approved", 1, 2, "in_review")

    assert done("approve", now, [*WROTE, Event(2, "written", "Bob")], actor="Ann", review=True).version == 2


def test_while_a_version_is_in_review_the_old_one_stays_served_and_a_rejection_keeps_it() -> None:
    now = Standing("approved", 1, 2, "in_review")

    rejected = done("reject", now).standing

    assert now.shown(served=True) == "live; version 2 in review"
    assert rejected == Standing("approved", 1, 2, "draft")


def test_a_rollback_goes_one_step_back_and_a_second_one_undoes_it() -> None:
    history = [Event(1, "approved", "Ann"), Event(2, "approved", "Ann"), Event(3, "approved", "Ann")]

    back = done("rollback", Standing("approved", 3), history)
    again = done("rollback", back.standing, [*history, Event(2, "rolled_back", "Ann")])

    assert (back.standing.version, again.standing.version) == (2, 3)
    assert refused("rollback", LIVE, [Event(1, "approved", "Ann")]) == "No other version was ever approved."


@pytest.mark.parametrize("action", get_args(Action))
def test_an_approval_is_about_what_waits_and_a_rollback_about_what_is_served(action: Action) -> None:
    about_served = action in ("rollback", "resume", "archive")

    assert about(action, Standing("approved", 1, 2, "in_review")) == (1 if about_served else 2)
    assert about(action, LIVE) == (1 if about_served else None)
    assert about(action, Standing("draft", 1, 2, "draft")) == 2  # nothing is served: what is looked at is what waits


@pytest.mark.parametrize(
    ("action", "now", "said"),
    [
        ("approve", LIVE, "no newer version"),
        ("submit", LIVE, "no newer version"),
        ("submit", Standing("draft", 1, 1, "in_review"), "approve or reject it"),
        ("check", Standing("draft", 1, 1, "in_review"), "approve or reject it"),
        ("reject", DRAFT, "not in review"),
        ("rollback", DRAFT, "not approved"),
        ("archive", Standing("archived", 1), "archived already"),
    ],
)
def test_what_makes_no_sense_now_is_refused_with_what_does(action: Action, now: Standing, said: str) -> None:
    assert said in refused(action, now)


def test_an_archived_variant_comes_back_through_review() -> None:
    submitted = done("submit", Standing("archived", 2)).standing

    assert submitted.shown(served=True) == "archived; version 2 in review"
    assert done("approve", submitted, [], review=True).standing == Standing("approved", 2)


def imported(
    now: Standing, same_as: int | None, *, approved: bool | None, review: bool, newest: int = 1
) -> tuple[Standing, list[str]]:
    moves = write(now, Written(same_as, newest, approved), review_required=review)
    return (moves[-1].standing if moves else now), [move.event for move in moves]


@pytest.mark.parametrize(
    ("now", "same_as", "approved", "then", "events"),
    [
        (DRAFT, 1, None, DRAFT, []),
        (DRAFT, 1, True, LIVE, ["approved"]),
        (LIVE, 1, True, LIVE, []),
        (LIVE, None, True, Standing("approved", 2), ["written", "approved"]),
        (LIVE, None, None, Standing("draft", 2), ["written", "withdrawn"]),
        (LIVE, 1, False, DRAFT, ["withdrawn"]),
        (Standing("archived", 1), 1, None, DRAFT, ["restored"]),
        (Standing("draft", 1, 1, "checked"), 1, None, Standing("draft", 1, 1, "checked"), []),
        (DRAFT, None, None, Standing("draft", 2), ["written"]),
    ],
)  # fmt: skip
def test_without_reviews_a_file_is_the_truth(
    now: Standing, same_as: int | None, approved: bool | None, then: Standing, events: list[str]
) -> None:
    assert imported(now, same_as, approved=approved, review=False) == (then, events)


@pytest.mark.parametrize(
    ("now", "same_as", "approved", "then", "events"),
    [
        (DRAFT, 1, True, Standing("draft", 1, 1, "in_review"), ["submitted"]),
        (Standing("draft", 1, 1, "in_review"), 1, True, Standing("draft", 1, 1, "in_review"), []),
        (LIVE, 1, True, LIVE, []),
        (LIVE, None, True, Standing("approved", 1, 2, "in_review"), ["written", "submitted"]),
        (LIVE, None, None, Standing("approved", 1, 2, "draft"), ["written"]),
        (LIVE, 1, None, LIVE, []),
        (LIVE, 1, False, Standing("draft", 1, 1, "draft"), ["withdrawn"]),
        (Standing("approved", 1, 2, "in_review"), 1, True, LIVE, ["withdrawn"]),
        (Standing("archived", 1), 1, True, Standing("archived", 1, 1, "in_review"), ["submitted"]),
    ],
)  # fmt: skip
def test_with_reviews_a_file_proposes_and_what_is_approved_stays(
    now: Standing, same_as: int | None, approved: bool | None, then: Standing, events: list[str]
) -> None:
    assert imported(now, same_as, approved=approved, review=True) == (then, events)


standings = st.builds(
    lambda state, version, proposed: Standing(state, version, *(proposed or (None, None))),
    st.sampled_from(["draft", "approved", "archived"]),
    st.integers(1, 3),
    st.none() | st.tuples(st.integers(1, 3), st.sampled_from(["draft", "checked", "in_review"])),
)


@given(
    now=standings,
    same_as=st.none() | st.integers(1, 3),
    approved=st.sampled_from([None, True, False]),
    review=st.booleans(),
)
def test_importing_the_same_file_twice_does_nothing_more(
    now: Standing, same_as: int | None, approved: bool | None, review: bool
) -> None:
    if same_as is not None and same_as not in (now.pending, now.version):
        return  # the reader of files looks at these two alone
    once, _ = imported(now, same_as, approved=approved, review=review, newest=3)
    version = 4 if same_as is None else same_as
    known = next((one for one in (once.pending, once.version) if one == version), None)

    assert known == version
    assert imported(once, known, approved=approved, review=review, newest=4) == (once, [])


@given(now=standings, action=st.sampled_from(get_args(Action)), actor=st.sampled_from(["Ann", "Bob"]))
def test_where_reviews_are_required_only_an_approval_by_another_or_a_rollback_changes_what_is_served(
    now: Standing, action: Action, actor: str
) -> None:
    history = [Event(version, "written", "Ann") for version in (1, 2, 3)]
    try:
        then = act(action, now, history, actor=actor, review_required=True).standing
    except NotAllowed:
        return

    if then.state == "approved" and (now.state, now.version) != (then.state, then.version):
        assert (action, actor, now.proposed_state) == ("approve", "Bob", "in_review")


PAUSED = Standing("paused", 2)


def test_what_is_paused_is_resumed_by_a_person_and_by_no_file_that_says_what_it_has_said() -> None:
    repeated = Written(2, 2, approved=True)

    assert PAUSED.shown(served=True) == "paused"
    assert done("resume", PAUSED) == Move(Standing("approved", 2), "resumed", 2)
    assert "not paused" in refused("resume", LIVE)
    for review in (False, True):
        assert write(PAUSED, repeated, review_required=review) == []
        [withdrawn] = write(PAUSED, Written(2, 2, approved=False), review_required=review)
        assert (withdrawn.event, withdrawn.standing.state) == ("withdrawn", "draft")
    assert write(PAUSED, Written(2, 2, approved=None), review_required=True) == []
    assert write(PAUSED, Written(None, 2, approved=True), review_required=False)[-1].standing == Standing("approved", 3)


def test_a_paused_variant_may_go_back_to_the_version_before_or_into_the_archive() -> None:
    history = [Event(1, "approved", "Ann"), Event(2, "approved", "Ann"), Event(2, "paused", "guardrail")]

    assert done("rollback", PAUSED, history).standing == Standing("approved", 1)
    assert done("archive", PAUSED).standing.state == "archived"
    assert "no newer version" in refused("approve", PAUSED)


REVIEW = Standing("approved", 1, 2, "in_review")
PAUSED_FIRST = Standing("paused", 1)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (REVIEW, LIVE, ["version 2, in review, is withdrawn"]),
        (REVIEW, Standing("draft", 1, 2, "draft"), ["version 2, in review, is withdrawn"]),
        (REVIEW, Standing("approved", 1, 3, "in_review"), ["version 2, in review, is withdrawn"]),
        (REVIEW, Standing("archived", 1), ["version 2, in review, is withdrawn"]),
        (REVIEW, REVIEW, []),
        (REVIEW, Standing("approved", 2), [
            "the changed text is served from the next webhook on, in place of version 1",
        ]),
        (Standing("approved", 1, 2, "draft"), LIVE, ["version 2, a draft, is withdrawn"]),
        (Standing("approved", 1, 2, "draft"), Standing("approved", 1, 3, "in_review"), []),
        (Standing("draft", 1, 1, "in_review"), Standing("draft", 2), ["version 1, in review, is withdrawn"]),
        (Standing("draft", 1, 1, "checked"), Standing("approved", 2), []),
        (LIVE, Standing("draft", 2), []),  # that it is not served any more is told of every variant
        (PAUSED_FIRST, PAUSED_FIRST, []),
        (PAUSED_FIRST, Standing("draft", 1), ["the guardrail's pause ends: it is a draft"]),
        (PAUSED_FIRST, Standing("approved", 2), [
            "the guardrail's pause ends", "the changed text is served from the next webhook on, in place of version 1",
        ]),
        (PAUSED_FIRST, Standing("archived", 1), []),
    ],
)  # fmt: skip
def test_what_a_file_does_beside_what_it_says_is_told(before: Standing, after: Standing, told: list[str]) -> None:
    assert touched(before, after, served=True) == told


def test_what_nobody_is_served_is_not_told_of_as_if_it_were() -> None:
    assert touched(LIVE, Standing("approved", 2), served=False) == []
