"""Our client against the account in a box: every request it sends fits Klaviyo's document, every answer its words."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from shared.clock import FrozenClock
from shared.errors import Permanent, Throttled, Transient
from shared.klaviyo.campaigns import read_campaign_messages
from shared.klaviyo.client import Flow, KlaviyoClient, profile_patch
from shared.klaviyo.errors import KeyRefused, MaybeApplied, Unreachable, Unsendable
from shared.klaviyo.flows import read_flow_messages
from shared.klaviyo.profile import PROFILE_MAX_BYTES
from simulator.account import Account
from simulator.admin.bodies import FlowBody
from simulator.admin.build import build_flow
from simulator.api.operations import ALL_SCOPES
from simulator.app import Box, serving
from simulator.faults import Fault
from simulator.settings import SimulatorSettings
from simulator.world import World
from tests.contract.klaviyo_spec import MISSING_REASON, check_request, load_spec

PAGE_SCOPES = {"flows:read", "campaigns:read", "metrics:read", "profiles:write"}
COPY = {"jai_subject": "Für Ann, “hello”", "jai_body": "<p>a\nb</p>"}


class Hurrying:
    """The box's clock for an impatient client: it sleeps by moving that clock on."""

    def __init__(self, clock: FrozenClock | None = None) -> None:
        self._clock = clock or FrozenClock()
        self.now, self.monotonic = self._clock.now, self._clock.monotonic

    async def sleep(self, seconds: float) -> None:
        self._clock.advance(max(0.0, seconds))
        await asyncio.sleep(0)


class Only:
    """A client that knows some flows only."""

    def __init__(self, client: KlaviyoClient, flows: list[Flow]) -> None:
        self._flows, self.flow_actions, self.flow_messages = flows, client.flow_actions, client.flow_messages

    async def flows(self) -> list[Flow]:
        return self._flows


@asynccontextmanager
async def account_in_a_box(
    scopes: set[str] = PAGE_SCOPES, settings: SimulatorSettings | None = None
) -> AsyncIterator[tuple[KlaviyoClient, Box, Account]]:
    """A client with a key of these scopes. In the end every request that the box has taken is held to the document."""
    clock = FrozenClock()
    world = World(clock, settings, 1)
    account = world.add_account("Corner Shop", phase_s=0.0)
    key = world.add_key(account, scopes)
    async with serving(world) as box, aiohttp.ClientSession() as session:
        yield KlaviyoClient(session, box.url, key.value, clock=Hurrying(clock)), box, account
    if (spec := load_spec()) is not None:
        for request in world.log.since(0, None, 10_000):
            if request.status < 300:  # the box does not read what it refuses
                check_request(spec, request.method, request.path, request.headers, request.body)


def profile(box: Box, account: Account, email: str = "ann@people.example") -> str:
    return box.world.add_profile(account, {"email": email})


def properties(account: Account, profile_id: str) -> dict[str, Any]:
    return dict(account.profiles[profile_id].state.properties)


def add_flows(box: Box, account: Account, count: int) -> None:
    webhook = {"type": "send-webhook", "url": "https://copy.example/api/generate/acme", "body": "{}"}
    steps = [webhook, {"type": "time-delay", "value": 5}, {"type": "send-email", "subject": "s", "html": "h"}]
    for number in range(count):
        build_flow(box.world, account, FlowBody.model_validate({"name": f"Flow {number}", "actions": steps}))


async def test_every_request_fits_klaviyos_document() -> None:
    if load_spec() is None:
        pytest.skip(MISSING_REASON)
    async with account_in_a_box(set(ALL_SCOPES)) as (client, box, account):  # which holds them to it
        add_flows(box, account, 1)
        await client.patch_profile(profile(box, account), properties=COPY, unset=["jai_for"])
        await client.profile_properties(profile(box, account, "ben@people.example"))
        await client.import_profile(box.world.add_profile(account, {}), properties=COPY)
        await client.verify()
        await read_flow_messages(client)

        operations = {request.operation for request in box.world.log.since(0, None, 10_000)}
        assert {"update_profile", "create_or_update_profile", "get_profile", "get_accounts"} <= operations
        assert {"get_metrics", "get_flows", "get_flow_action_messages"} <= operations


# --- writing ---------------------------------------------------------------------------------------------------------


async def test_properties_are_set_and_taken_away_and_others_stay() -> None:
    async with account_in_a_box() as (client, box, account):
        person = box.world.add_profile(account, {"email": "ann@people.example", "properties": {"size": "M"}})

        limit = await client.patch_profile(person, properties=COPY)
        assert properties(account, person) == {"size": "M", **COPY}
        assert (limit.limit, limit.remaining) == (750, 749)

        await client.patch_profile(person, unset=["jai_subject", "jai_body"])
        assert properties(account, person) == {"size": "M"}


async def test_an_import_sets_properties_under_the_id_alone_on_a_quota_of_its_own() -> None:
    async with account_in_a_box() as (client, box, account):
        person = box.world.add_profile(account, {"email": "ann@people.example", "properties": {"size": "M"}})
        await client.patch_profile(person, properties={"jai_subject": "older"})

        limit = await client.import_profile(person, properties=COPY)

        assert properties(account, person) == {"size": "M", **COPY}
        assert (limit.limit, limit.remaining) == (750, 749)
        [request] = box.world.log.since(0, "create_or_update_profile", 10)
        assert orjson.loads(request.body or b"") == {
            "data": {"type": "profile", "id": person, "attributes": {"properties": COPY}}
        }


async def test_an_import_of_a_profile_that_was_merged_away_makes_none() -> None:
    async with account_in_a_box() as (client, box, account):
        person = profile(box, account)
        account.remove(person, merged_into=None)

        with pytest.raises(Permanent) as caught:
            await client.import_profile(person, properties=COPY)

        assert caught.value.reason == "profile_not_found"
        assert account.profiles == {}


async def test_an_import_that_made_a_profile_counts_as_applied_and_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    async def make(_: web.Request) -> web.Response:
        return web.json_response({"data": {}}, status=201, headers={"RateLimit-Remaining": "7"})

    async with serving_with(make) as url, aiohttp.ClientSession() as session:
        limit = await KlaviyoClient(session, url, "pk_1").import_profile("ABC123", properties=COPY)

    assert limit.remaining == 7
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "klaviyo.profile_made"
    ]


async def test_a_body_that_is_too_large_is_never_imported() -> None:
    async with account_in_a_box() as (client, box, account):
        with pytest.raises(Permanent) as caught:
            await client.import_profile(profile(box, account), properties={"jai_body": "x" * PROFILE_MAX_BYTES})

        assert caught.value.reason == "body_too_large"
        assert list(box.world.log.since(0, None, 10)) == []


@pytest.mark.parametrize("write", ["patch_profile", "import_profile"])
async def test_the_answer_does_not_repeat_the_profile(write: str) -> None:
    async with account_in_a_box() as (client, box, account):
        await getattr(client, write)(profile(box, account), properties=COPY)

        [request] = box.world.log.since(0, None, 10)
        assert "fields%5Bprofile%5D=updated" in request.path or "fields[profile]=updated" in request.path


async def test_a_profile_that_is_not_there_is_named_so() -> None:
    async with account_in_a_box() as (client, _, _):
        with pytest.raises(Permanent) as caught:
            await client.patch_profile("01GDDKASAP8TKDDA2GRZDSVP4H", properties=COPY)
        assert caught.value.reason == "profile_not_found"


@pytest.mark.parametrize("bad_key_status", [401, 400])
async def test_a_revoked_key_is_refused(bad_key_status: Any) -> None:
    settings = SimulatorSettings(bad_key_status=bad_key_status)
    async with account_in_a_box(settings=settings) as (client, box, account):
        next(iter(account.keys.values())).revoked = True
        with pytest.raises(KeyRefused) as caught:
            await client.patch_profile(profile(box, account), properties=COPY)
        assert caught.value.reason == "key_refused"


async def test_a_missing_scope_is_told_from_a_challenge_page() -> None:
    async with account_in_a_box({"flows:read"}) as (client, box, account):
        person = profile(box, account)
        with pytest.raises(KeyRefused) as caught:
            await client.patch_profile(person, properties=COPY)
        assert caught.value.reason == "scope_missing"

        box.world.faults.append(Fault(kind="cloudflare", count=1))
        with pytest.raises(Transient) as blocked:
            await client.patch_profile(person, properties=COPY)
        assert blocked.value.reason == "klaviyo_edge_blocked"


@pytest.mark.parametrize("tells", [True, False])
async def test_throttling_is_told_with_its_wait(tells: bool) -> None:
    async with account_in_a_box(settings=SimulatorSettings(retry_after=tells)) as (client, box, account):
        person = profile(box, account)
        for _ in range(75):
            await client.patch_profile(person, unset=["jai_body"])
        with pytest.raises(Throttled) as caught:
            await client.patch_profile(person, unset=["jai_body"])
        assert caught.value.wait_s == 1


@pytest.mark.parametrize("kind", ["status", "reset", "reset_after_apply"])
async def test_without_an_answer_the_write_may_have_been_applied(kind: str) -> None:
    async with account_in_a_box() as (client, box, account):
        person = profile(box, account)
        box.world.faults.append(Fault.model_validate({"kind": kind, "count": 1}))
        with pytest.raises(MaybeApplied):
            await client.patch_profile(person, properties=COPY)
        assert (properties(account, person) == COPY) is (kind == "reset_after_apply")

        await client.patch_profile(person, properties=COPY)
        assert properties(account, person) == COPY


async def test_without_a_connection_it_was_certainly_not_applied() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(Unreachable):
            await KlaviyoClient(session, "http://127.0.0.1:1", "pk_1").patch_profile("ABC123", properties=COPY)


async def test_redirects_are_not_followed() -> None:
    elsewhere: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        if request.path != "/stolen":
            raise web.HTTPTemporaryRedirect("/stolen")
        elsewhere.append(request.headers["Authorization"])
        return web.json_response({})

    async with serving_with(redirect) as url, aiohttp.ClientSession() as session:
        with pytest.raises(Permanent) as caught:
            await KlaviyoClient(session, url, "pk_1").patch_profile("ABC123", properties=COPY)

    assert caught.value.reason == "klaviyo_307"
    assert elsewhere == []


def test_a_body_is_measured_as_it_is_sent() -> None:
    frame = len(profile_patch("ABC123", {"jai_body": ""}, ()))
    fits = "é" * ((PROFILE_MAX_BYTES - frame) // 2)

    assert len(profile_patch("ABC123", {"jai_body": fits}, ())) <= PROFILE_MAX_BYTES
    with pytest.raises(Permanent) as caught:
        profile_patch("ABC123", {"jai_body": fits + "éé"}, ())
    assert caught.value.reason == "body_too_large"


@pytest.mark.parametrize("profile_id", ["", "a/b", "..", "ABC 123", "ABC?x=1", "é", "A" * 65, "ABC\x00"])
def test_an_id_that_no_profile_has_is_never_sent(profile_id: str) -> None:
    with pytest.raises(Permanent) as caught:
        profile_patch(profile_id, COPY, ())
    assert caught.value.reason == "profile_id_invalid"


def test_a_text_that_is_no_text_is_never_sent() -> None:
    with pytest.raises(Permanent) as caught:
        profile_patch("ABC123", {"jai_body": "\ud800"}, ())
    assert caught.value.reason == "body_not_encodable"


@pytest.mark.parametrize("key", ["", "pk_\r\nX-Evil: 1", "pk_é", "pk_\x00"])
async def test_a_key_that_is_no_key_is_refused_before_it_is_a_header(key: str) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(KeyRefused):
            KlaviyoClient(session, "https://a.klaviyo.com", key)


async def test_the_custom_properties_of_a_profile_are_read_and_nothing_else_of_it() -> None:
    async with account_in_a_box({"profiles:read", "profiles:write"}) as (client, box, account):
        person = profile(box, account)
        await client.patch_profile(person, properties=COPY)

        assert await client.profile_properties(person) == COPY
        [request] = box.world.log.since(0, "get_profile", 10)
        assert request.path.partition("?")[2] in ("fields%5Bprofile%5D=properties", "fields[profile]=properties")


async def test_a_profile_that_is_gone_has_no_properties_to_read() -> None:
    async with account_in_a_box({"profiles:read"}) as (client, _, _):
        assert await client.profile_properties("01GDDKASAP8TKDDA2GRZDSVP4H") is None
        with pytest.raises(Unsendable):
            await client.profile_properties("a/b")


async def test_a_key_that_may_not_read_profiles_is_told_so() -> None:
    async with account_in_a_box() as (client, box, account):
        with pytest.raises(KeyRefused) as caught:
            await client.profile_properties(profile(box, account))
        assert caught.value.reason == "scope_missing"


# --- reading ---------------------------------------------------------------------------------------------------------


async def test_a_key_with_the_pages_scopes_is_verified_without_a_name() -> None:
    async with account_in_a_box() as (client, _, _):
        verified = await client.verify()

        assert (verified.account_id, verified.name) == (None, None)
        assert verified.scopes == PAGE_SCOPES


async def test_a_key_that_may_more_shows_account_and_scopes() -> None:
    async with account_in_a_box(set(ALL_SCOPES)) as (client, _, account):
        verified = await client.verify()

        assert (verified.account_id, verified.name) == (account.id, "Corner Shop")
        assert {"accounts:read", "events:read", "profiles:read", "profiles:write", "templates:read"} <= verified.scopes
        assert {"lists:read", "lists:write"} <= verified.scopes


async def test_verifying_imports_nobody() -> None:
    async with account_in_a_box(set(ALL_SCOPES)) as (client, _, account):
        await client.verify()

        assert account.jobs == {}


async def test_verifying_changes_nobodys_profile() -> None:
    async with account_in_a_box(set(ALL_SCOPES)) as (client, box, account):
        person = profile(box, account)
        before = dict(account.profiles)

        await client.verify()

        assert account.profiles == before
        assert properties(account, person) == {}


async def test_a_wrong_key_is_refused_when_verified() -> None:
    async with account_in_a_box() as (_, box, _), aiohttp.ClientSession() as session:
        with pytest.raises(KeyRefused):
            await KlaviyoClient(session, box.url, "pk_wrong", clock=Hurrying()).verify()


async def test_flows_are_read_page_by_page_within_the_limits() -> None:
    async with account_in_a_box() as (client, box, account):
        add_flows(box, account, 120)

        found = await client.flows()
        messages = await read_flow_messages(Only(client, found[:2]))

        assert len({flow.flow_id for flow in found}) == 120
        assert [(message.flow_name, message.delay_s) for message in messages] == [
            (found[0].name, 300),
            (found[1].name, 300),
        ]
        assert all(request.status == 200 for request in box.world.log.since(0, None, 10_000))


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


@asynccontextmanager
async def serving_with(handler: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
