"""The operation that values another policy on a template's log."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

from shared.admin.context import Asking, Context
from shared.admin.errors import Refused
from shared.admin.operation import ResultModel, operation_after
from shared.admin.results.days import zone_of_org
from shared.admin.results.earned_store import read_earned
from shared.admin.results.results import IN_SPAN, SELECT_TEMPLATE, AskedResults
from shared.admin.results.store import Asked, read
from shared.admin.results.what_if_log import Rewarded, parse_policy, rewarded, value_json, valued
from shared.admin.templates.one import no_template
from shared.zones import begin_of, day_in

MOST_DECISIONS: Final = 2_000_000
"""Beyond it nothing is begun: the count is there already, reading them all is not."""

READ_S: Final = 20.0
"""Real seconds that reading the log may take, however few decisions it holds. `justai what-if` has no such limit."""

TOO_MUCH: Final = "too_much"

# Counted ahead; days that are not counted yet are what the limit of time is for.
SELECT_DECISIONS = f"""
    SELECT coalesce(sum(assigned), 0)::bigint FROM result_counts
    WHERE org_id = $1 AND template_id = $2 AND attr = '' AND {IN_SPAN}
"""  # noqa: S608  # our own text


class AskedWhatIf(AskedResults):
    """`policy`: `uniform`, `best`, or `fixed:A=0.5,B=0.5` by the variants' names."""

    policy: str


class WhatIf(ResultModel):
    """What the policy would have earned a delivered send, in the reward of the template's own. `within` holds at every
    look; `ess`: effective sends that speak of it; `logged`: what was sent had."""

    policy: str
    shares: Mapping[str, float]
    reward: Literal["click", "conversion", "revenue"]
    unit: str
    outcome: Literal["estimated", "not enough yet"]
    why: str | None = None
    more_sends: int | None = None
    snipw: float | None = None
    within: tuple[float, float | None] | None = None
    ipw: float | None = None
    dr: float | None = None
    ess: float | None = None
    sends: int | None = None
    left_out: int | None = None
    logged: float | None = None
    control: float | None = None


@dataclass(frozen=True, slots=True)
class _Log:
    names: Mapping[Any, str]
    log: Rewarded


async def _read(asking: Asking, asked: AskedWhatIf) -> _Log:
    """The whole log of that time; refused where that is more than somebody can be made to wait for."""
    async with asking.means.database.transaction(asking.org_id) as connection:
        zone = await zone_of_org(connection, asking.org_id)
        since, until = asked.span(day_in(zone, asking.means.clock.now()))
        if await connection.fetchrow(SELECT_TEMPLATE, asking.org_id, asked.template_id) is None:
            raise no_template(asked.template_id)
        decisions = await connection.fetchval(SELECT_DECISIONS, asking.org_id, asked.template_id, since, until)
    if decisions > MOST_DECISIONS:
        raise _too_much(f"there are {decisions:,} decisions since then, and at most {MOST_DECISIONS:,} are read here")
    begin, end = begin_of(since, zone), begin_of(until + timedelta(days=1), zone)
    wanted = Asked(asking.org_id, asked.template_id, begin, end, zone)
    try:
        async with asyncio.timeout(READ_S):
            known = await read(asking.means.database, wanted)
            earned = await read_earned(asking.means.database, wanted)
    except TimeoutError:
        raise _too_much(f"what was decided since then could not be read within {READ_S:g} s") from None
    return _Log(known.names, rewarded(known, earned))


def _too_much(why: str) -> Refused:
    return Refused(f"is too early: {why}; ask for fewer days", code=TOO_MUCH, field="since")


@operation_after(
    _read, "results.what_if", "GET", "/templates/{template_id}/results/what-if", "viewer",
    "Estimate from the log what another policy would have earned.",
)  # fmt: skip
async def what_if(context: Context, asked: AskedWhatIf, known: _Log) -> WhatIf:
    wanted = parse_policy(asked.policy, known.names, known.log)
    return WhatIf.model_validate({**value_json(wanted, valued(wanted, known.log), known.log), "unit": known.log.unit})
