"""The second act: days of newcomers, in which the ranker learns what whom to send. It sees only what people click.

A day is: people enter, get their emails, click; the night passes in a leap of the clock; in the morning Klaviyo drops
its file, ingest reads it, the ranker fits, and somebody looks at `justai results` and `justai policy show`.
"""

import asyncio
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from demo.box import FlowIds
from demo.shop import newcomers
from demo.shop.tastes import LINKS, PERSONAS
from demo.waiting import Show, until
from demo.world import World

TEMPLATE = "tasting"
DAYS = 4
A_DAY = 400  # people; the account's quota is 750 writes a minute
_SPREAD_S = 40.0  # virtual
_MINUTE_S, _DAY_S = 60, 86_400

SELECT_BUSY = """
    SELECT (SELECT count(*) FROM pending_writes) +
           (SELECT count(*) FROM profile_state WHERE state <> 'clean' AND clean_at <= $1)
"""
SELECT_LOADED = "SELECT count(*) FROM ingest_files WHERE state = 'done'"
SELECT_FILE_ERRORS = "SELECT path, error FROM ingest_files WHERE state IN ('held', 'failed')"
SELECT_FITTED = """
    SELECT lease_until IS NULL AND fitted_at > (SELECT max(settled_at) FROM ingest_files WHERE state = 'done')
    FROM policy_fits WHERE template_id = $1
"""
SELECT_SNAPSHOTS = "SELECT count(*) FROM policy_snapshots WHERE template_id = $1 AND fitted_until IS NOT NULL"
SELECT_DECISIONS = "SELECT generation_id::text, decision FROM generations WHERE template_id = $1"

Shares = Mapping[str, Mapping[str, float]]
"""By persona and by name of the variant."""


@dataclass(frozen=True, slots=True)
class Look:
    """What `justai` said on the morning after a day. `results` is as docs/results.md describes it."""

    day: int
    results: Mapping[str, Any]
    shares: Shares

    @property
    def lift(self) -> Mapping[str, Any] | None:
        """The lift until then, `lift` and `lift_within`; None when nothing can be said at all."""
        found = self.results["lift"]
        lift: Mapping[str, Any] | None = found.get("so_far") if found["outcome"] == "not enough yet" else found
        return lift


@dataclass(frozen=True, slots=True)
class Days:
    """What the second act ends with."""

    before: Shares
    looks: list[Look]
    outcomes: Mapping[str, Any]
    event_files: int
    snapshots: int


async def learn(world: World, flow: FlowIds, org: str, show: Show) -> Days:
    """All days; raises when one does not come to its end."""
    before = shares_of(await _policy(world, org, world.clock.now()))
    looks: list[Look] = []
    morning: datetime | None = None
    for day in range(1, DAYS + 1):
        began = world.clock.now()
        async with asyncio.TaskGroup() as both:
            both.create_task(_newcomers(world, flow, day, show))
            if morning is not None:
                looking = both.create_task(_look(world, org, day - 1, morning))
        if morning is not None:
            looks.append(looking.result())
        await _night(world, began)
        await _feedback(world, day, show)
        morning = world.clock.now()
    looks.append(await _look(world, org, DAYS, world.clock.now()))
    rows = await world.database.fetch(SELECT_DECISIONS, TEMPLATE)
    await world.box.tell_decisions({row["generation_id"]: row["decision"] for row in rows})
    return Days(
        before=before,
        looks=looks,
        outcomes=await world.box.outcomes(flow_id=flow.flow_id),
        event_files=int(await world.database.fetchval(SELECT_LOADED)),
        snapshots=int(await world.database.fetchval(SELECT_SNAPSHOTS, TEMPLATE)),
    )


async def _newcomers(world: World, flow: FlowIds, day: int, show: Show) -> None:
    """People sign up, enter the flow and get their emails."""
    people = newcomers((day - 1) * A_DAY, A_DAY, random.Random(day))  # noqa: S311  # a story, no secret
    await world.box.trigger(flow, await world.box.add_people(people), _SPREAD_S)

    async def sent() -> bool:
        through = (await world.box.progress(flow))["finished"]
        show(f"Days of newcomers: day {day}", through, DAYS * A_DAY)
        return bool(through >= day * A_DAY)

    await until(sent, f"day {day}")


async def _night(world: World, began: datetime) -> None:
    """A day after `began`, by whole minutes, so that nobody's count of Klaviyo's minutes is upset."""

    async def quiet() -> bool:
        return not await world.database.fetchval(SELECT_BUSY, world.clock.now())

    await until(quiet, "coming to rest")
    left_s = _DAY_S - (world.clock.now() - began).total_seconds()
    world.clock.leap(left_s // _MINUTE_S * _MINUTE_S)


async def _feedback(world: World, day: int, show: Show) -> None:
    """The night's file is read, and the ranker has fitted what it says."""
    wanted = await world.database.fetchval(SELECT_LOADED) + 1
    layouts: list[dict[str, Any]] = [{"layout": "nested", "format": "csv"}, {"layout": "flattened", "format": "jsonl"}]
    await world.box.export(".", **layouts[day % len(layouts)])

    async def fitted() -> bool:
        if trouble := await world.database.fetch(SELECT_FILE_ERRORS):
            raise RuntimeError(f"{trouble[0]['path']} was not loaded: {trouble[0]['error']}")
        loaded = await world.database.fetchval(SELECT_LOADED) >= wanted
        return loaded and bool(await world.database.fetchval(SELECT_FITTED, TEMPLATE))

    await until(fitted, f"learning from day {day}")
    show("Files read and learned from", day, DAYS)


async def _look(world: World, org: str, day: int, at: datetime) -> Look:
    """As somebody would who came in at that moment."""
    results, policy = await asyncio.gather(
        world.justai("results", org, TEMPLATE, "--until", f"{at:%Y-%m-%dT%H:%M:%S}", "--json"), _policy(world, org, at)
    )
    return Look(day, json.loads(results), shares_of(policy))


async def _policy(world: World, org: str, at: datetime) -> Mapping[str, Any]:
    shown = await world.justai("policy", "show", org, TEMPLATE, "--at", at.isoformat(), "--json")
    policy: Mapping[str, Any] = json.loads(shown)
    return policy


def shares_of(policy: Mapping[str, Any]) -> Shares:
    """The mean over a persona's cells, whose people are equally many; who has none draws as everybody else."""
    if policy["snapshot_id"] is None:
        return {persona: dict.fromkeys(LINKS, 1 / len(LINKS)) for persona in PERSONAS}
    names = [one["name"] for one in policy["variants"]]
    found = {}
    for persona in PERSONAS:
        own = [shares for cell, shares in policy["cells"].items() if f"persona={persona}" in cell.split("&")]
        columns = zip(*(own or [policy["otherwise"]]), strict=True)
        found[persona] = {name: sum(column) / len(column) for name, column in zip(names, columns, strict=True)}
    return found
