"""Right is what showed the copy that was decided: not what was taken off, written over or given way to before."""

from datetime import timedelta

from services.ingest.counting.shown import StoredShownCounts
from shared.admin.outcomes import number as operations_number
from tests.component.admin.rig import START, Rig
from tests.component.admin.shown import INSERT_TEMPLATE, assert_exact, assert_examples, count
from tests.support.operations import Facts


async def number_of(rig: Rig, counts: StoredShownCounts) -> dict[tuple[str, str, str], int]:
    """Emails by template, what they showed and why; the same counted, from the facts and in plain SQL."""
    await assert_exact(rig, 24)
    live = await rig.run(operations_number.number, {"hours": 24}, "viewer")
    await count(rig, counts)
    counted = await rig.run(operations_number.number, {"hours": 24}, "viewer")
    await assert_exact(rig, 24)
    assert counted.rows == live.rows
    await assert_examples(rig, 24)
    return {(one.template_id, one.shown, one.because): one.emails for one in counted.rows}


async def test_an_email_that_left_after_its_send_window_is_not_known_to_be_right(
    acme: Rig, counts: StoredShownCounts, facts: Facts
) -> None:
    await facts.generation("01LATE", ago_s=7200, clean_s=1020, sent_s=1021)
    await facts.generation("01INTIME", ago_s=7200, clean_s=1020, sent_s=1020)

    assert await number_of(acme, counts) == {
        ("welcome", "unsure", "email_left_late"): 1, ("welcome", "right", "written"): 1,
    }  # fmt: skip


async def test_an_email_is_only_said_to_show_older_copy_where_it_left_soon_after_its_write_failed(
    acme: Rig, counts: StoredShownCounts, facts: Facts
) -> None:
    """The older copy is taken off once the write has ended; a flow may wait for days after the least that it takes."""
    hour_s, week_s = 3600.0, 7 * 86_400.0
    await acme.rows(INSERT_TEMPLATE, acme.org_id, "welcome", 900, START)
    for person, sent_s, latest_s in (
        ("01LATER", 18 * hour_s, week_s), ("01SOON", 130.0, week_s), ("01TOCOME", None, 21 * hour_s),
        ("01NEVER", None, 2 * hour_s), ("01PLAIN", None, 120.0),
    ):  # fmt: skip
        await facts.generation(person, ago_s=22 * hour_s, clean_s=week_s)
        await facts.generation(
            person, ago_s=20 * hour_s, outcome="expired", reason="quota", written_s=118, sent_s=sent_s,
            clean_s=latest_s + 900,
        )  # fmt: skip
    await facts.generation("01REJECTED", ago_s=22 * hour_s, clean_s=week_s)
    await facts.generation(
        "01REJECTED", ago_s=20 * hour_s, outcome="rejected", reason="body_too_large", delay_s=2 * hour_s,
        clean_s=2 * hour_s + 900,
    )  # fmt: skip

    before = await number_of(acme, counts)
    acme.clock.at += timedelta(seconds=hour_s)
    assert await count(acme, counts) == 1
    after = await number_of(acme, counts)

    told = {
        ("welcome", "right", "written"): 6, ("welcome", "stale", "quota"): 2, ("welcome", "unsure", "quota"): 2,
        ("welcome", "unsure", "body_too_large"): 1, ("welcome", "pending", "quota"): 1,
    }  # fmt: skip
    assert before == told
    del told["welcome", "pending", "quota"]
    assert after == {**told, ("welcome", "unsure", "quota"): 3}


async def test_a_write_is_pending_as_long_as_its_flow_may_send_the_email(
    acme: Rig, counts: StoredShownCounts, facts: Facts
) -> None:
    await acme.rows(INSERT_TEMPLATE, acme.org_id, "welcome", 900, START)
    await facts.generation("01LATER", ago_s=7200, outcome=None, clean_s=3 * 3600 + 900)
    await facts.generation("01PLAIN", ago_s=7200, outcome=None, clean_s=120 + 900)
    await facts.generation("01SEEN", ago_s=7200, written_s=1800, reason="answered_late", sent_s=2000)
    await facts.generation("01LEFT", ago_s=7200, written_s=1800, reason="answered_late", sent_s=1700)
    await facts.generation("01UNSEEN", ago_s=7200, written_s=1800, reason="answered_late")
    ended = {
        ("welcome", "control_missed", "not_settled"): 1, ("welcome", "right", "written"): 1,
        ("welcome", "control_missed", "email_left_first"): 1, ("welcome", "unsure", "answered_late"): 1,
    }  # fmt: skip

    assert await number_of(acme, counts) == {**ended, ("welcome", "pending", ""): 1}
    acme.clock.at += timedelta(seconds=3600)
    assert await count(acme, counts) == 1
    assert await number_of(acme, counts) == {**ended, ("welcome", "control_missed", "not_settled"): 2}


async def test_copy_that_another_message_wrote_over_before_its_email_left_did_not_show(
    acme: Rig, counts: StoredShownCounts, facts: Facts
) -> None:
    for person, sent_s in (("01SEEN", 130.0), ("01UNSEEN", None)):
        await facts.generation(person, ago_s=7200, sent_s=sent_s)
        await facts.generation(person, ago_s=7170, template_id="winback")
    await facts.generation("01BEFORE", ago_s=7200, sent_s=130)  # its email left before the other one came
    await facts.generation("01BEFORE", ago_s=7000, template_id="winback")
    await facts.generation("01MISSED", ago_s=7200, sent_s=130)
    await facts.generation("01MISSED", ago_s=7170, template_id="winback", outcome="expired", reason="quota")
    await facts.generation("01SAME", ago_s=7200)
    await facts.generation("01SAME", ago_s=7170)
    await facts.generation("01BACK", ago_s=7200)
    await facts.generation("01BACK", ago_s=7170, template_id="winback", sent_s=130)
    await facts.generation("01BACK", ago_s=7160)

    assert await number_of(acme, counts) == {
        ("welcome", "control_missed", "overwritten"): 2,
        ("welcome", "right", "written"): 6,
        ("winback", "right", "written"): 3,
        ("winback", "control_missed", "overwritten"): 1,
        ("winback", "control_missed", "quota"): 1,
    }


async def test_what_gave_way_is_replaced_by_its_own_message_alone(
    acme: Rig, counts: StoredShownCounts, facts: Facts
) -> None:
    await facts.generation("01OTHER", ago_s=7200, outcome="superseded", written_s=31)
    await facts.generation("01OTHER", ago_s=7170, template_id="winback")
    await facts.generation("01SAME", ago_s=7200, outcome="superseded", written_s=31)
    await facts.generation("01SAME", ago_s=7170)
    await facts.generation("01TOCOME", ago_s=60, outcome="superseded", written_s=31)
    await facts.generation("01TOCOME", ago_s=30, template_id="winback")

    assert await number_of(acme, counts) == {
        ("welcome", "control_missed", "overwritten"): 1,
        ("welcome", "replaced", "superseded"): 1,
        ("welcome", "pending", ""): 1,
        ("welcome", "right", "written"): 1,
        ("winback", "right", "written"): 2,
    }
