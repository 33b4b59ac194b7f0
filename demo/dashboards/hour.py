"""An hour of the demo's shop in which much happens, so that dashboards have something to show."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from demo.days import TEMPLATE
from demo.shop import newcomers
from demo.story import ORG, Shop, set_up
from demo.waiting import Show
from demo.world import World

MINUTES: Final = 60
_MINUTE_S: Final = 60.0
_WAVE_MIN: Final = 5
_CALM: Final = {TEMPLATE: 150, "welcome": 100, "winback": 60, "birthday": 20}
"""How many people enter a flow in five minutes when business is as usual."""
_BUSY: Final = (0.6, 0.8, 1.0, 1.1, 1.2, 1.3, 1.2, 1.1, 1.0, 1.0, 0.8, 0.7)
"""Of that, by five minutes."""
_CROWD, _CROWD_S = 3_000, 120.0
_DOWN_S: Final = 180.0
_FILES_MIN: Final = 10
_CALL_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that pictures point at: from when until when (None: it is a moment), and what it was."""

    begin: datetime
    end: datetime | None
    what: str


@dataclass(frozen=True, slots=True)
class Hour:
    """When it was, and what went wrong in it."""

    begin: datetime
    end: datetime
    moments: Sequence[Moment]

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=datetime.isoformat)

    @classmethod
    def from_json(cls, text: str) -> Self:
        said = json.loads(text)
        at = datetime.fromisoformat
        moments = [Moment(at(one["begin"]), one["end"] and at(one["end"]), one["what"]) for one in said["moments"]]
        return cls(at(said["begin"]), at(said["end"]), moments)


async def live(world: World, show: Show) -> Hour:
    """Set the shop up and let the hour pass. Raises RuntimeError when something does not work that should."""
    shop = await set_up(world, 0, show, scopes="all")
    api_key = (await world.justai("key", "create", ORG, "shop-site", "--quiet")).strip()
    begin = world.clock.now()
    people = _People(world)
    moments: list[Moment] = []
    async with asyncio.TaskGroup() as side_by_side:
        for act in (_waves, _trouble):
            side_by_side.create_task(act(world, shop, people, begin, moments))
        side_by_side.create_task(_files(world, begin))
        side_by_side.create_task(_callers(world, people, api_key, begin))
        async for minute in _minutes(world, begin, 1):
            show("An eventful hour", minute, MINUTES)
    return Hour(begin, world.clock.now(), moments)


class _People:
    """Newcomers without end; nobody is let in twice."""

    def __init__(self, world: World) -> None:
        self._world, self._drawn, self._rng = world, 0, random.Random(5)  # noqa: S311  # a story, no secret

    async def draw(self, count: int) -> list[str]:
        first, self._drawn = self._drawn, self._drawn + count
        return await self._world.box.add_people(newcomers(first, count, self._rng))


async def _minutes(world: World, begin: datetime, every: int) -> AsyncIterator[int]:
    """Minutes since `begin`, as they come."""
    for minute in range(0, MINUTES, every):
        await _until(world, begin, minute)
        yield minute
    await _until(world, begin, MINUTES)


async def _until(world: World, begin: datetime, minute: float) -> None:
    left_s = (begin + timedelta(minutes=minute) - world.clock.now()).total_seconds()
    await world.clock.sleep(max(0.0, left_s))


async def _waves(world: World, shop: Shop, people: _People, begin: datetime, moments: list[Moment]) -> None:
    """Business as usual."""
    async for minute in _minutes(world, begin, _WAVE_MIN):
        for template_id, calm in _CALM.items():
            group = await people.draw(round(calm * _BUSY[minute // _WAVE_MIN]))
            await world.box.trigger(shop.flows[template_id], group, _WAVE_MIN * _MINUTE_S)


async def _trouble(world: World, shop: Shop, people: _People, begin: datetime, moments: list[Moment]) -> None:
    """What the dashboards are there for."""
    crowd = await people.draw(_CROWD)
    await _until(world, begin, 12)
    at = world.clock.now()
    await world.box.trigger(shop.flows["winback"], crowd, _CROWD_S)
    moments.append(Moment(at, at + timedelta(seconds=_CROWD_S), f"{_CROWD:,} people enter a flow within two minutes"))

    await _until(world, begin, 27)
    at = world.clock.now()
    await world.processes.end("generator")
    await world.clock.sleep(_DOWN_S)
    world.processes.start(world.services["generator"])
    await world.processes.ready("generator")
    moments.append(Moment(at, world.clock.now(), "The generator is down"))

    await _until(world, begin, 40)
    at = world.clock.now()
    await world.box.break_down(kind="status", status=503)
    await _until(world, begin, 44)
    await world.box.mend()
    moments.append(Moment(at, world.clock.now(), "Klaviyo answers every call with 503"))

    await _until(world, begin, 52)
    folder = Path(world.endpoints.sftp_root) / world.bucket
    (folder / "klaviyo_events_renamed.csv").write_text("who,what,when\nann@people.example,opened,yesterday\n")
    moments.append(Moment(world.clock.now(), None, "An event file comes in a layout that nobody knows"))


async def _files(world: World, begin: datetime) -> None:
    """Klaviyo drops a file of events every ten minutes; half-way the hours so far are exported."""
    layouts: Sequence[dict[str, Any]] = (
        {"layout": "nested", "format": "csv"}, {"layout": "flattened", "format": "jsonl", "gzip": True},
    )  # fmt: skip
    async for minute in _minutes(world, begin, _FILES_MIN):
        if minute:
            await world.box.export(".", **layouts[minute // _FILES_MIN % len(layouts)])
        if minute == MINUTES // 2:
            first, last = (f"{at:%Y-%m-%dT%H}" for at in (begin, world.clock.now() + timedelta(hours=1)))
            await world.justai("export", "backfill", ORG, "--from", first, "--to", last, "--no-wait")


async def _callers(world: World, people: _People, api_key: str, begin: datetime) -> None:
    """The shop's own site asks for copy and waits for it; now and then it forgets to say whom for."""
    url, headers = f"{world.gateway_url}/api/generate/{ORG}", {"X-Api-Key": api_key, "Prefer": "wait=1"}
    visitors = await people.draw(int(MINUTES * _MINUTE_S / _CALL_S))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        for number, visitor in enumerate(visitors):
            await _until(world, begin, number * _CALL_S / _MINUTE_S)
            body = {"template_id": "welcome", "tracking_id": f"{visitor}.site.{number}"}
            if number % 8:
                body["user_id"] = visitor
            with suppress(aiohttp.ClientError, TimeoutError):
                async with http.post(url, json=body, headers=headers) as response:
                    await response.read()
