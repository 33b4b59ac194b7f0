"""People walk through flows: a real webhook receiver, a frozen clock, and the judge's word on every email."""

import json
import uuid
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from simulator.profile import written
from simulator.settings import SimulatorSettings
from tests.contract.simulator_stage import DELAY_S, Stage, add_flow, staged

# --- the way that goes well ------------------------------------------------------------------------------------------


async def test_everyone_whose_copy_came_in_time_sees_it() -> None:
    async with staged(people=5) as stage:
        await stage.enter()
        stage.clock.advance(10)
        await stage.write_all()
        await stage.send()
        result = await stage.outcomes()

    assert (result["messages"], result["real"], result["literal"]) == (5, {"right": 5}, {"right": 5})
    assert result["webhook_to_profile_s"] == {"p50": 10.0, "p99": 10.0, "n": 5}


async def test_the_webhook_carries_headers_and_the_rendered_body() -> None:
    async with staged() as stage:
        await stage.enter()
        ((_, headers, raw),) = stage.gateway.calls

    assert headers["X-Klaviyo-Flow-ID"] == stage.flow["id"]
    assert headers["X-Api-Key"] == "k1"
    assert headers["Content-Type"] == "application/json"
    assert json.loads(raw) == {"user_id": stage.people[0], "name": 'D\'Arcy "Bob"', "plan": ""}


async def test_the_email_leaves_when_the_delay_after_the_answer_is_over() -> None:
    async with staged() as stage:
        await stage.enter()
        started = stage.clock.now()
        stage.clock.advance(DELAY_S - 1)
        assert (await stage.until(lambda progress: True))["sent"] == 0
        await stage.send(1)
        (row,) = (await stage.outcomes())["rows"]

    assert datetime.fromisoformat(row["sent_at"]) == started + timedelta(seconds=DELAY_S)


@pytest.mark.parametrize(
    ("step", "leaves_at"),
    [
        ({"value": 2, "until_time": "09:00"}, "2026-11-24T09:00:00+00:00"),
        ({"value": 1, "unit": "days", "until_time": "09:00"}, "2026-11-24T09:00:00+00:00"),
        ({"value": 0, "unit": "days", "until_time": "09:00"}, "2026-11-24T09:00:00+00:00"),
        ({"value": 0, "until_time": "23:59"}, "2026-11-23T23:59:00+00:00"),
        ({"value": 2, "until_time": "09:00", "until_weekdays": ["monday"]}, "2026-11-30T09:00:00+00:00"),
    ],
)
async def test_a_delay_may_last_until_a_time_of_day_and_a_weekday(step: dict[str, Any], leaves_at: str) -> None:
    async with staged() as stage:
        started = stage.clock.now()
        delay_id = stage.flow["actions"][1]["id"]
        await stage.caller.sim("PATCH", stage.flow_path(f"actions/{delay_id}"), step)
        await stage.enter()
        stage.clock.advance((datetime.fromisoformat(leaves_at) - started).total_seconds() - 1)
        assert (await stage.until(lambda progress: True))["sent"] == 0
        await stage.send(1)
        (row,) = (await stage.outcomes())["rows"]

    assert row["sent_at"] == leaves_at


async def test_people_may_enter_spread_over_time() -> None:
    async with staged(people=4) as stage:
        trigger = {"profile_ids": "all", "spread_s": 40}
        assert (await stage.caller.sim("POST", stage.flow_path("trigger"), trigger))["entered"] == 4
        for entered in range(1, 5):
            progress = await stage.until(partial(_accepted, entered))
            assert progress["webhooks"].get("accepted") == len(stage.gateway.calls) == entered
            stage.clock.advance(10)


def _accepted(count: int, progress: dict[str, Any]) -> bool:
    return bool(progress["webhooks"].get("accepted") == count)


async def test_thousands_enter_at_once_and_only_so_many_webhooks_are_in_flight() -> None:
    async with staged(people=2000, settings=SimulatorSettings(webhook_concurrency=20)) as stage:
        stage.gateway.works_s = 0.001
        await stage.enter()
        await stage.send()
        result = await stage.outcomes()

    assert result["messages"] == 2000
    assert len(stage.gateway.calls) == 2000
    assert 1 < stage.gateway.busiest <= 20


# --- what goes wrong -------------------------------------------------------------------------------------------------


async def test_a_late_write_shows_control_and_a_blank_literal() -> None:
    async with staged() as stage:
        await stage.enter()
        await stage.send()
        stage.clock.advance(1)
        await stage.write_all()
        result = await stage.outcomes()

    assert result["real_reasons"] == {"control_missed: write_late": 1}
    assert result["literal"] == {"blank": 1}


async def test_a_write_that_never_comes_is_missing() -> None:
    async with staged() as stage:
        await stage.enter()
        await stage.send()

        assert (await stage.outcomes())["real_reasons"] == {"control_missed: write_missing": 1}


async def test_a_busy_box_never_makes_a_late_write_punctual() -> None:
    async with staged() as stage:
        await stage.enter()
        profile_id = stage.people[0]
        person = stage.account.profiles[profile_id]
        stage.clock.advance(DELAY_S + 30)
        # Before the flow gets its turn a write arrives, half a minute after the email was due.
        copy = {"jai_subject": "Hi", "jai_body": "<p>x</p>", "jai_generation": stage.gateway.generations[profile_id]}
        state = written(person.state, {"properties": copy}, {}, keep_nulls=False)
        stage.account.write(person, state, copy, stage.clock.now())
        await stage.send(1)

        assert (await stage.outcomes())["real_reasons"] == {"control_missed: write_late": 1}


async def test_planned_control_is_told_apart_from_missed_copy() -> None:
    async with staged(people=2) as stage:
        await stage.enter()
        await stage.send()
        planned = stage.gateway.generations[stage.people[0]]
        await stage.caller.sim("POST", "/decisions", {"decisions": {planned: "control"}})

        assert (await stage.outcomes())["real"] == {"control_planned": 1, "control_missed": 1}


# --- people who come back, and other messages ------------------------------------------------------------------------


async def test_a_failed_second_run_shows_stale_copy_unless_it_was_cleaned() -> None:
    async with staged(people=2) as stage:
        await stage.enter()
        await stage.write_all("First")
        await stage.send()
        cleaned = stage.people[1]
        await stage.clean(cleaned)
        stage.gateway.statuses = [422]
        await stage.enter()
        await stage.send()
        rows = (await stage.outcomes())["rows"][2:]

    seen = {row["profile_id"]: (row["outcome"], row["literal_outcome"]) for row in rows}
    assert seen[stage.people[0]] == ("stale", "stale")
    assert seen[cleaned] == ("control_missed", "blank")


async def test_a_second_run_shows_the_newest_copy() -> None:
    async with staged() as stage:
        for subject in ("First", "Second"):
            await stage.enter()
            await stage.write_all(subject)
            await stage.send()
        result = await stage.outcomes()

    assert result["real"] == {"right": 2}
    assert [row["subject"] for row in result["rows"]] == ["First", "Second"]


async def test_a_duplicate_answer_that_names_the_same_generation_is_not_stale() -> None:
    async with staged() as stage:
        stage.gateway.generation_id = str(uuid.uuid4())
        await stage.enter()
        await stage.write_all()
        await stage.send()
        await stage.enter()
        await stage.send()

        assert (await stage.outcomes())["real"] == {"right": 2}


async def test_two_flows_with_one_set_of_properties_show_each_others_copy_in_the_literal_snippet() -> None:
    async with staged() as stage:
        other = Stage(
            stage.caller, stage.account, stage.clock, stage.gateway,
            await add_flow(stage.caller, stage.account, stage.gateway), stage.people,
        )  # fmt: skip
        await stage.enter()
        await stage.write_all("Ours")
        await other.enter()
        await other.write_all("Theirs")
        await stage.send()
        await other.send(0.1)
        ours, theirs = await stage.outcomes(), await other.outcomes()

    assert theirs["real"] == theirs["literal"] == {"right": 1}
    assert ours["real_reasons"] == {"control_missed: superseded": 1}
    assert ours["literal"] == {"foreign": 1}


async def test_a_template_with_an_unknown_tag_is_broken() -> None:
    async with staged() as stage:
        path = f"/accounts/{stage.account.id}/flows/{stage.flow['id']}/actions/{stage.email['id']}"
        await stage.caller.sim("PATCH", path, {"html": "<p>{% now 'Y' %}</p>"})
        await stage.enter()
        await stage.send()
        result = await stage.outcomes()

    assert result["real"] == {"broken": 1}
    assert result["rows"][0]["reason"].startswith("render failed")


async def test_nobody_is_let_in_twice_or_into_a_draft() -> None:
    async with staged(people=2) as stage:
        await stage.enter(stage.people[:1])
        again = await stage.enter()
        await stage.caller.sim("PATCH", stage.flow_path("").rstrip("/"), {"status": "draft"})
        drafted = await stage.enter(["nobody", stage.people[0]])

    assert (again["entered"], again["refused"]) == (1, {stage.people[0]: "already_inside"})
    assert drafted["refused"] == dict.fromkeys(["nobody", stage.people[0]], "flow_not_live")


async def test_a_person_who_is_gone_gets_no_email() -> None:
    async with staged(people=2) as stage:
        await stage.enter()
        await stage.caller.sim("POST", f"/accounts/{stage.account.id}/profiles/{stage.people[0]}/merge", {})
        await stage.send()

        assert (await stage.outcomes())["messages"] == 1


# --- what people do then ---------------------------------------------------------------------------------------------


def read(path: str) -> bytes:
    return Path(path).read_bytes()


async def test_emails_leave_events_that_the_api_shows_and_the_export_drops(tmp_path: Path) -> None:
    async with staged(people=50) as stage:
        rates = {"bounce": 0, "late": 0, "duplicate": 0, "campaign_noise": 0, "open": 1}
        await stage.caller.sim("PUT", f"/accounts/{stage.account.id}/behaviour", rates)
        await stage.enter()
        await stage.write_all("Boots")
        await stage.send()
        stage.clock.advance(86_400)
        metric = stage.account.metric_named("Received Email").id
        page = await stage.caller.api(
            "GET", f"/api/events?filter=equals(metric_id,%22{metric}%22)&include=metric,profile"
        )
        export = {"folder": str(tmp_path), "layout": "nested", "format": "jsonl"}
        dropped = await stage.caller.sim("POST", f"/accounts/{stage.account.id}/export", export)
        sends = {row["transmission_id"]: row for row in (await stage.outcomes())["rows"]}

    assert len(page.json["data"]) == 50
    assert {it["type"] for it in page.json["included"]} == {"metric", "profile"}
    rows = [json.loads(line) for line in read(dropped["path"]).splitlines()]
    assert len(rows) == dropped["rows"] == dropped["events"]
    received = [row for row in rows if row["metric"] == "Received Email"]
    assert {row["event_properties"]["$internal"]["Transmission ID"] for row in received} == set(sends)
    for row in received:
        assert row["event_properties"]["$message"] == stage.email["message_id"]
        assert row["event_properties"]["$flow"] == stage.flow["id"]
        assert row["event_properties"]["Subject"] == "Boots"
        assert row["event_properties"]["Campaign Name"] == "Welcome 1"


async def test_a_half_written_export_is_finished_later(tmp_path: Path) -> None:
    async with staged(people=3) as stage:
        await stage.enter()
        await stage.send()
        stage.clock.advance(86_400)
        path = f"/accounts/{stage.account.id}/export"
        half = await stage.caller.sim("POST", path, {"folder": str(tmp_path), "half": True})
        size = len(read(half["path"]))
        done = await stage.caller.sim("POST", f"{path}/finish", {"path": half["path"]})

    assert size == half["bytes"] // 2
    assert len(read(half["path"])) == done["bytes"] == half["bytes"]
