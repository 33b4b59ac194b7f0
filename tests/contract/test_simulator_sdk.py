"""Klaviyo's official SDK, pointed at the simulator, understands every answer and every refusal."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from klaviyo_api import KlaviyoAPI
from openapi_client.exceptions import ApiException

from simulator.account import Account
from simulator.admin.bodies import DelayBody, EmailBody, FlowBody, WebhookBody
from simulator.admin.build import build_flow
from simulator.people.behaviour import Behaviour, EventMaker
from simulator.people.events import RECEIVED, Sent
from tests.contract.simulator_box import Caller, profile_body

# The SDK's generated models warn about their own field names and about pydantic's newer ways.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture
def sdk(boxed: tuple[Caller, Account]) -> KlaviyoAPI:
    return KlaviyoAPI(boxed[0].key, max_retries=1, test_host=boxed[0].box.url)


async def ask(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The SDK blocks, so it gets a thread; the box answers on this one."""
    async with asyncio.timeout(20):
        return await asyncio.to_thread(call, *args, **kwargs)


async def test_the_sdk_writes_and_reads_profiles(
    boxed: tuple[Caller, Account], sdk: KlaviyoAPI, account: Account
) -> None:
    profile_id = boxed[0].box.world.add_profile(account, {"email": "ann@x.example", "properties": {"plan": "pro"}})

    body = profile_body(profile_id, {"jai_subject": "Hi"})
    body["data"]["meta"] = {"patch_properties": {"unset": ["plan"]}}
    written = await ask(sdk.Profiles.update_profile, profile_id, body)
    read = await ask(sdk.Profiles.get_profile, profile_id)
    imported = await ask(
        sdk.Profiles.create_or_update_profile,
        {"data": {"type": "profile", "attributes": {"email": "new@x.example"}}},
    )

    assert written.data.attributes.properties == {"jai_subject": "Hi"}
    assert read.data.attributes.email == "ann@x.example"
    assert account.by_email["new@x.example"] == imported.data.id


async def test_the_sdk_reads_flows_down_to_the_template(
    boxed: tuple[Caller, Account], sdk: KlaviyoAPI, account: Account
) -> None:
    wanted = FlowBody(
        name="Welcome",
        actions=[
            WebhookBody(type="send-webhook", url="https://gateway.example", body='{"a": "<flow_id>"}'),
            DelayBody(type="time-delay", value=2),
            EmailBody(type="send-email", subject="Hi", html="<p>Hi</p>"),
        ],
    )
    flow = build_flow(boxed[0].box.world, account, wanted)
    message_id = next(message.id for message in flow.messages() if message.channel == "email")

    flows = await ask(sdk.Flows.get_flows, include=["flow-actions"])
    actions = await ask(sdk.Flows.get_actions_for_flow, flow.id)
    messages = await ask(sdk.Flows.get_flow_action_messages, flow.actions[-1].id)
    message = await ask(sdk.Flows.get_flow_message, message_id, include=["template"])
    template = await ask(sdk.Flows.get_template_for_flow_message, message_id)

    assert [it.id for it in flows.data] == [flow.id]
    definitions = {it.attributes.definition["type"]: it.attributes.definition for it in actions.data}
    assert set(definitions) == {"send-webhook", "time-delay", "send-email"}
    assert definitions["send-webhook"]["data"]["message"]["body"] == f'{{"a": "{flow.id}"}}'
    assert messages.data[0].id == message_id
    assert message.data.id == message_id
    assert template.data.attributes.html == "<p>Hi</p>"


async def test_the_sdk_runs_a_bulk_import(boxed: tuple[Caller, Account], sdk: KlaviyoAPI, account: Account) -> None:
    rows = [{"type": "profile", "attributes": {"email": "a@x.example"}}, {"type": "profile", "attributes": {}}]
    body = {"data": {"type": "profile-bulk-import-job", "attributes": {"profiles": {"data": rows}}}}

    made = await ask(sdk.Profiles.bulk_import_profiles, body)
    boxed[0].box.world.clock.advance(121)  # type: ignore[attr-defined]  # the fixture's clock is frozen
    job = await ask(sdk.Profiles.get_bulk_import_profiles_job, made.data.id)
    errors = await ask(sdk.Profiles.get_errors_for_bulk_import_profiles_job, made.data.id)

    assert made.data.attributes.status == "queued"
    assert (job.data.attributes.status, job.data.attributes.failed_count) == ("complete", 1)
    assert errors.data[0].attributes.code == "invalid"


async def test_the_sdk_pages_through_events_without_a_gap(
    boxed: tuple[Caller, Account], sdk: KlaviyoAPI, account: Account
) -> None:
    world = boxed[0].box.world
    send_many(boxed[0], account, 45)
    metric_id = account.metric_named(RECEIVED).id
    since = world.started_at.isoformat()

    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await ask(
            sdk.Events.get_events,
            filter=f'equals(metric_id,"{metric_id}"),greater-or-equal(datetime,{since})',
            sort="datetime",
            page_size=10,
            page_cursor=cursor,
        )
        seen += [event.id for event in page.data]
        if page.links.next is None:
            break
        # The SDK takes a cursor out of a link by itself, but only out of an https one.
        cursor = page.links.next.replace("http://", "https://")

    assert len(seen) == len(set(seen)) == 45
    assert page.data[0].attributes.event_properties["$internal"]["Transmission ID"]


def send_many(caller: Caller, account: Account, people: int) -> None:
    """Emails that are received and nothing else, as events of the account."""
    world = caller.box.world
    quiet = Behaviour(bounce=0, open=0, machine_open=0, bot_click=0, campaign_noise=0, late=0)
    maker = EventMaker(world.ids, quiet, {metric.name: metric.id for metric in account.metrics.values()})
    for number in range(people):
        at = world.clock.now()
        sent = Sent(world.ids.ulid(at), "MSG", "Welcome", "FLOW", f"P{number}", "a@x.example", "Hi", at)
        for event in maker.after(sent, "", {}):
            account.events.add(event)
    world.clock.advance(60)  # type: ignore[attr-defined]  # the fixture's clock is frozen


async def test_the_sdk_reads_accounts_metrics_and_campaigns(
    boxed: tuple[Caller, Account], sdk: KlaviyoAPI, account: Account
) -> None:
    boxed[0].box.world.add_campaign(account, "Newsletter")

    accounts = await ask(sdk.Accounts.get_accounts)
    metrics = await ask(sdk.Metrics.get_metrics)
    campaigns = await ask(sdk.Campaigns.get_campaigns, "equals(messages.channel,'email')")

    assert accounts.data[0].attributes.contact_information.organization_name == "Corner Shop"
    assert RECEIVED in {metric.attributes.name for metric in metrics.data}
    assert campaigns.data[0].attributes.name == "Newsletter"


async def test_the_sdk_understands_a_refusal(sdk: KlaviyoAPI) -> None:
    with pytest.raises(ApiException) as refused:
        await ask(sdk.Profiles.update_profile, "nobody", profile_body("nobody", {}))

    assert refused.value.status == 404
    assert "A profile with id nobody does not exist." in str(refused.value.body)
