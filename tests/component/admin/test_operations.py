"""What the emails showed, and what is stored about one person."""

from datetime import timedelta
from typing import Any

import pytest

from shared.admin.errors import Forbidden
from shared.admin.outcomes import number as operations_number
from shared.admin.person import person as operations_person
from shared.admin.queues import quota
from shared.schemas.jobs import hour_of
from tests.component.admin.rig import START, Rig
from tests.support.operations import Facts


async def shown(acme: Rig) -> dict[str, dict[str, int]]:
    """Emails by what they showed and why."""
    found = await acme.run(operations_number.number, {"hours": 24}, "viewer")
    told: dict[str, dict[str, int]] = {}
    for one in found.rows:
        told.setdefault(one.shown, {})[one.because] = one.emails
    return told


async def test_each_generation_is_counted_by_what_its_email_showed(acme: Rig, facts: Facts) -> None:
    await facts.generation("01A", sent_s=130)
    await facts.generation("01B", decision="control", decided="control_split", outcome="nothing_to_clear")
    await facts.generation("01C", decision="control", decided="field_missing", outcome="nothing_to_clear")
    await facts.generation("01D", outcome="expired", reason="quota")
    await facts.generation("01E", outcome="stopped", reason="in_flight")
    await facts.generation("01F", outcome="written", reason="answered_late", written_s=121)
    await facts.generation("01G", outcome="superseded")
    await facts.generation("01H", outcome=None, ago_s=60)
    await facts.generation("01I", outcome=None, ago_s=600)
    await facts.generation("01J", decision="preview", decided="preview")

    assert await shown(acme) == {
        "right": {"written": 1},
        "control_planned": {"control_split": 1, "in_flight": 1},
        "control_missed": {"field_missing": 1, "quota": 1, "not_settled": 1},
        "unsure": {"answered_late": 1},
        "replaced": {"superseded": 1},
        "pending": {"": 1},
    }


async def test_an_email_that_left_before_its_write_did_not_show_it(acme: Rig, facts: Facts) -> None:
    await facts.generation("01A", written_s=200, sent_s=130)
    await facts.generation("01B", written_s=100, sent_s=130)
    await facts.generation("01C", written_s=200, sent_s=300, reason="answered_late")

    assert await shown(acme) == {"control_missed": {"email_left_first": 1}, "right": {"written": 2}}


async def test_a_write_that_failed_over_older_copy_is_a_fault(acme: Rig, facts: Facts) -> None:
    await facts.generation("01STALE", ago_s=3600)
    await facts.generation("01STALE", outcome="expired", reason="quota")
    await facts.generation("01CLEARED", ago_s=3600)
    await facts.generation("01CLEARED", ago_s=1800, decision="control", decided="control_split", outcome="cleared")
    await facts.generation("01CLEARED", outcome="expired", reason="quota")
    await facts.generation("01OVER", ago_s=3600, clean_s=1800)
    await facts.generation("01OVER", outcome="expired", reason="quota")
    await facts.generation("01OTHER", ago_s=3600, template_id="winback")
    await facts.generation("01OTHER", outcome="expired", reason="quota")

    told = await shown(acme)

    assert (told["stale"], told["control_missed"]) == ({"quota": 1}, {"quota": 3})


async def test_a_reason_says_what_it_means_and_what_helps(acme: Rig, facts: Facts) -> None:
    await facts.generation("01A", outcome="expired", reason="quota")
    await facts.generation("01B", sent_s=1)

    found = await acme.run(operations_number.number, {"hours": 1})

    by_reason = {one.because: one for one in found.rows}
    assert "could not carry all in time" in by_reason["quota"].means
    assert by_reason["email_left_first"].do == "a longer delay between webhook and email"
    assert (found.meant, found.right_share, found.seen) == (2, 0.0, 1)


async def stored(facts: Facts) -> None:
    """One person of whom there is everything, and another."""
    await facts.account()
    for person in ("01PERSON", "01OTHER"):
        generation_id = await facts.generation(person, sent_s=130)
        await facts.event(person, "Opened Email", of=generation_id)
        await facts.event(person, "Placed Order")
        await facts.execute(
            "INSERT INTO conversions (org_id, template_id, event_id, order_event_id, transmission_id, at) "
            "VALUES ($1, 'welcome', $2, $2, 'T' || $3::uuid, $4)", facts.org_id, person, generation_id, START,
        )  # fmt: skip
        await facts.execute(
            "INSERT INTO generation_aliases SELECT gen_random_uuid(), org_id, generation_id, day, accepted_at "
            "FROM generations WHERE generation_id = $1", generation_id,
        )  # fmt: skip
        await facts.execute(
            "INSERT INTO last_copies VALUES ($1, 'welcome', $2, gen_random_uuid(), $3)", facts.org_id, person, START
        )
        await facts.profile(person)
        await facts.profile(person, "win", state="clean")
    await facts.exported(hour_of(START - timedelta(seconds=600)))
    await facts.exported(hour_of(START) - timedelta(hours=5))


async def test_a_person_is_deleted_everywhere_and_nobody_else_is(acme: Rig, facts: Facts) -> None:
    await stored(facts)
    await facts.execute(
        "INSERT INTO event_repeats SELECT org_id, day, event_id, gen_random_uuid(), 1 FROM events"
    )  # fmt: skip

    held = await acme.run(operations_person.show, {"user_id": "01PERSON"}, "editor")
    done = await acme.run(operations_person.delete, {"user_id": "01PERSON"})
    left = await acme.run(operations_person.show, {"user_id": "01PERSON"})
    other = await acme.run(operations_person.show, {"user_id": "01OTHER"})

    counts = ("generations", "sends", "events", "conversions", "last_copies")
    assert [getattr(held, name) for name in (*counts, "export_hours", "on_profile")] == [1, 1, 2, 1, 1, 1, 1]
    assert [getattr(done, name) for name in (*counts, "export_hours", "clean_ups")] == [1, 1, 2, 1, 1, 1, 1]
    assert [getattr(left, name) for name in counts] == [0, 0, 0, 0, 0]
    assert [getattr(other, name) for name in (*counts, "on_profile")] == [1, 1, 2, 1, 1, 1]
    assert len(await acme.rows("SELECT 1 FROM generation_aliases")) == 1
    repeated = await acme.rows("SELECT e.profile_id FROM event_repeats r LEFT JOIN events e USING (event_id, day)")
    assert {row["profile_id"] for row in repeated} == {"01OTHER"}


async def test_the_profile_of_who_is_deleted_is_cleaned_now_and_their_hours_are_exported_again(
    acme: Rig, facts: Facts
) -> None:
    await stored(facts)

    await acme.run(operations_person.delete, {"user_id": "01PERSON"})

    states = await acme.rows("SELECT profile_id, prefix, clean_at <= $1 AS due FROM profile_state ORDER BY 1, 2", START)
    assert [tuple(one.values()) for one in states] == [
        ("01OTHER", "jai", False), ("01OTHER", "win", False), ("01PERSON", "jai", True),
    ]  # fmt: skip
    hours = await acme.rows("SELECT reason, state, due_at FROM export_hours WHERE dirty_seq > exported_seq")
    assert hours == [{"reason": "person_deleted", "state": "pending", "due_at": START}]


async def test_a_deletion_may_be_repeated_and_stands_in_the_log_without_the_id(acme: Rig, facts: Facts) -> None:
    await facts.generation("01PERSON")

    first = await acme.run(operations_person.delete, {"user_id": "01PERSON"})
    second = await acme.run(operations_person.delete, {"user_id": "01PERSON"})

    entries = await acme.rows("SELECT operation, target, asked, results FROM audit_log")
    assert (first.nothing_was_there, second.nothing_was_there, first.proof) == (False, True, second.proof)
    assert [entry["results"] for entry in entries] == [{"proof": str(first.proof)}] * 2
    assert "01PERSON" not in str(entries)


async def test_only_an_owner_deletes_and_only_in_their_org(acme: Rig, facts: Facts) -> None:
    await facts.generation("01PERSON")
    other = await acme.other()

    with pytest.raises(Forbidden):
        await acme.run(operations_person.delete, {"user_id": "01PERSON"}, "editor")
    elsewhere: Any = await other.run(operations_person.delete, {"user_id": "01PERSON"})

    assert elsewhere.nothing_was_there
    assert (await acme.run(operations_person.show, {"user_id": "01PERSON"})).generations == 1


async def test_the_last_hour_tells_misses_of_its_webhooks_and_how_long_writes_took(acme: Rig, facts: Facts) -> None:
    await facts.account()
    for number in range(99):
        await facts.generation(f"01P{number}", ago_s=30 * number, written_s=2)
    await facts.generation("01SLOW", ago_s=1800, written_s=90)
    await facts.generation("01LATE", outcome="expired", reason="quota")
    await facts.generation("01LOOKED", decision="written_preview", decided="preview", outcome="expired", reason="quota")
    await facts.generation("01BEFORE", ago_s=2 * 3600, written_s=3000)
    await facts.generation("01GONE", ago_s=2 * 3600, outcome="expired", reason="outage")

    [account] = (await acme.run(quota.show, {"hours": 1})).accounts

    assert account.missed == {"quota": 1}
    assert account.written_p99_s is not None
    assert 2 < account.written_p99_s < 90
