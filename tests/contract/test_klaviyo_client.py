"""Our client against the account in a box: every request it sends fits Klaviyo's document, every answer its words."""

from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from shared.errors import Permanent, Throttled, Transient
from shared.klaviyo.client import KlaviyoClient, profile_patch
from shared.klaviyo.errors import KeyRefused, MaybeApplied, Unreachable, Unsendable
from shared.klaviyo.flows import read_flow_messages
from shared.klaviyo.profile import PROFILE_MAX_BYTES
from simulator.account import Account
from simulator.api.operations import ALL_SCOPES
from simulator.faults import Fault
from simulator.settings import SimulatorSettings
from tests.contract.klaviyo_spec import MISSING_REASON, load_spec
from tests.contract.klaviyo_stage import PAGE_SCOPES, Hurrying, account_in_a_box, add_flows, profile, serving_with

COPY = {"jai_subject": "Für Ann, “hello”", "jai_body": "<p>a\nb</p>"}


def properties(account: Account, profile_id: str) -> dict[str, Any]:
    return dict(account.profiles[profile_id].state.properties)


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


@pytest.mark.parametrize(
    ("body", "believed"), [(b"", True), (b'{"data": {}}', True), (b"<html>Soon back</html>", False)]
)
async def test_a_page_that_says_200_is_no_answer_of_klaviyos(body: bytes, believed: bool) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(body=body)

    async with serving_with(page) as url, aiohttp.ClientSession() as session:
        client = KlaviyoClient(session, url, "pk_1")
        for write in (
            client.patch_profile("ABC123", unset=["jai_body"]),
            client.import_profile("ABC123", properties=COPY),
        ):
            if believed:
                await write
            else:
                with pytest.raises(MaybeApplied):
                    await write


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
        with pytest.raises(Transient) as caught:
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
