"""The judge is judged: each kind of violation is found, and a clean story has none."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.chaos.oracle import (
    Answer,
    Email,
    Exported,
    Ledgers,
    Stored,
    Violation,
    Write,
    report,
    story,
    violations,
    written_again,
)

T0 = datetime(2026, 11, 23, 10, tzinfo=UTC)


def answer(generation_id: str, person: str = "p1", status: int = 202) -> Answer:
    return Answer("shop", person, f"{person}.F.A", 0.0, 0.01, status, generation_id if status < 300 else None)


def stored(generation_id: str, after_s: float = 0, person: str = "p1", outcome: str | None = "written") -> Stored:
    at = T0 + timedelta(seconds=after_s)
    return Stored(generation_id, "shop", person, f"{person}.F.A", at, "treatment", outcome)


def write(generation_id: str | None, after_s: float = 1, person: str = "p1") -> Write:
    return Write(T0 + timedelta(seconds=after_s), "acc", person, generation_id)


CLEAN = Ledgers(
    [answer("g1", status=503), answer("g1"), answer("g2")],
    [stored("g1"), stored("g2", 5)],
    [write("g1"), write("g1", 2), write("g2", 6), write(None, 60)],
    [Email(T0, "p1", "g1", "right"), Email(T0, "p1", None, "control_missed", "no_webhook")],
    [Exported("g1", "a"), Exported("g2", "a")],
    T0 + timedelta(hours=1),
)


def test_a_clean_story_has_no_violation_whatever_was_repeated() -> None:
    assert violations(CLEAN) == []
    assert written_again(CLEAN) == 1


def test_a_superseded_write_is_no_fault_while_the_newer_one_is_written() -> None:
    ledgers = replace(CLEAN, stored=[stored("g1", outcome="superseded"), stored("g2", 5)], writes=[write("g2", 6)])

    assert violations(ledgers) == []


def test_what_was_accepted_after_the_last_exported_hour_need_not_be_there() -> None:
    assert violations(replace(CLEAN, exports=[], exported_until=T0)) == []
    assert violations(replace(CLEAN, exports=[], exported_until=None)) == []


def test_a_generation_that_was_accepted_again_may_be_written_over_a_younger_one() -> None:
    ledgers = replace(CLEAN, writes=[*CLEAN.writes[:3], write("g1", 8)])
    again = replace(answer("g1"), at=T0 + timedelta(seconds=7))

    assert [one.kind for one in violations(ledgers)] == ["older_over_newer", "not_the_newest"][::-1]
    assert violations(replace(ledgers, answers=[*CLEAN.answers, again])) == []


def test_a_write_may_be_superseded_by_an_older_generation_that_was_accepted_again() -> None:
    rows = [stored("g1"), stored("g2", 5, outcome="superseded")]
    ledgers = replace(CLEAN, stored=rows, writes=[write("g1", 8)])
    again = replace(answer("g1"), at=T0 + timedelta(seconds=7))

    assert [one.kind for one in violations(ledgers)] == ["superseded_by_nothing"]
    assert violations(replace(ledgers, answers=[*CLEAN.answers, again])) == []


def test_an_alias_names_the_stored_generation() -> None:
    ledgers = replace(CLEAN, answers=[*CLEAN.answers, answer("g1b")], aliases={"g1b": "g1"})

    assert violations(ledgers) == []


@pytest.mark.parametrize(
    ("ledgers", "wrong"),
    [
        (replace(CLEAN, answers=[*CLEAN.answers, answer("g9")]), [("lost", "g9")]),
        (replace(CLEAN, answers=[one for one in CLEAN.answers if one.profile_id != "p1"]),
         [("unasked", "g1"), ("unasked", "g2")]),
        (replace(CLEAN, stored=[stored("g1"), stored("g2", 5, outcome=None)]), [("unfinished", "g2")]),
        (replace(CLEAN, stored=[stored("g1", outcome="expired"), stored("g2", 5)]), [("missed", "g1")]),
        (replace(CLEAN, stored=[stored("g1"), stored("g2", 5, outcome="superseded")], writes=[write("g1")]),
         [("superseded_by_nothing", "g2")]),
        (replace(CLEAN, writes=[write("g2", 6)]), [("unwritten", "g1")]),
        (replace(CLEAN, writes=[write("g1"), write("g2", 6), write("g8", 7)]), [("unknown_write", "g8")]),
        (replace(CLEAN, writes=[write("g1"), write("g2", 6), write("g1", 7), write("g2", 8)]),
         [("older_over_newer", "g1")]),
        (replace(CLEAN, writes=[write("g2", 1), write("g1", 6)]),
         [("not_the_newest", "g2"), ("older_over_newer", "g1")]),
        (replace(CLEAN, exports=[Exported("g1", "a")]), [("not_exported", "g2")]),
        (replace(CLEAN, exports=[*CLEAN.exports, Exported("g1", "b")]), [("exported_twice", "g1")]),
        (replace(CLEAN, exports=[*CLEAN.exports, Exported("g7", "b")]), [("exported_unknown", "g7")]),
        (replace(CLEAN, emails=[Email(T0, "p1", "g2", "stale")]), [("wrong_email", "g2")]),
        (replace(CLEAN, emails=[Email(T0, "p1", "g2", "control_missed", "cleared")]), [("missed_email", "g2")]),
    ],
    ids=lambda value: value[0][0] if isinstance(value, list) else "",
)  # fmt: skip
def test_each_kind_of_violation_is_found_and_names_its_generation(
    ledgers: Ledgers, wrong: Sequence[tuple[str, str]]
) -> None:
    assert sorted((one.kind, one.generation_id) for one in violations(ledgers)) == sorted(wrong)


def test_a_story_is_told_from_all_four_ledgers() -> None:
    told = story(CLEAN, "g1")

    assert [told.count(word) for word in ("  client", "  stored", "  box took", "  emails", "  exported")] == [
        3, 2, 4, 2, 1
    ]  # fmt: skip


def test_a_report_counts_the_kinds_and_tells_the_first_stories() -> None:
    told = report(CLEAN, [Violation("lost", "g1", "accepted with 202"), Violation("lost", "g5")], stories=1)

    assert told.startswith("2 violations: {'lost': 2}\nlost accepted with 202\ngeneration g1\n")
    assert "g5" not in told
