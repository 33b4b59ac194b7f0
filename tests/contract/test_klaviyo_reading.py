"""Flows and campaigns are read page by page, within the limits."""

import aiohttp
import pytest
from aiohttp import web

from shared.errors import Permanent
from shared.klaviyo.campaigns import read_campaign_messages
from shared.klaviyo.client import Flow, KlaviyoClient, MessageParts
from shared.klaviyo.flows import Wait, read_flow_messages
from simulator.faults import Fault
from tests.contract.klaviyo_stage import PAGE_SCOPES, Hurrying, account_in_a_box, add_flows, serving_with


class Only:
    """A client that knows some flows only."""

    def __init__(self, client: KlaviyoClient, flows: list[Flow]) -> None:
        self._flows, self.flow_actions, self.flow_messages = flows, client.flow_actions, client.flow_messages

    async def flows(self) -> list[Flow]:
        return self._flows


async def test_flows_are_read_page_by_page_within_the_limits() -> None:
    async with account_in_a_box() as (client, box, account):
        add_flows(box, account, 120)

        found = await client.flows()
        messages = await read_flow_messages(Only(client, found[:2]))

        assert len({flow.flow_id for flow in found}) == 120
        assert [(message.flow_name, message.wait) for message in messages] == [
            (found[0].name, Wait(300, 300)),
            (found[1].name, Wait(300, 300)),
        ]
        assert all(request.status == 200 for request in box.world.log.since(0, None, 10_000))


async def test_the_three_parts_of_an_email_are_read_where_the_key_may() -> None:
    async with account_in_a_box(PAGE_SCOPES | {"templates:read"}) as (client, box, account):
        add_flows(box, account, 1)
        [flow] = account.flows.values()
        email = flow.actions[-1].message
        assert email is not None

        plain = await client.message_parts(email.id)
        email.html, email.text, email.amp = "<p>h</p>", "t", "<html amp4email>"
        whole = await client.message_parts(email.id)

        assert plain == MessageParts("h")
        assert whole == MessageParts("<p>h</p>", "t", "<html amp4email>")
        assert await client.message_parts("AAAAAA") is None
    async with account_in_a_box() as (client, box, account):
        add_flows(box, account, 1)
        [flow] = account.flows.values()
        email = flow.actions[-1].message
        assert email is not None

        assert await client.message_parts(email.id) is None


async def test_campaigns_are_read_with_their_messages_page_by_page() -> None:
    async with account_in_a_box() as (client, box, account):
        campaigns = [box.world.add_campaign(account, f"Sale {number}", "Draft") for number in range(120)]

        found = await read_campaign_messages(client)

        assert {(one.message_id, one.campaign_name, one.campaign_status) for one in found} == {
            (campaign.message_id, campaign.name, "Draft") for campaign in campaigns
        }
        assert all(one.message_name == one.campaign_name for one in found)


async def test_reading_waits_out_throttling_and_short_faults() -> None:
    async with account_in_a_box() as (client, box, account):
        add_flows(box, account, 1)
        box.world.faults += [Fault(kind="status", status=503, count=1), Fault(kind="reset", count=1)]

        assert len(await client.flows()) == 1


async def test_a_next_page_on_another_host_never_gets_the_key() -> None:
    async def elsewhere(_: web.Request) -> web.Response:
        return web.json_response({"data": [], "links": {"self": "x", "next": "http://127.0.0.2/api/flows"}})

    async with serving_with(elsewhere) as url, aiohttp.ClientSession() as session:
        with pytest.raises(Permanent) as caught:
            await KlaviyoClient(session, url, "pk_1", clock=Hurrying()).flows()
    assert caught.value.reason == "foreign_next_page"
