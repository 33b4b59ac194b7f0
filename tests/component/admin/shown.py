"""What emails showed: counted, and held against the facts and plain SQL."""

from datetime import timedelta
from typing import Any

from services.ingest.counting.shown import Pace, StoredShownCounts
from shared.admin.outcomes import examples as operations_examples
from shared.admin.outcomes import number as operations_number
from shared.admin.outcomes import outcomes
from shared.admin.outcomes.shown_spans import QUARTER, span_start
from tests.component.admin.rig import Rig
from tests.support import shown_oracle

AT_ONCE = Pace(timedelta(seconds=5), timedelta(0), timedelta(0), timedelta(hours=1))
INSERT_TEMPLATE = """
    INSERT INTO templates (org_id, template_id, name, send_window_s, created_at, updated_at)
    VALUES ($1, $2, $2, $3, $4, $4)
"""


async def count(rig: Rig, counts: StoredShownCounts, most: int = 1000) -> int:
    """As the runner does until nothing is due, or so often. A count takes some time."""
    for done in range(most):
        await counts.take_marks(rig.clock.at)
        rig.clock.at += timedelta(milliseconds=1)
        if not await counts.count_quarter(rig.clock.at):
            return done
    return most


async def assert_exact(rig: Rig, hours: float) -> None:
    since = span_start(rig.clock.at - timedelta(hours=hours), QUARTER)
    number = await rig.run(operations_number.number, {"hours": hours}, "viewer")
    assert number.as_of is None
    told = {(one.template_id, one.shown, one.because, one.emails, one.seen) for one in number.rows}
    assert told == await shown_oracle.shown(rig.database, rig.org_id, since, rig.clock.at)
    unnamed = await rig.run(operations_number.number, {"hours": hours, "most": 0}, "viewer")
    assert {one.template_id for one in unnamed.rows} <= {""}
    assert {(one.shown, one.because): (one.emails, one.seen, one.templates) for one in unnamed.rows} == {
        reason: tuple(sum(column) for column in zip(*((one[3], one[4], 1) for one in ways), strict=True))
        for reason in {(one[1], one[2]) for one in told}
        if (ways := [one for one in told if (one[1], one[2]) == reason])
    }
    await assert_named(rig, hours, told)
    listed = await rig.run(outcomes.list_outcomes, {"hours": hours}, "viewer")
    ended = {(one.template_id, one.decision, one.decided, one.outcome, one.reason, one.generations)
             for one in listed.counts}  # fmt: skip
    assert ended == await shown_oracle.ended(rig.database, rig.org_id, since)


async def assert_named(rig: Rig, hours: float, told: set[tuple[Any, ...]]) -> None:
    """Of each reason the template with most emails by its name, and all others in one row."""
    number = await rig.run(operations_number.number, {"hours": hours, "most": 1}, "viewer")
    expected = set[tuple[Any, ...]]()
    for reason in {one[1:3] for one in told}:
        first, *others = sorted((one for one in told if one[1:3] == reason), key=lambda one: (-one[3], one[0]))
        expected.add((*first, 1))
        if others:
            expected.add(("", *reason, sum(one[3] for one in others), sum(one[4] for one in others), len(others)))
    assert expected == {
        (one.template_id, one.shown, one.because, one.emails, one.seen, one.templates) for one in number.rows
    }


async def assert_examples(rig: Rig, hours: float) -> None:
    """Each way to end is told with all its generations, newest first, and no generation of two ways."""
    number, found = await rig.run(operations_number.number, {"hours": hours}), list[object]()
    for one in number.rows:
        asked = {"because": one.because, "shown": one.shown, "template_id": one.template_id, "hours": hours}
        told = (await rig.run(operations_examples.examples, {**asked, "limit": 100})).examples
        few = (await rig.run(operations_examples.examples, {**asked, "limit": 2})).examples
        assert len(told) == one.emails
        assert {(each.template_id, each.shown) for each in told} == {(one.template_id, one.shown)}
        assert [each.accepted_at for each in told] == sorted((each.accepted_at for each in told), reverse=True)
        assert [each.accepted_at for each in few] == [each.accepted_at for each in told][:2]
        found += [each.generation_id for each in told]
    assert len(found) == len(set(found))
