"""What results suggest, from facts to the suggestions, without a database."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from shared.admin.results.judging import Results, judge_results
from shared.admin.results.store import Asked, Fact, Read
from shared.inference.variants import Draws
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


def judged(known: Read, **more: Any) -> Results:
    return judge_results(known, ASKED, attr=None, control_share=None, worth=0.15, **more)


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
