"""A shop whose gateway, generator and profile writer run as processes, and its Klaviyo account in a box in this one.

Everything is set up through the `justai` command and the box's own buttons; the services are seen only through what
they do to the box over HTTP. All share one scaled clock, which can jump.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from demo.box import Box, FlowIds
from devstack import Endpoints
from devstack.isolation import fresh_database, fresh_virtual_host
from devstack.ports import LOOPBACK, free_ports
from devstack.processes import supervise
from devstack.services import environment, run_justai, services
from shared.clock import ScaledClock
from shared.snippet import Snippet, properties
from simulator.account import Account
from simulator.app import serving
from simulator.flow.ledger import Entry
from simulator.settings import SimulatorSettings
from simulator.world import World
from tests.support.waiting import eventually

FACTOR = 10.0  # a turn of writes, 1.5 s, has 150 ms for its claim and its sending
DELAY_S = 60
WINDOW_S = 40
ORG = "shop"
ROOT = Path(__file__).parents[2]
_NAMES = ("gateway", "generator", "profile_writer")
_REAL_S = 60.0  # patience


class JumpingClock(ScaledClock):
    """A scaled clock that may jump ahead; whoever sleeps wakes when the moment is there."""

    def __init__(self, origin: datetime, factor: float, real_origin: float) -> None:
        super().__init__(origin, factor, real_origin)
        self._ahead = timedelta(0)
        self._jumped = asyncio.Event()

    def now(self) -> datetime:
        return super().now() + self._ahead

    async def sleep(self, seconds: float) -> None:
        wakes_at = self.now() + timedelta(seconds=seconds)
        while (left_s := (wakes_at - self.now()).total_seconds()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s / FACTOR):
                    await self._jumped.wait()

    def jump(self, ahead: timedelta) -> None:
        self._ahead += ahead
        self._jumped.set()
        self._jumped = asyncio.Event()


@dataclass
class Stage:
    """The shop. Methods that wait return when what they wait for has been seen in the box."""

    env: Mapping[str, str]
    folder: Path
    origin: datetime
    real_origin: float
    clock: JumpingClock
    world: World
    box: Box
    account: Account
    private_key: str
    api_key: str
    prefixes: set[str] = field(default_factory=set)

    async def justai(self, *arguments: str, given: str = "") -> str:
        return await run_justai(self.env, *arguments, given=given)

    @asynccontextmanager
    async def serving(
        self, *, ahead: timedelta = timedelta(0), names: Sequence[str] = _NAMES, **settings: str
    ) -> AsyncIterator[str]:
        """Our services, their clock so far ahead of the start; the gateway's URL."""
        spec = f"scaled:{FACTOR:g}:{self.real_origin}:{(self.origin + ahead).isoformat()}"
        env = {**self.env, "JUSTAI_CLOCK": spec} | {f"JUSTAI_{name.upper()}": value for name, value in settings.items()}
        running = services(env, names)
        async with supervise(running.commands, log_dir=self.folder / f"logs-{ahead.days}", cwd=ROOT):
            yield running.gateway_url

    async def add_flow(self, template_id: str, gateway_url: str, *, prefix: str = "jai") -> FlowIds:
        """A flow with the template's snippet in its email step, as a marketer sets it up."""
        ids = await self.box.add_flow(template_id.title(), template_id, gateway_url, ORG, self.api_key)
        await self.box.change_step(ids, ids.delay_action_id, unit="minutes", value=DELAY_S // 60)
        path = self.folder / f"{template_id}.yaml"
        path.write_text(yaml.safe_dump(_template(template_id, ids, prefix)))
        await self.justai("template", "import", ORG, str(path))
        snippet = Snippet(**json.loads(await self.justai("snippet", ORG, template_id, "--json")))
        await self.box.paste(ids, snippet)
        await self.box.change_step(ids, ids.treatment_action_id, prefix=prefix)
        self.prefixes.add(prefix)
        return ids

    async def person(self, first_name: str) -> str:
        attributes = {"email": f"{time.monotonic_ns()}@people.example", "first_name": first_name}
        [profile_id] = await self.box.add_people([attributes])
        return profile_id

    async def rename(self, profile_id: str, first_name: str) -> None:
        """So that the next webhook asks for another copy than the last one."""
        await self.box.change(self.private_key, profile_id, {"first_name": first_name})

    async def enter(self, ids: FlowIds, profile_id: str) -> Entry:
        assert await self.box.trigger(ids, [profile_id], 0.0) == 1
        return self.entries(profile_id)[-1]

    def entries(self, profile_id: str) -> list[Entry]:
        """A person's ways through flows, the latest last."""
        return [entry for entry in self.world.ledgers[self.account.id].entries if entry.profile_id == profile_id]

    async def finished(self, *entries: Entry) -> None:
        """Their flows are over: what emails there are have left."""
        await eventually(lambda: all(entry.finished for entry in entries), within_s=_REAL_S)

    async def accepted(self, *entries: Entry) -> None:
        """The gateway has answered 202."""
        await eventually(lambda: all(entry.accepted_at is not None for entry in entries), within_s=_REAL_S)

    async def written(self, entry: Entry, prefix: str = "jai") -> None:
        """The copy of this entry is on its person's profile."""
        await self.accepted(entry)
        wanted = (f"{prefix}_generation", entry.generation_id)
        await eventually(lambda: self.held(entry.profile_id).get(wanted[0]) == wanted[1], within_s=_REAL_S)

    async def clean(self, *people: str) -> None:
        """Nothing of ours is on these profiles any more."""
        names = {name for prefix in self.prefixes for name in properties(prefix)}
        await eventually(lambda: all(names.isdisjoint(self.held(one)) for one in people), within_s=_REAL_S)

    def held(self, profile_id: str) -> Mapping[str, Any]:
        """The properties of a profile."""
        return self.account.profiles[profile_id].state.properties

    def change_settings(self, **changed: Any) -> None:
        """Another of Klaviyo's unknowns from now on."""
        self.world.settings = self.world.settings.model_copy(update=changed)

    async def shown(self) -> dict[str, list[str]]:
        """What the emails of each person showed, in the order they left."""
        found: dict[str, list[str]] = {}
        for row in sorted((await self.box.outcomes(rows=True))["rows"], key=lambda row: row["sent_at"]):
            found.setdefault(row["profile_id"], []).append(row["outcome"])
        return found


@asynccontextmanager
async def staged(endpoints: Endpoints, folder: Path) -> AsyncIterator[Stage]:
    """An org with its account connected; no flows, no services yet."""
    origin, real_origin = datetime(2026, 11, 23, 10, 0, tzinfo=UTC), time.time()
    clock = JumpingClock(origin, FACTOR, real_origin)
    world = World(clock, SimulatorSettings(retry_unanswered=True, webhook_retries=1, hold_on_retry=True))
    async with (
        fresh_database(endpoints.database_url) as database_url,
        fresh_virtual_host(endpoints) as amqp_url,
        serving(world) as box,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http,
    ):
        spec = f"scaled:{FACTOR:g}:{real_origin}:{origin.isoformat()}"
        env = environment(database_url=database_url, amqp_url=amqp_url, clock=spec, gateway_linger_s="0.1")
        buttons = Box(http, box.url)
        await run_justai(env, "org", "create", ORG, "Corner Shop")
        api_key = (await run_justai(env, "key", "create", ORG, "webhook", "--quiet")).strip()
        private_key = await buttons.open_account("Corner Shop")
        await run_justai(env, "klaviyo", "connect", ORG, "--base-url", box.url, "--key-stdin", given=private_key)
        [account] = world.accounts.values()
        yield Stage(env, folder, origin, real_origin, clock, world, buttons, account, private_key, api_key)


def dead_url() -> str:
    """Where nobody answers."""
    return f"http://{LOOPBACK}:{free_ports(1)[0]}"


def _template(template_id: str, ids: FlowIds, prefix: str) -> dict[str, Any]:
    return {
        "template_id": template_id,
        "name": template_id.title(),
        "state": "active",
        "property_prefix": prefix,
        "delay_s": DELAY_S,
        "send_window_s": WINDOW_S,
        "flow": {"flow_id": ids.flow_id, "treatment_action_id": ids.treatment_action_id},
        "control": {"subject": "This week", "preheader": "At the corner", "body": "<p>Our best sellers.</p>"},
        "variants": [
            {
                "name": "Hello",
                "approved": True,
                "subject": f"{template_id}: {{{{ first_name | default: 'you' }}}}, a word",
                "preheader": "Only for you",
                "body": f"<p>Dear {{{{ first_name | default: 'you' }}}}, this is {template_id}.</p>",
            }
        ],
    }
