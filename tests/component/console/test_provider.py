"""The provider, asked over a real wire: how long, how much, how often, and where to."""

import asyncio
import gzip
import os
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from pydantic import SecretStr

from services.console.oidc.errors import SignInRefused
from services.console.oidc.flow import Flow, begin_flow
from services.console.oidc.provider import Provider as Asked
from services.console.oidc.provider import look
from services.console.oidc.settings import OidcSettings, may_be_reached
from services.console.oidc.wire import ANSWER_BYTES, open_wire
from shared.clock import FrozenClock
from tests.support.console import KEY
from tests.support.oidc import Asked as Request
from tests.support.oidc import Provider, provider, rsa, settings_for, signed

DISCOVERY = "/.well-known/openid-configuration"


@pytest.fixture
def wall() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def there(wall: FrozenClock) -> AsyncIterator[Provider]:
    async with provider(wall) as running:
        yield running


def settings(there: Provider) -> OidcSettings:
    return OidcSettings(
        database_url=SecretStr("postgresql://x/y"), amqp_url=SecretStr("amqp://x/"), seal_keys=SecretStr(f"k1:{KEY}"),
        api_key_peppers=SecretStr(f"1:{KEY}"), **settings_for(there.issuer),
    )  # fmt: skip


@pytest.fixture
async def asked(there: Provider, wall: FrozenClock) -> AsyncIterator[Asked]:
    async with open_wire(private=True, timeout_s=2) as wire:
        yield Asked(settings(there), there.issuer, "http://127.0.0.1:1", wire, wall)


def flow_of(there: Provider, wall: FrozenClock) -> Flow:
    return begin_flow(os.urandom, there.issuer, "/", wall.now())


async def code(asked: Asked, there: Provider, flow: Flow) -> str:
    query = parse_qs(urlsplit(await asked.asks(flow)).query)
    return there.agrees(Request({name: values[0] for name, values in query.items()}))


async def signs_in(asked: Asked, there: Provider, wall: FrozenClock) -> str:
    flow = flow_of(there, wall)
    claims, _ = await asked.claims(flow, await code(asked, there, flow))
    return str(claims["sub"])


async def refusal(asked: Asked, there: Provider, wall: FrozenClock) -> SignInRefused:
    with pytest.raises(SignInRefused) as refused:
        await signs_in(asked, there, wall)
    return refused.value


async def test_what_it_publishes_is_asked_for_once_an_hour(asked: Asked, there: Provider, wall: FrozenClock) -> None:
    for _ in range(5):
        await signs_in(asked, there, wall)
    wall.advance(3_599)
    await signs_in(asked, there, wall)
    assert (there.counted[DISCOVERY], there.counted["/keys"]) == (1, 1)

    wall.advance(2)
    await signs_in(asked, there, wall)

    assert (there.counted[DISCOVERY], there.counted["/keys"]) == (2, 2)


async def test_new_keys_are_asked_for_once_when_a_token_names_one(
    asked: Asked, there: Provider, wall: FrozenClock
) -> None:
    await signs_in(asked, there, wall)
    there.keys = [rsa("rsa-2")]
    wall.advance(61)

    assert await signs_in(asked, there, wall) == "ann-1"
    assert there.counted["/keys"] == 2


async def test_whoever_invents_key_ids_does_not_make_us_ask(asked: Asked, there: Provider, wall: FrozenClock) -> None:
    await signs_in(asked, there, wall)
    unknown = rsa("unknown")
    there.token = lambda claims: signed(claims, unknown)
    wall.advance(61)

    refused = [await refusal(asked, there, wall) for _ in range(5)]

    assert {error.reason for error in refused} == {"bad_token"}
    assert there.counted["/keys"] == 2


async def test_who_comes_while_it_hangs_waits_no_longer_than_the_first(
    asked: Asked, there: Provider, wall: FrozenClock
) -> None:
    async def hangs(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    there.answers[DISCOVERY] = hangs

    async with asyncio.timeout(20):  # one after the other they would wait 40 s
        refused = await asyncio.gather(*(refusal(asked, there, wall) for _ in range(20)))

    assert {error.reason for error in refused} == {"unreachable"}
    assert there.counted[DISCOVERY] == 1
    del there.answers[DISCOVERY]
    wall.advance(6)
    assert await signs_in(asked, there, wall) == "ann-1"


async def drips(request: web.Request) -> web.StreamResponse:
    """A byte now and then, without an end."""
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.05)
    except (ConnectionError, asyncio.CancelledError):
        return response


async def floods(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        for _ in range(1_000):
            await response.write(b" " * ANSWER_BYTES)
    except ConnectionError:
        pass
    return response


def redirects(request: web.Request) -> web.Response:
    return web.Response(status=307, headers={"Location": "/elsewhere"})


HOSTILE = [
    (drips, "unreachable"),
    (floods, "odd_provider"),
    (redirects, "unreachable"),
    (lambda _: web.Response(text="<html>"), "odd_provider"),
    (lambda _: web.Response(text="[" * 200_000), "odd_provider"),
    (lambda _: web.json_response([]), "odd_provider"),
    (lambda _: web.Response(status=500), "unreachable"),
    (lambda _: web.Response(body=b"\x1f\x8b\x08broken", headers={"Content-Encoding": "gzip"}), "unreachable"),
]


@pytest.mark.parametrize("path", [DISCOVERY, "/keys", "/token"])
async def test_a_hostile_answer_ends_in_a_refusal_and_is_followed_nowhere(
    asked: Asked, there: Provider, wall: FrozenClock, path: str
) -> None:
    for hostile, reason in HOSTILE:
        there.answers[path] = hostile
        wall.advance(3_601)

        refused = await refusal(asked, there, wall)

        assert refused.reason == reason, (hostile, refused)
    assert "/elsewhere" not in there.counted


async def test_a_bomb_is_cut_off_by_what_comes_out_of_it(asked: Asked, there: Provider, wall: FrozenClock) -> None:
    bomb = gzip.compress(b" " * 200_000_000)
    there.answers["/keys"] = lambda _: web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    assert (await refusal(asked, there, wall)).reason in ("odd_provider", "unreachable")


async def test_the_secret_stands_in_no_refusal(asked: Asked, there: Provider, wall: FrozenClock) -> None:
    there.answers["/token"] = lambda _: web.json_response({"error": "secret/with+signs"}, status=400)

    assert "secret" not in str(await refusal(asked, there, wall))


@pytest.mark.parametrize(
    ("addresses", "private", "public", "reached"),
    [
        (["8.8.8.8"], False, True, ["8.8.8.8"]),
        (["10.0.0.1", "8.8.8.8"], False, True, ["8.8.8.8"]),
        (["127.0.0.1"], False, True, []),
        (["169.254.169.254"], True, True, []),
        (["fe80::1%eth0"], True, True, []),
        (["::ffff:10.0.0.1"], False, True, []),
        (["10.0.0.1", "::1"], True, True, ["10.0.0.1", "::1"]),
        (["8.8.8.8"], True, False, []),
        (["64:ff9b::808:808"], False, True, ["64:ff9b::808:808"]),
        (["fd00:ec2::254", "fd00::1"], True, True, ["fd00::1"]),
    ],
)
def test_a_name_leads_only_where_it_may(addresses: list[str], private: bool, public: bool, reached: list[str]) -> None:
    assert [one for one in addresses if may_be_reached(one, private=private, public=public)] == reached


async def test_a_name_that_leads_home_is_refused_by_the_wire(wall: FrozenClock) -> None:
    async with open_wire(private=False, timeout_s=2) as wire:
        for url in ("https://localhost:1/x", "https://127.0.0.1:1/x", "http://login.example/x"):
            with pytest.raises(SignInRefused):
                await wire.get(url)
    async with open_wire(private=False, timeout_s=2) as wire:
        with pytest.raises(SignInRefused) as refused:
            await wire.get("https://localhost:1/x")
    assert refused.value.detail == "https://localhost:1/x: ClientConnectorDNSError"


async def test_whoever_sets_it_up_can_look_at_what_it_says(there: Provider) -> None:
    found = dict(await look(settings(there), there.issuer))

    assert found["issuer"] == there.issuer
    assert found["keys"] == "1 that may sign"
    assert found["signing out"] == "it has no page for it"


async def test_a_provider_without_a_key_for_us_is_said_to_whoever_sets_it_up(there: Provider) -> None:
    there.keys = []

    with pytest.raises(SignInRefused, match="lists no key that may sign"):
        await look(settings(there), there.issuer)
