"""A provider of our own, as strict as a good one and, when told, as hostile as a bad one."""

import asyncio
import base64
import hashlib
import secrets
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

import aiohttp
import orjson
from aiohttp import web
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from devstack.ports import LOOPBACK, free_ports
from shared.clock import Clock
from tests.component.console.browser import Browser, Page
from tests.support.waiting import eventually

CLIENT_ID, CLIENT_SECRET = "the:console", "secret/with+signs"
Key = RSAKey | ECKey | OKPKey | OctKey
Answer = Callable[[web.Request], Any]


def rsa(kid: str = "rsa-1", bits: int = 2_048) -> RSAKey:
    with warnings.catch_warnings(action="ignore"):  # that it is weak is why it is asked for
        return RSAKey.generate_key(bits, {"kid": kid, "use": "sig"})


ONE_RSA = rsa()  # generating one takes its time


def signed(claims: Mapping[str, Any], key: Key, alg: str = "RS256", **header: Any) -> str:
    """Whatever is asked for, also what nobody should sign."""
    registry = jws.JWSRegistry(algorithms=[alg], strict_check_header=False)
    named = {"alg": alg, **({"kid": key.kid} if key.kid else {}), **header}
    protected = {name: value for name, value in named.items() if value is not None}
    with warnings.catch_warnings(action="ignore"):  # that EdDSA has a newer name
        return jws.serialize_compact(protected, orjson.dumps(claims), key, registry=registry)


@dataclass
class Asked:
    """An authorization request."""

    query: dict[str, str]

    @property
    def state(self) -> str:
        return self.query["state"]


@dataclass
class Provider:
    """`discovery` and `claims` are laid over what it would say; `token` takes the place of the signed one; `answers`,
    by path, that of whole answers."""

    issuer: str
    clock: Clock
    keys: list[Key] = field(default_factory=lambda: [ONE_RSA])
    discovery: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    token: Callable[[dict[str, Any]], str] | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    codes: dict[str, Asked] = field(default_factory=dict)

    def agrees(self, asked: Asked) -> str:
        """The code for a person who said yes."""
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return code

    def document(self) -> dict[str, Any]:
        said = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            **self.discovery,
        }
        return {name: value for name, value in said.items() if value is not None}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        self.counted[path] = self.counted.get(path, 0) + 1
        if path in self.answers:
            answered = self.answers[path](request)
            response: web.StreamResponse = await answered if asyncio.iscoroutine(answered) else answered
            return response
        match path:
            case "/.well-known/openid-configuration":
                return web.json_response(self.document())
            case "/keys":
                return web.json_response({"keys": [key.as_dict(private=False) for key in self.keys]})
            case "/userinfo":
                return web.json_response(self.userinfo)
            case "/token":
                return await self._exchange(request)
        return web.Response(status=404)

    async def _exchange(self, request: web.Request) -> web.Response:
        form = await request.post()
        asked = self.codes.pop(str(form.get("code")), None)
        verifier = str(form.get("code_verifier", ""))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        if asked is None or asked.query["redirect_uri"] != form.get("redirect_uri"):
            return web.json_response({"error": "invalid_grant", "error_description": "<b>no</b>"}, status=400)
        if asked.query["code_challenge"] != challenge:
            return web.json_response({"error": "invalid_grant"}, status=400)
        if _client(request, form) != (CLIENT_ID, CLIENT_SECRET):
            return web.json_response({"error": "invalid_client"}, status=401)
        claims = self.claims_for(asked)
        token = self.token(claims) if self.token else signed(claims, self.keys[0])
        return web.json_response({"id_token": token, "access_token": "opaque", "token_type": "Bearer"})

    def claims_for(self, asked: Asked) -> dict[str, Any]:
        now = int(self.clock.now().timestamp())
        said = {
            "iss": self.issuer, "sub": "ann-1", "aud": CLIENT_ID, "nonce": asked.query["nonce"], "iat": now,
            "exp": now + 300, "email": "ann@example.com", "email_verified": True, "name": "Ann Example", **self.claims,
        }  # fmt: skip
        return {name: value for name, value in said.items() if value is not None}


def _client(request: web.Request, form: Any) -> tuple[str, str]:
    header = request.headers.get("Authorization", "")
    if header.startswith("Basic "):
        name, _, secret = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        return unquote_plus(name), unquote_plus(secret)
    return str(form.get("client_id")), str(form.get("client_secret"))


@asynccontextmanager
async def provider(clock: Clock) -> AsyncIterator[Provider]:
    """Running on this machine."""
    [port] = free_ports(1)
    made = Provider(f"http://{LOOPBACK}:{port}", clock)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, port).start()
        yield made
    finally:
        await runner.cleanup()


def settings_for(issuer: str, **more: Any) -> dict[str, Any]:
    """What the console is told."""
    return {
        "console_oidc_issuer": issuer, "console_oidc_client_id": CLIENT_ID, "console_oidc_client_secret": CLIENT_SECRET,
        "console_oidc_label": "Acme ID", "console_oidc_private": True, **more,
    }  # fmt: skip


async def asks(browser: Browser, path: str = "/_sign-in/oidc") -> Asked:
    """What the console asks of the provider when somebody clicks the button."""
    page = await browser.get(path)
    assert page.status == 303, page.words
    return Asked({name: values[0] for name, values in parse_qs(urlsplit(page.location).query).items()})


async def comes_back(browser: Browser, there: Provider, *, next_path: str = "", **answer: str) -> Page:
    """The whole way: to the provider, yes, and back with what it answers."""
    asked = await asks(browser, f"/_sign-in/oidc{next_path and '?next='}{next_path}")
    return await answered(browser, code=there.agrees(asked), state=asked.state, **answer)


async def answered(browser: Browser, **answer: str) -> Page:
    """Back from the provider, as another site sends people."""
    return await browser.get(f"/_sign-in/oidc/back?{urlencode(answer)}", headers={"Sec-Fetch-Site": "cross-site"})


@asynccontextmanager
async def foreign_provider(*people: Mapping[str, Any]) -> AsyncIterator[str]:
    """The issuer of a provider that is not ours: Authlib's, as `oidc-provider-mock` serves it, in a process of its own.
    `people`: the claims of each, who is chosen by a button with their `sub`."""
    [port] = free_ports(1)
    users = [part for one in people for part in ("--user-claims", orjson.dumps(one).decode())]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "--require-nonce", *users,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    issuer = f"http://{LOOPBACK}:{port}"
    try:
        async with aiohttp.ClientSession() as http:
            await eventually(lambda: _answers(http, issuer), within_s=20)
        yield issuer
    finally:
        process.terminate()
        await process.wait()


async def _answers(http: aiohttp.ClientSession, issuer: str) -> None:
    try:
        async with http.get(f"{issuer}/.well-known/openid-configuration") as response:
            assert response.status == 200
    except aiohttp.ClientError as error:
        raise AssertionError(f"the provider is not up yet: {error}") from None
