"""A running simulator for tests, and a caller that checks every answer against Klaviyo's document."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from shared.clock import Clock, FrozenClock
from simulator.account import Account
from simulator.api.operations import ALL_SCOPES
from simulator.app import Box, serving
from simulator.ledger_file import LedgerFile
from simulator.settings import SimulatorSettings
from simulator.world import World
from tests.contract.klaviyo_spec import MEDIA_TYPE, Spec, check_request, check_response, load_spec

REVISION = "2026-07-15"
JOBS = "/api/profile-bulk-import-jobs"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def error(self) -> Any:
        """The only error of an error answer."""
        (error,) = self.json["errors"]
        return error


@dataclass
class Caller:
    """Calls a box as a well-behaved client does; `checked` counts the answers that the document was asked about."""

    box: Box
    session: aiohttp.ClientSession
    key: str
    spec: Spec | None
    checked: int = 0

    async def api(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None, raw: bytes = b""
    ) -> Reply:
        """One API call; its answer must fit the document, and so must the request when the answer is a success."""
        sent = {"Authorization": f"Klaviyo-API-Key {self.key}", "revision": REVISION, "Accept": MEDIA_TYPE}
        data = raw or (json.dumps(body).encode() if body is not None else b"")
        if data:
            sent["Content-Type"] = MEDIA_TYPE
        sent |= headers or {}
        url = self.box.url + path
        async with self.session.request(method, url, data=data or None, headers=sent) as answer:
            reply = Reply(answer.status, dict(answer.headers), await answer.read())
        if self.spec is not None and reply.headers.get("Content-Type", "").startswith(MEDIA_TYPE):
            self.checked += 1
            if reply.status not in (404, 405) or _is_operation(self.spec, method, path):
                check_response(self.spec, method, path, reply.status, reply.headers, reply.raw)
            if reply.status < 300:
                check_request(self.spec, method, path, sent, data)
        return reply

    async def sim(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """One button of the box; the answer must have this status."""
        async with self.session.request(method, f"{self.box.url}/_sim{path}", json=body) as answer:
            text = await answer.text()
            assert answer.status == status, text
            return json.loads(text)


def _is_operation(spec: Spec, method: str, path: str) -> bool:
    try:
        spec.find(method, path)
    except AssertionError:
        return False
    return True


@asynccontextmanager
async def running_box(
    clock: Clock | None = None,
    settings: SimulatorSettings | None = None,
    seed: int = 1,
    ledger_file: LedgerFile | None = None,
) -> AsyncIterator[tuple[Caller, Account]]:
    """A served world with one account (window phase 0) whose key has all scopes."""
    world = World(clock or FrozenClock(), settings, seed, ledger_file=ledger_file)
    account = world.add_account("Corner Shop", phase_s=0.0)
    key = world.add_key(account, ALL_SCOPES)
    async with serving(world) as box, aiohttp.ClientSession() as session:
        yield Caller(box, session, key.value, load_spec()), account


def profile_body(profile_id: str, properties: Mapping[str, Any] | None = None, **attributes: Any) -> dict[str, Any]:
    """The body of a PATCH of one profile."""
    if properties is not None:
        attributes["properties"] = properties
    return {"data": {"type": "profile", "id": profile_id, "attributes": attributes}}


def bulk_body(*rows: Mapping[str, Any]) -> dict[str, Any]:
    """A bulk import of profiles."""
    profiles = {"data": [{"type": "profile", **row} for row in rows]}
    return {"data": {"type": "profile-bulk-import-job", "attributes": {"profiles": profiles}}}
