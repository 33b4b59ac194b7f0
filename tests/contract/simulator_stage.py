"""A stage for people who walk through flows: a real webhook receiver and a box, on one frozen clock."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aiohttp import web

from shared.clock import FrozenClock
from simulator.account import Account
from simulator.ledger_file import LedgerFile
from simulator.settings import SimulatorSettings
from tests.contract.simulator_box import Caller, profile_body, running_box
from tests.support.loopback import hosted
from tests.support.waiting import eventually

DELAY_S = 120.0
BODY = '{"user_id": "{{ person.KlaviyoID }}", "name": "{{ person.first_name|escapejs }}", "plan": "{{ person.plan }}"}'
CONTROL_HTML = "<p>Our best sellers</p>"


@dataclass
class Gateway:
    """The receiver of a flow's webhooks. It answers `statuses` in turn, the last one for ever, and names a fresh
    generation with every 2xx unless `generation_id` is set; an empty one is left out of the answer."""

    clock: FrozenClock
    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [202])
    generation_id: str | None = None
    works_s: float = 0.0
    calls: list[tuple[datetime, Mapping[str, str], bytes]] = field(default_factory=list)
    generations: dict[str, str] = field(default_factory=dict)
    busy: int = 0
    busiest: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            raw = await request.read()
            self.calls.append((self.clock.now(), dict(request.headers), raw))
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            if status >= 300:
                return web.json_response({"error": {}}, status=status)
            named = str(uuid.uuid4()) if self.generation_id is None else self.generation_id
            self.generations[json.loads(raw)["user_id"]] = named
            await asyncio.sleep(self.works_s)
            return web.json_response({"generation_id": named} if named else {}, status=status)
        finally:
            self.busy -= 1


@asynccontextmanager
async def receiving(clock: FrozenClock) -> AsyncIterator[Gateway]:
    gateway = Gateway(clock)
    app = web.Application()
    app.router.add_post("/api/generate/shop", gateway.answer)
    async with hosted(app) as url:
        gateway.url = f"{url}/api/generate/shop"
        yield gateway


@dataclass
class Stage:
    """One flow with its people, and the moves of the story."""

    caller: Caller
    account: Account
    clock: FrozenClock
    gateway: Gateway
    flow: dict[str, Any]
    people: list[str]

    @property
    def email(self) -> dict[str, Any]:
        action: dict[str, Any] = self.flow["actions"][-1]
        return action

    def flow_path(self, button: str) -> str:
        return f"/accounts/{self.account.id}/flows/{self.flow['id']}/{button}"

    async def enter(self, people: Sequence[str] | None = None, **how: Any) -> Any:
        """Let people in, and wait until their webhooks have been answered or sent away."""
        wanted = list(people or self.people)
        admitted = await self.caller.sim("POST", self.flow_path("trigger"), {"profile_ids": wanted, **how})
        await self.until(lambda progress: "waiting" not in progress["webhooks"])
        return admitted

    async def until(self, reached: Any) -> dict[str, Any]:
        async def check() -> Any:
            progress = await self.caller.sim("GET", self.flow_path("progress"))
            return progress if reached(progress) else None or False

        progress: dict[str, Any] = await eventually(check, within_s=60)
        return progress

    async def write(self, profile_id: str, generation_id: str, subject: str = "Hi", **more: Any) -> None:
        """Write a generation's copy as our writer does."""
        copy = {
            "jai_subject": subject,
            "jai_preheader": "pre",
            "jai_body": f"<p>{subject} body</p>",
            "jai_generation": generation_id,
            "jai_for": f"welcome.{self.flow['id']}.{self.email['id']}",
        }
        reply = await self.caller.api("PATCH", f"/api/profiles/{profile_id}", profile_body(profile_id, copy | more))
        assert reply.status == 200

    async def write_all(self, subject: str = "Hi") -> None:
        for profile_id in self.people:
            await self.write(profile_id, self.gateway.generations[profile_id], subject)

    async def clean(self, profile_id: str) -> None:
        body = profile_body(profile_id)
        body["data"]["meta"] = {"patch_properties": {"unset": ["jai_subject", "jai_body", "jai_generation", "jai_for"]}}
        assert (await self.caller.api("PATCH", f"/api/profiles/{profile_id}", body)).status == 200

    async def send(self, seconds: float = DELAY_S) -> None:
        """Let time pass and wait until everyone's email has left."""
        self.clock.advance(seconds)
        await self.until(lambda progress: progress["finished"] == progress["entered"])

    async def outcomes(self) -> Any:
        return await self.caller.sim("GET", f"/accounts/{self.account.id}/outcomes?rows=1&flow_id={self.flow['id']}")


def guarded(marker: str) -> dict[str, str]:
    """An email that checks the marker, in the form of the handed-out snippet."""
    fits = f"person|lookup:'jai_for' == '{marker}' and person|lookup:'jai_body'"

    def place(name: str, filters: str, otherwise: str) -> str:
        shown = f"{{{{ person|lookup:'jai_{name}'{filters} }}}}"
        return f"{{% if {fits} %}}{shown}{{% else %}}{otherwise}{{% endif %}}"

    body = place("body", "|safe", CONTROL_HTML)
    return {
        "subject": place("subject", "", "This week"),
        "preview_text": place("preheader", "|default:''", ""),
        "html": f"<html><p>Corner Shop</p>{body}<footer>{{% unsubscribe %}}</footer></html>",
    }


async def add_flow(caller: Caller, account: Account, gateway: Gateway, **changed: Any) -> dict[str, Any]:
    webhook = {"type": "send-webhook", "url": gateway.url, "headers": {"X-Api-Key": "k1"}, "body": BODY}
    delay = {"type": "time-delay", "unit": "minutes", "value": 2}
    mail = {"type": "send-email", "name": "Welcome 1", "subject": "-", "html": "-"}
    flow: dict[str, Any] = await caller.sim(
        "POST", f"/accounts/{account.id}/flows", {"name": "Welcome", "actions": [webhook | changed, delay, mail]}
    )
    email = flow["actions"][-1]
    path = f"/accounts/{account.id}/flows/{flow['id']}/actions/{email['id']}"
    await caller.sim("PATCH", path, guarded(f"welcome.{flow['id']}.{email['id']}"))
    return flow


@asynccontextmanager
async def staged(
    people: int = 1, settings: SimulatorSettings | None = None, ledger_file: LedgerFile | None = None, **changed: Any
) -> AsyncIterator[Stage]:
    clock = FrozenClock()
    async with (
        running_box(clock, settings, ledger_file=ledger_file) as (caller, account),
        receiving(clock) as gateway,
    ):
        persons = [{"email": f"p{n}@x.example", "first_name": 'D\'Arcy "Bob"'} for n in range(people)]
        made = await caller.sim("POST", f"/accounts/{account.id}/profiles", {"profiles": persons})
        flow = await add_flow(caller, account, gateway, **changed)
        yield Stage(caller, account, clock, gateway, flow, made["ids"])
