"""Flows are read again by themselves: a real database, and the account in a box as Klaviyo."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.ingest.reconciling.flows import MOST_FLOWS
from simulator.account import Account
from simulator.admin.bodies import ActionPatch, DelayBody, EmailBody, FlowBody, WebhookBody
from simulator.admin.build import build_flow, change_action
from simulator.flow.definitions import Flow
from tests.component.ingest.boxed import Boxed, boxed
from tests.component.ingest.given import SENT, Mail
from tests.component.ingest.rig import Rig
from tests.component.ingest.test_unmatched import COPY, SENDS, load, look

HOUR_S = 3600
WEBHOOK = WebhookBody(type="send-webhook", url="https://copy.example/api/generate/shop", body="{}")
DELAY = DelayBody(type="time-delay", value=2)
EMAIL = EmailBody(type="send-email", subject="s", html="h")


@pytest.fixture
async def box(rig: Rig) -> AsyncIterator[Boxed]:
    async with boxed(rig) as made:
        yield made


async def placed(box: Boxed, *, account: Account | None = None, emails: int = 1) -> Flow:
    """A flow with our webhook, and a template that names its first email; nobody has read it yet."""
    steps = [WEBHOOK, DELAY, *[EMAIL] * emails]
    flow = build_flow(box.world, account or box.account, FlowBody(name="Welcome", actions=steps))
    await box.rig.run(
        "INSERT INTO templates (org_id, template_id, name, state, flow_id, treatment_action_id, created_at, updated_at)"
        " VALUES ($1, $2, 'Welcome', 'active', $2, $3, $4, $4)",
        box.rig.org_id, flow.id, flow.actions[2].id, SENT,
    )  # fmt: skip
    return flow


async def add_org(box: Boxed, flow_id: str) -> UUID:
    """Another org on the box's account, with a template in this flow."""
    other = uuid4()
    await box.rig.run("INSERT INTO orgs VALUES ($1, 'other', 'other', $2)", other, SENT)
    await box.connect(other, box.world.add_key(box.account, {"flows:read"}))
    await box.rig.run("INSERT INTO templates (org_id, template_id, name, flow_id, created_at, updated_at)"
                      " VALUES ($1, 't', 'T', $3, $2, $2)", other, SENT, flow_id)  # fmt: skip
    return other


async def known(box: Boxed) -> list[dict[str, Any]]:
    return await box.rig.rows(
        "SELECT flow_id, flow_status, delay_s, latest_s, open_ended, delay_changed_at FROM flow_messages"
    )


async def told(box: Boxed) -> dict[str, Any]:
    return await box.rig.one("SELECT * FROM klaviyo_reads WHERE kind = 'flows'")


async def test_a_delay_that_was_changed_counts_within_the_hour(box: Boxed) -> None:
    flow, watch = await placed(box), box.flow_watch()
    assert await watch.read_one() is True
    [before] = await known(box)
    assert await watch.read_one() is False

    change_action(box.world, flow.actions[1], ActionPatch(value=1, unit="hours"))
    box.rig.clock.advance(HOUR_S)
    assert await watch.read_one() is True

    [after] = await known(box)
    assert (before["delay_s"], before["latest_s"], before["delay_changed_at"]) == (120, 120, None)
    assert (after["delay_s"], after["latest_s"]) == (3600, 3600)
    assert after["delay_changed_at"] is not None
    box.rig.clock.advance(HOUR_S)
    await watch.read_one()
    assert await known(box) == [after]


async def test_emails_that_still_wait_by_a_delay_that_was_made_shorter_find_their_generation(
    box: Boxed, folder: Path
) -> None:
    flow, watch = await placed(box), box.flow_watch()
    change_action(box.world, flow.actions[1], ActionPatch(value=7, unit="days"))
    await watch.read_one()
    for person in ("P1", "P2"):
        await box.rig.add_generation(
            person, copy_id=COPY, written_for=f"{flow.id}.{flow.id}.{flow.actions[2].id}",
            accepted_at=SENT - timedelta(days=6), delay=timedelta(days=7),
        )  # fmt: skip
    change_action(box.world, flow.actions[1], ActionPatch(value=1, unit="hours"))
    box.rig.clock.advance(HOUR_S)
    await watch.read_one()

    assert flow.actions[2].message
    mails = [Mail(f"T{n}", f"P{n}", flow.actions[2].message.id, flow.id) for n in (1, 2)]
    await load(box.rig, folder, mails[0].received(), name="1.csv")
    await box.rig.run("UPDATE flow_messages SET former_until = $1", SENT - timedelta(days=3))  # all have left
    await load(box.rig, folder, mails[1].received(), name="2.csv")

    assert (await box.rig.send("T1"))["attribution"] == "message"
    assert (await box.rig.send("T2"))["attribution"] == "no_generation"


async def test_a_wait_is_kept_as_it_is(box: Boxed) -> None:
    flow, watch = await placed(box), box.flow_watch()
    change_action(box.world, flow.actions[1], ActionPatch.model_validate({"until_time": "09:00"}))

    await watch.read_one()

    [row] = await known(box)
    assert (row["delay_s"], row["latest_s"], row["open_ended"]) == (120, 120 + 86_400, False)


async def test_only_flows_that_copy_is_written_for_are_read(box: Boxed) -> None:
    flow = await placed(box)
    for number in range(20):
        build_flow(box.world, box.account, FlowBody(name=f"Other {number}", actions=[DELAY, EMAIL]))
    await box.rig.add_flow_message("OTHER", "M0", flow_id="GONE")  # it held a webhook of ours
    await box.rig.run("INSERT INTO flow_messages SELECT org_id, 'F0', 'Plain', 'live', 'A0', 'M0', 'M', NULL, $2"
                      " FROM orgs WHERE org_id = $1", box.rig.org_id, SENT)  # fmt: skip

    await box.flow_watch().read_one()

    assert box.calls("get_actions_for_flow") == 1
    statuses = {row["flow_id"]: row["flow_status"] for row in await known(box)}
    assert statuses == {flow.id: "live", "F0": "live", "GONE": "gone"}


async def test_emails_of_a_flow_that_was_archived_are_read_by_what_was_known_of_it(box: Boxed, folder: Path) -> None:
    flow, watch = await placed(box, emails=2), box.flow_watch()
    await watch.read_one()
    await box.rig.add_generation(copy_id=COPY, written_for=f"{flow.id}.{flow.id}.{flow.actions[2].id}")
    messages = [one.message.id for one in flow.actions[2:] if one.message]
    mails = [Mail(f"T{number}", message_id=one, flow_id=flow.id) for number, one in enumerate(messages)]
    await load(box.rig, folder, *(mail.received() for mail in mails))
    await look(box.rig)
    before = [row["attribution"] for row in await box.rig.rows(SENDS)]

    flow.archived = True
    box.rig.clock.advance(HOUR_S)
    assert await watch.read_one() is True
    await look(box.rig)

    assert before == ["message", "other_message"]
    assert [row["attribution"] for row in await box.rig.rows(SENDS)] == before
    assert [(row["flow_status"], row["delay_s"]) for row in await known(box)] == [("gone", None)] * 2


async def test_a_key_that_may_not_read_flows_is_not_tried(box: Boxed) -> None:
    await placed(box)
    await box.use_key({"profiles:write", "metrics:read"})

    assert await box.flow_watch().read_one() is False


async def test_what_cannot_be_read_is_told_and_tried_again_and_nothing_is_lost(box: Boxed) -> None:
    await placed(box)
    watch = box.flow_watch()
    await watch.read_one()
    before = await known(box)
    box.key.revoked = True
    box.rig.clock.advance(HOUR_S)

    assert await watch.read_one() is True
    refused = await told(box)
    box.key.revoked = False
    box.rig.clock.advance(HOUR_S)
    await watch.read_one()

    assert "the key is not accepted" in refused["problem"]
    assert (await told(box))["problem"] is None
    assert await known(box) == before


async def test_one_orgs_trouble_keeps_no_other_waiting_and_replicas_share_them(box: Boxed) -> None:
    await placed(box)
    other = await add_org(box, "F")
    await box.rig.run("UPDATE integrations SET sealed_key = 'k9:none' WHERE org_id = $1", other)
    first, second = box.flow_watch(), box.flow_watch()

    assert [await one.read_one() for one in (first, second, first, second)] == [True, True, False, False]

    assert len(await known(box)) == 1
    reads = await box.rig.rows("SELECT problem IS NULL AS read FROM klaviyo_reads WHERE kind = 'flows' ORDER BY 1")
    assert [row["read"] for row in reads] == [False, True]


async def test_what_somebody_has_read_in_the_meantime_stays(box: Boxed) -> None:
    flow, watch = await placed(box), box.flow_watch()
    await watch.read_one()
    box.rig.clock.advance(HOUR_S)
    begun = box.rig.clock.now()
    await box.rig.run("UPDATE klaviyo_reads SET tried_at = $1, read_at = $1", begun)

    assert not await watch._kept.keep(box.rig.org_id, [], [flow.id], begun, begun)  # an older reading
    assert len(await known(box)) == 1


async def test_a_failure_is_not_told_over_what_somebody_has_read_in_the_meantime(box: Boxed) -> None:
    await placed(box)
    watch = box.flow_watch()
    await watch.read_one()
    box.rig.clock.advance(HOUR_S)
    begun = box.rig.clock.now()
    await box.rig.run("UPDATE klaviyo_reads SET tried_at = $1, read_at = $1", begun)

    await watch._kept.tell(box.rig.org_id, begun, begun, "an older reading's")
    meanwhile = (await told(box))["problem"]
    box.rig.clock.advance(1)
    now = box.rig.clock.now()
    await watch._kept.tell(box.rig.org_id, now, now, "a newer one's")

    assert meanwhile is None
    assert (await told(box))["problem"] == "a newer one's"


async def test_flows_that_the_account_has_no_more_keep_none_from_being_read(box: Boxed) -> None:
    flow, watch = await placed(box), box.flow_watch()
    await watch.read_one()
    await box.rig.run("INSERT INTO templates (org_id, template_id, name, flow_id, created_at, updated_at)"
                      " SELECT $1, 'dead' || n, 'T', 'DEAD' || n, $2, $2 FROM generate_series(1, $3) n",
                      box.rig.org_id, SENT, MOST_FLOWS)  # fmt: skip

    change_action(box.world, flow.actions[1], ActionPatch(value=1, unit="hours"))
    box.rig.clock.advance(HOUR_S)
    await watch.read_one()

    assert [row["delay_s"] for row in await known(box)] == [3600]


async def test_an_account_that_never_answers_is_told_and_the_next_is_read(box: Boxed) -> None:
    flow = await placed(box)
    slow = build_flow(box.world, box.account, FlowBody(name="Slow", actions=[WEBHOOK, DELAY, EMAIL]))
    other = await add_org(box, slow.id)
    watch = box.flow_watch(stuck={slow.id}, longest_s=2)

    assert [await watch.read_one() for _ in range(3)] == [True, True, False]

    problems = {
        row["org_id"]: row["problem"] for row in await box.rig.rows("SELECT org_id, problem FROM klaviyo_reads")
    }
    assert problems == {box.rig.org_id: None, other: "Klaviyo did not answer in time"}
    assert [row["flow_id"] for row in await known(box)] == [flow.id]


async def test_what_was_read_before_the_time_was_up_counts(box: Boxed) -> None:
    first, second = sorted([(await placed(box)).id, (await placed(box)).id])

    await box.flow_watch(stuck={second}, longest_s=2).read_one()
    early = [row["flow_id"] for row in await known(box)]
    box.rig.clock.advance(HOUR_S)
    await box.flow_watch().read_one()

    assert early == [first]
    assert {row["flow_id"] for row in await known(box)} == {first, second}
