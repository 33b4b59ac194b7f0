"""What ranking costs the pipeline: short bursts in turn to orgs that choose uniformly and to orgs that rank.

| arm | attrs | policy | the variant that a person got last |
|---|---|---|---|
| uniform | texts, as they are | all variants alike | may come again |
| ranked | three definitions: options, aliases, patterns | `logistic`, 1,000 cells | is avoided, and remembered |

Half of the people of a burst were in the one before. Every other pair of bursts begins with the ranked one, so that
neither is always the later; the first pair warms up and does not count. Between bursts the tables of generations and
writes are emptied, so that all bursts find them alike.
"""

import itertools
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import uuid4

import asyncpg

from bench.pipeline_stage import Measured, Org, Stage, webhooks
from services.generator.cells import compiled
from shared.schemas.jobs import Attrs

JOBS, PAIRS = 10_000, 6
UNIFORM, RANKED = "uniform", "ranked"
ARMS = (UNIFORM, RANKED)
_LOOK_EVERY_S = 0.05  # a burst takes seconds

_PERSONAS = [f"persona {number}" for number in range(20)]
_PLANS = ["free", "basic", "silver", "gold", "platinum"]
_LANGUAGES = ["de", "en", "fr", "es", "it", "nl", "pl", "pt", "sv", "cs"]
DEFINITIONS: dict[str, Any] = {
    "persona": {"kind": "string", "options": {name: [f"{name}s"] for name in _PERSONAS}},
    "plan": {"kind": "string", "options": {name: [f"/^{name}[ -]/"] for name in _PLANS}, "default": "free"},
    "language": {"kind": "string", "options": _LANGUAGES},
}

ALLOW_REPEATS = "UPDATE templates SET repeats = 'allow' WHERE org_id = $1"
DEFINE = "UPDATE templates SET attributes = $2 WHERE org_id = $1"
INSERT_SNAPSHOT = """
    INSERT INTO policy_snapshots (org_id, template_id, snapshot_id, model, cells, otherwise, created_at, fitted_until)
    VALUES ($1, 'welcome_1', $2, 'logistic', $3, $4, $5, $5)
"""
FORGET = "TRUNCATE generations, generation_aliases, pending_writes"
SELECT_DRAWN = """
    SELECT count(*) FILTER (WHERE reason = 'burn_in') AS uniform,
           count(*) FILTER (WHERE reason = 'explore' AND NOT 0.25 = ANY (probabilities)) AS by_cell,
           count(*) FILTER (WHERE 0 = ANY (probabilities)) AS avoiding
    FROM generations
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two bursts, one straight after the other."""

    uniform: Measured
    ranked: Measured

    @property
    def ratio(self) -> float:
        """The throughput that is kept under ranking."""
        return self.ranked.rate / self.uniform.rate


def attrs_of(number: int) -> Attrs:
    """As the shop sends them: some in other words than the definitions' options."""
    plan = _PLANS[number // 20 % len(_PLANS)]
    return {
        "persona": _PERSONAS[number % len(_PERSONAS)] + ("s" if number % 3 else ""),
        "plan": plan if number % 5 else f"{plan.title()} member",
        "language": _LANGUAGES[number // 100 % len(_LANGUAGES)],
    }


async def prepare(connection: "asyncpg.Connection[asyncpg.Record]", arm: str, orgs: Sequence[Org]) -> None:
    """Before the services start: what the orgs of this arm are told to do."""
    rng = Random(1)
    cells = sorted(cell_names())
    for org in orgs:
        if arm == UNIFORM:
            await connection.execute(ALLOW_REPEATS, org.org_id)
            continue
        await connection.execute(DEFINE, org.org_id, json.dumps(DEFINITIONS))
        shares = json.dumps({cell: _shares(len(org.copy_ids), rng) for cell in cells})
        otherwise = json.dumps({str(copy_id): 1 / len(org.copy_ids) for copy_id in org.copy_ids})
        await connection.execute(INSERT_SNAPSHOT, org.org_id, uuid4(), shares, otherwise, datetime.now(UTC))


async def measure(stage: Stage, orgs: dict[str, list[Org]], jobs: int = JOBS, pairs: int = PAIRS) -> list[Pair]:
    """The pairs that count. Raises RuntimeError when an arm did not do what it stands for."""
    found = []
    for number in range(pairs + 1):
        people = range(number * jobs // 2, number * jobs // 2 + jobs)
        bursts = {}
        for arm in ARMS if number % 2 else reversed(ARMS):
            await stage.connection.execute(FORGET)
            asked = webhooks(orgs[arm], people, stage.port, note=f"{number}", attrs=attrs_of)
            bursts[arm] = await stage.burst(asked, look_every_s=_LOOK_EVERY_S)
            await _check(stage.connection, arm, jobs, again=number > 0)
        if number:
            found.append(Pair(**bursts))
    return found


def ranking_ratio(pairs: Sequence[Pair]) -> float:
    """The median: another process that takes the machine for a second spoils one pair, not the result."""
    return statistics.median(pair.ratio for pair in pairs)


async def _check(connection: "asyncpg.Connection[asyncpg.Record]", arm: str, jobs: int, *, again: bool) -> None:
    row = await connection.fetchrow(SELECT_DRAWN)
    drawn = dict(row) if row else {}
    wanted = {
        "uniform": jobs if arm == UNIFORM else 0,
        "by_cell": jobs if arm == RANKED else 0,
        "avoiding": jobs // 2 if arm == RANKED and again else 0,
    }
    if drawn != wanted:
        raise RuntimeError(f"the {arm} arm drew {drawn}, not {wanted}")


def cell_names() -> set[str]:
    """Every cell that the definitions make of known values."""
    cells = compiled({}, DEFINITIONS, other_attrs="pass", time_zone=None)
    names = itertools.product(_PERSONAS, _PLANS, _LANGUAGES)
    now = datetime.now(UTC)
    return {cells.of({"persona": one, "plan": two, "language": three}, now) for one, two, three in names}


def _shares(variants: int, rng: Random) -> list[float]:
    weights = [rng.random() + 0.01 for _ in range(variants)]
    return [weight / sum(weights) for weight in weights]
