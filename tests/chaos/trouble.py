"""What every trouble has in common; see `troubles`."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count

from devstack.services import CommandFailed, run_justai
from tests.chaos.client import webhooks
from tests.chaos.oracle import Violation
from tests.chaos.orgs import Org
from tests.chaos.rig import Rig
from tests.support.waiting import eventually

HOUR_S = 3600
WITHIN_S = 60.0
_ASKED = slice(0, 150)
_entries = count()


class Trouble:
    """One kind. In this order: `before` the service is started so that it dies, `during` until it has, `after` it was
    started again. `allowed`: what the oracle finds and this trouble asks for."""

    env: Mapping[str, str] = {}

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig, self.seed = rig, seed

    async def before(self) -> None: ...
    async def during(self) -> None: ...
    async def after(self) -> None: ...

    def allowed(self, one: Violation) -> bool:
        return False

    @property
    def org(self) -> Org:
        return self.rig.orgs[0]

    async def ask(self) -> None:
        await self.rig.client.load(webhooks(self.rig.orgs, 6, self.seed, people=_ASKED), 40)

    async def emailed(self) -> Sequence[str]:
        """Others enter the flows, and their emails leave; who they are in our org."""
        number = next(_entries)
        people = slice(_ASKED.stop + 2 * number, _ASKED.stop + 2 * (number + 1))
        await self.rig.enter(people)
        await self.rig.settled()
        await self.rig.emails_left()
        return self.org.people[people]

    async def none_left(self, statement: str, *values: object) -> None:
        async def done() -> None:
            assert await self.rig.fetchval(statement, *values) == 0

        await eventually(done, within_s=WITHIN_S, every_s=0.25)


class Somebody(Trouble):
    """Tries something by a command, which a service answers: another try says how it is."""

    told: tuple[str, ...] = ()

    async def during(self) -> None:
        self._first = asyncio.create_task(run_justai(self.rig.env, *self.told))

    async def after(self) -> None:
        with suppress(CommandFailed):
            await self._first
        assert await run_justai(self.rig.env, *self.told)
