"""Workers of drafting and the models that they ask, as a test sets them."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from shared.admin.context import Drafting
from shared.admin.drafts import drafts
from shared.admin.drafts.models import Run
from shared.admin.drafts.store import RunStore
from shared.admin.drafts.work import DraftWorker, Pace
from shared.drafting.drafter import Drafter
from shared.drafting.model import Model
from shared.drafting.opening import open_drafter
from shared.drafting.retries import Limits
from shared.drafting.settings import DraftingSettings
from shared.drafting.usage import Prices
from tests.component.admin.rig import Rig
from tests.support.drafting import BRIEF, llm
from tests.support.llm import FakeModel, Reply, Request
from tests.support.waiting import eventually

QUICK = Pace(tick_s=0.02, renew_s=0.02)
CONTROL = {"subject": "Control", "body": "<p>Control</p>"}
TEMPLATE = {"template_id": "welcome", "name": "Welcome", "control": CONTROL, "variants": []}
ASKED = {"template_id": "welcome", "brief": BRIEF}
MODEL = Model("gpt-test", "http://127.0.0.1:1/v1", "openai", Limits())
DRAFTING = Drafting(MODEL, Prices(2, 10), at_once=2, a_day=10)


class Held:
    """A model whose answers wait until the test lets them go."""

    def __init__(self, *replies: Reply) -> None:
        self.asked, self._go, self._replies = 0, threading.Event(), list(replies)

    def __call__(self, _: Request) -> Reply:
        self.asked += 1
        self._go.wait(90)
        return self._replies[min(self.asked, len(self._replies)) - 1]

    def let_go(self) -> None:
        self._go.set()


@asynccontextmanager
async def worker(rig: Rig, server: FakeModel) -> AsyncIterator[DraftWorker]:
    """One that drafts with this server."""
    known = DraftingSettings.model_construct(
        **{
            **{name: field.default for name, field in DraftingSettings.model_fields.items()},
            **llm(server, api_key=None),
        }
    )
    async with open_drafter(known) as drafter:
        yield made(rig, drafter)


def made(rig: Rig, drafter: Drafter) -> DraftWorker:
    return DraftWorker(RunStore(rig.database), drafter, clock=rig.clock, wall=rig.clock, new_id=uuid4, pace=QUICK)


@asynccontextmanager
async def running(one: DraftWorker) -> AsyncIterator[asyncio.Event]:
    """The worker as a console runs it; it is stopped at the end, and must then be through within a moment."""
    stop = asyncio.Event()
    task = asyncio.create_task(one.run(stop))
    try:
        yield stop
    finally:
        stop.set()
        async with asyncio.timeout(5):
            await task


async def start(rig: Rig, number: int = 2) -> Run:
    return await rig.run(drafts.start, {**ASKED, "number": number})


async def look(rig: Rig, run: Run) -> Run:
    return await rig.run(drafts.show, {"template_id": "welcome", "run_id": run.run_id})


async def over(rig: Rig, run: Run) -> Run:
    async def ended() -> None:
        assert not (await look(rig, run)).going

    await eventually(ended, within_s=10)
    return await look(rig, run)


async def stored(rig: Rig) -> list[str]:
    return [row["name"] for row in await rig.rows("SELECT name FROM variants ORDER BY created_at, name")]
