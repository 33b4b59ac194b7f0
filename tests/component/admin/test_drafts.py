"""Runs of drafting: each draft stored once whoever dies, cancelled or overdue runs store nothing, limits hold."""

import asyncio
import signal
import sys
import threading
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from shared.admin import content_rules, drafts, templates
from shared.admin.context import Drafting
from shared.admin.draft_models import Run
from shared.admin.draft_store import RunStore
from shared.admin.draft_work import DraftWorker, Pace
from shared.admin.drafts import LEASE
from shared.admin.errors import Conflict, NotFound, Refused
from shared.drafting.drafter import Answer, Drafter
from shared.drafting.model import Model
from shared.drafting.opening import open_drafter
from shared.drafting.prompt import Prompt
from shared.drafting.retries import Limits
from shared.drafting.settings import DraftingSettings
from shared.drafting.usage import Prices
from tests.component.admin.rig import Rig
from tests.component.cli.rig import settings as environment
from tests.support.drafting import BRIEF, draft, llm
from tests.support.llm import FakeModel, Reply, Request, completion, fake_model
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
        self._go.wait(20)
        return self._replies[min(self.asked, len(self._replies)) - 1]

    def let_go(self) -> None:
        self._go.set()


@pytest.fixture
async def shop(acme: Rig) -> Rig:
    """An org with a model and a template."""
    rig = replace(acme, drafting=DRAFTING)
    await rig.run(templates.import_template, {"template": {**TEMPLATE}})
    return rig


@pytest.fixture
def model() -> Iterator[FakeModel]:
    with fake_model(*(completion(draft(number)) for number in range(3))) as server:
        yield server


@pytest.fixture
def held() -> Iterator[Held]:
    one = Held(completion(draft(0)), completion(draft(1)))
    yield one
    one.let_go()


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


# --- one run, whoever works it off ------------------------------------------------------------------------------------


async def test_a_run_is_drafted_checked_and_put_into_review_and_nothing_is_approved(
    shop: Rig, model: FakeModel
) -> None:
    run = await start(shop, 3)
    async with worker(shop, model) as one, running(one):
        ended = await over(shop, run)

    assert (run.state, ended.state, ended.stored, ended.in_review) == ("queued", "done", 3, 3)
    assert [one.name for one in ended.results] == ["Two cups", "Map", "Letter"]
    assert [one.theme for one in ended.results] == ["welcome", "offer", "welcome"]
    assert ended.spent == "900 tokens read, 300 written, 0.0048 USD"
    states = await shop.rows("SELECT DISTINCT state, proposed_state FROM variants")
    assert [tuple(row.values()) for row in states] == [("draft", "in_review")]


async def test_several_workers_share_the_queue_and_each_draft_is_asked_for_once(shop: Rig, model: FakeModel) -> None:
    runs = [await start(shop, 3) for _ in range(2)]
    async with worker(shop, model) as one, worker(shop, model) as other, running(one), running(other):
        ended = [await over(shop, run) for run in runs]

    assert [run.stored for run in ended] == [3, 3]
    assert len(model.requests) == 6
    assert len(await stored(shop)) == 6


async def test_a_worker_that_dies_costs_the_answer_on_its_way_and_another_goes_on(shop: Rig, model: FakeModel) -> None:
    run = await start(shop)
    store = RunStore(shop.database)
    dead = await store.claim(shop.clock.now(), shop.clock.now() + LEASE)  # and nothing was ever heard of it again
    async with worker(shop, model) as one, running(one):
        assert dead is not None
        assert await store.claim(shop.clock.now(), shop.clock.now() + LEASE) is None
        shop.clock.at += LEASE + timedelta(seconds=1)
        ended = await over(shop, run)

    assert (ended.state, ended.stored) == ("done", 2)
    assert await stored(shop) == ["Map", "Two cups"]


async def test_a_worker_that_was_paused_beyond_its_lease_stores_nothing(
    shop: Rig, model: FakeModel, held: Held
) -> None:
    run = await start(shop)
    store = RunStore(shop.database)
    with fake_model(held) as slow:
        async with worker(shop, slow) as paused, worker(shop, model) as quick:
            claim = await store.claim(shop.clock.now(), shop.clock.now() + LEASE)
            assert claim is not None
            drafting = asyncio.create_task(paused._drafts(claim, lambda _: None))  # its lease is not renewed
            await eventually(lambda: held.asked == 1)
            shop.clock.at += LEASE + timedelta(seconds=1)
            async with running(quick):
                ended = await over(shop, run)
            held.let_go()
            await drafting

    assert (ended.state, ended.stored) == ("done", 2)
    assert await look(shop, run) == ended
    assert await stored(shop) == ["Map", "Two cups"]


async def test_a_worker_that_stops_gives_its_run_back_at_once(shop: Rig, model: FakeModel, held: Held) -> None:
    run = await start(shop)
    with fake_model(held) as slow:
        async with worker(shop, slow) as one, running(one):
            await eventually(lambda: held.asked == 1)
    given_back = await shop.rows("SELECT state, lease_until, claims FROM draft_runs")
    async with worker(shop, model) as other, running(other):
        ended = await over(shop, run)

    assert given_back == [{"state": "queued", "lease_until": None, "claims": 0}]
    assert (ended.state, ended.stored) == ("done", 2)


async def test_a_lease_is_held_while_a_model_takes_its_time(shop: Rig, held: Held) -> None:
    run = await start(shop)
    with fake_model(held) as slow:
        async with worker(shop, slow) as one, worker(shop, slow) as other, running(one), running(other):
            await eventually(lambda: held.asked == 1)
            for _ in range(3):
                shop.clock.at += LEASE * 0.9
                until = shop.clock.at + LEASE

                async def renewed(until: Any = until) -> None:
                    rows = await shop.rows("SELECT lease_until, epoch FROM draft_runs")
                    assert rows == [{"lease_until": until, "epoch": 1}]

                await eventually(renewed)
            held.let_go()
            ended = await over(shop, run)

    assert (ended.state, held.asked) == ("done", 2)


@asynccontextmanager
async def commanded(held: Held, database_url: str, tmp_path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """`justai variant draft` while it waits for its first answer."""
    path = tmp_path / "brief.yaml"
    path.write_text(yaml.safe_dump(BRIEF))
    command = [sys.executable, "-m", "cli", "variant", "draft", "acme", "welcome", "--brief", str(path), "--number=2"]
    with fake_model(held) as slow:
        known = {f"JUSTAI_{name.upper()}": str(value) for name, value in llm(slow).items()}
        env = {**environment(database_url, "amqp://127.0.0.1:1/"), **known}
        process = await asyncio.create_subprocess_exec(*command, env=env, stdout=DEVNULL, stderr=DEVNULL)
        try:
            await eventually(lambda: held.asked == 1, within_s=30)
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            held.let_go()
            await process.wait()


async def test_a_command_that_is_killed_is_gone_on_with(
    shop: Rig, model: FakeModel, held: Held, database_url: str, tmp_path: Path
) -> None:
    async with commanded(held, database_url, tmp_path) as process:
        process.kill()
        await process.wait()
    shop.clock.at = datetime.now(UTC) + LEASE + timedelta(seconds=1)
    [run] = (await shop.run(drafts.list_runs, {"template_id": "welcome"})).runs
    async with worker(shop, model) as one, running(one):
        await eventually(lambda: _ended(shop))

    ended = await shop.run(drafts.show, {"template_id": "welcome", "run_id": run.run_id})
    assert run.state == "running"
    assert (ended.state, ended.stored) == ("done", 2)
    assert await stored(shop) == ["Map", "Two cups"]


async def test_a_command_that_is_interrupted_cancels_its_run(
    shop: Rig, held: Held, database_url: str, tmp_path: Path
) -> None:
    async with commanded(held, database_url, tmp_path) as process:
        process.send_signal(signal.SIGINT)
        await process.wait()

    shop.clock.at = datetime.now(UTC)
    [run] = (await shop.run(drafts.list_runs, {"template_id": "welcome"})).runs
    assert (run.state, run.stored) == ("cancelled", 0)


async def _ended(rig: Rig) -> bool:
    [run] = (await rig.run(drafts.list_runs, {"template_id": "welcome"})).runs
    return run.state == "done"


async def test_a_draft_that_ended_three_workers_is_left(shop: Rig, model: FakeModel) -> None:
    run = await start(shop)
    store = RunStore(shop.database)
    for _ in range(3):
        assert await store.claim(shop.clock.now(), shop.clock.now() + LEASE) is not None
        shop.clock.at += LEASE + timedelta(seconds=1)
    async with worker(shop, model) as one, running(one):
        ended = await over(shop, run)

    assert (ended.state, ended.code) == ("failed", "left")
    assert model.requests == []


class Broken:
    """A client with a fault that nobody foresaw."""

    model = MODEL

    async def draft(self, prompt: Prompt) -> Answer:
        raise ZeroDivisionError


async def test_a_fault_that_nobody_foresaw_ends_the_run_and_not_the_worker(shop: Rig) -> None:
    runs = [await start(shop), await start(shop)]
    async with running(made(shop, Broken())):
        ended = [await over(shop, run) for run in runs]

    assert {(run.state, run.code) for run in ended} == {("failed", "unexpected")}
    assert "Something broke on our side" in str(ended[0].reason)


async def test_a_failure_of_the_model_ends_the_run_with_its_reason_and_what_was_drafted_stays(shop: Rig) -> None:
    with fake_model(completion(draft(0)), Reply(401, {"error": {"message": "no such key"}})) as server:
        run = await start(shop, 5)
        async with worker(shop, server) as one, running(one):
            ended = await over(shop, run)

    assert (ended.state, ended.stored, len(server.requests)) == ("failed", 1, 2)
    assert "JUSTAI_LLM_API_KEY is not accepted" in str(ended.reason)


async def test_rules_that_changed_while_a_model_wrote_hold_for_its_draft(shop: Rig, held: Held) -> None:
    with fake_model(held) as slow:
        run = await start(shop, 1)
        async with worker(shop, slow) as one, running(one):
            await eventually(lambda: held.asked == 1)
            await shop.run(content_rules.set_rules, {"rules": {"banned_words": ["kettle"]}})
            held.let_go()
            ended = await over(shop, run)

    [result] = ended.results
    assert result.outcome == "draft"
    assert {one.check for one in result.findings if not one.warning} == {"banned_word"}


# --- ends -------------------------------------------------------------------------------------------------------------


async def test_a_run_that_is_cancelled_lets_go_of_the_model_and_stores_nothing(shop: Rig, held: Held) -> None:
    run = await start(shop)
    with fake_model(held) as slow:
        async with worker(shop, slow) as one, running(one):
            await eventually(lambda: held.asked == 1)
            await shop.run(drafts.cancel, {"template_id": "welcome", "run_id": run.run_id}, name="Grace")
            next_one = await start(shop, 1)
            held.let_go()
            await over(shop, next_one)  # the same worker was free for it

    ended = await look(shop, run)
    assert (ended.state, ended.reason, ended.stored) == ("cancelled", "Cancelled by Grace", 0)
    assert len(await stored(shop)) == 1
    with pytest.raises(Conflict, match="over already"):
        await shop.run(drafts.cancel, {"template_id": "welcome", "run_id": run.run_id})


async def test_a_run_that_nobody_worked_off_in_time_has_failed_and_asks_no_model(shop: Rig, model: FakeModel) -> None:
    run = await start(shop)
    shop.clock.at = run.deadline_at
    seen = await look(shop, run)
    [listed] = (await shop.run(drafts.list_runs, {"template_id": "welcome"})).runs
    async with worker(shop, model) as one, running(one):

        async def settled() -> None:
            assert (await shop.rows("SELECT state, code FROM draft_runs")) == [{"state": "failed", "code": "too_late"}]

        await eventually(settled)

    assert (seen.state, seen.code, listed.state) == ("failed", "too_late", "failed")
    assert model.requests == []


async def test_only_what_is_missing_is_asked_for_again_and_only_once(shop: Rig) -> None:
    with fake_model(completion(draft(0)), completion("{"), Reply(503), completion(draft(1))) as server:
        run = await start(shop, 3)
        one_run = {"template_id": "welcome", "run_id": run.run_id}
        with pytest.raises(Conflict, match="not over yet"):
            await shop.run(drafts.retry, one_run)
        async with worker(shop, server) as one, running(one):
            failed = await over(shop, run)
            again = await shop.run(drafts.retry, one_run)
            await over(shop, again)

    assert (failed.state, failed.stored) == ("failed", 1)
    assert (again.number, again.retry_of, again.brief) == (2, run.run_id, run.brief)
    assert (await look(shop, run)).retried_by == again.run_id
    with pytest.raises(Conflict, match="tried again already"):
        await shop.run(drafts.retry, one_run)


async def test_a_run_of_which_all_is_stored_is_not_tried_again(shop: Rig, model: FakeModel) -> None:
    run = await start(shop, 1)
    async with worker(shop, model) as one, running(one):
        await over(shop, run)

    with pytest.raises(Conflict, match="All drafts of the run are stored"):
        await shop.run(drafts.retry, {"template_id": "welcome", "run_id": run.run_id})


# --- what is refused --------------------------------------------------------------------------------------------------


async def test_an_org_has_so_many_runs_at_once_also_when_several_ask_at_the_same_moment(shop: Rig) -> None:
    came = await asyncio.gather(*(start(shop, 1) for _ in range(3)), return_exceptions=True)

    refused = [one for one in came if isinstance(one, Refused)]
    assert [one.code for one in refused] == ["too_many_runs"]
    assert "2 runs of this org are under way" in str(refused[0])
    assert len(await shop.rows("SELECT 1 FROM draft_runs")) == 2


async def test_an_org_may_ask_for_so_many_drafts_in_24_hours(shop: Rig, model: FakeModel) -> None:
    run = await start(shop, 3)
    async with worker(shop, model) as one, running(one):
        await over(shop, run)
    with pytest.raises(Refused, match="more than the 7 drafts that are left: an org may ask for 10 in 24 hours") as no:
        await start(shop, 8)
    cancelled = await start(shop, 7)
    with pytest.raises(Refused, match="the 0 drafts"):
        await start(shop, 1)
    await shop.run(drafts.cancel, {"template_id": "welcome", "run_id": cancelled.run_id})

    found = (await shop.run(drafts.list_runs, {"template_id": "welcome"})).model
    assert no.value.faults[0].field == "number"
    assert found is not None
    assert (found.left_today, found.under_way) == (7, 0)  # of the cancelled one nothing was asked of the model
    shop.clock.at += timedelta(hours=24, seconds=1)
    assert (await start(shop, 8)).state == "queued"


async def test_limits_of_one_org_leave_the_others_alone(shop: Rig) -> None:
    other = await shop.other()
    await other.run(templates.import_template, {"template": {**TEMPLATE}})
    mine = [await start(shop, 1) for _ in range(2)]

    assert (await start(other, 1)).state == "queued"
    with pytest.raises(NotFound):
        await look(other, mine[0])
    with pytest.raises(NotFound):
        await other.run(drafts.cancel, {"template_id": "welcome", "run_id": mine[0].run_id})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"brief": {**BRIEF, "themes": []}}, "brief.themes"),
        ({"brief": {**BRIEF, "goal": "Write to ann@shop.example"}}, "brief.goal"),
        ({"brief": {**BRIEF, "links": ["https://shop.example", "javascript:alert(1)"]}}, "brief.links.1"),
        ({"number": 21}, "number"),
    ],
)
async def test_what_is_wrong_with_a_brief_is_told_by_field(shop: Rig, change: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused) as refused:
        await shop.run(drafts.start, {**ASKED, **change})

    assert [fault.field for fault in refused.value.faults] == [field]


async def test_without_a_model_nothing_is_begun_and_the_setting_is_named(shop: Rig) -> None:
    without = replace(shop, drafting=None)

    with pytest.raises(Refused, match="set JUSTAI_LLM_PROVIDER and JUSTAI_LLM_MODEL") as refused:
        await start(without)

    assert refused.value.code == "no_model"
    assert (await without.run(drafts.list_runs, {"template_id": "welcome"})).model is None
    assert (await without.run(drafts.show_prompt, ASKED)).about_usd is None


async def test_an_archived_or_unknown_template_takes_no_drafts(shop: Rig) -> None:
    await shop.rows("UPDATE templates SET state = 'archived'")

    with pytest.raises(Refused, match="is archived"):
        await start(shop)
    with pytest.raises(NotFound, match="No template 'none'"):
        await shop.run(drafts.start, {**ASKED, "template_id": "none"})


async def test_a_prompt_is_shown_with_what_it_may_cost_and_nothing_is_stored(shop: Rig) -> None:
    shown = await shop.run(drafts.show_prompt, {**ASKED, "number": 3})

    assert "Bring new customers" in shown.user
    assert shown.about_usd is not None
    assert shown.most_usd is not None
    assert 0 < shown.about_usd < shown.most_usd
    assert await shop.rows("SELECT 1 FROM draft_runs") == []
    assert await shop.rows("SELECT 1 FROM audit_log WHERE operation LIKE 'drafts.%'") == []


async def test_a_run_is_begun_and_looked_at_over_http(shop: Rig) -> None:
    path = "/api/v1/orgs/acme/templates/welcome/drafts"
    began = await shop.ask("POST", path, shop.actor("editor"), json={"brief": BRIEF, "number": 2})
    shown = await shop.ask("GET", f"{path}/{began.body['run_id']}", shop.actor("viewer"))
    refused = await shop.ask("POST", path, shop.actor("editor"), json={"brief": {**BRIEF, "theme": "x"}})
    missing = await shop.ask("GET", f"{path}/{uuid4()}", shop.actor("viewer"))

    assert (began.status, began.body["state"], shown.body) == (200, "queued", began.body)
    assert refused.error["message"] == "brief.theme: is no field of this; is it misspelled?"
    assert missing.status == 404
    [entry] = await shop.rows("SELECT operation, target, results FROM audit_log WHERE operation LIKE 'drafts.%'")
    assert tuple(entry.values()) == ("drafts.start", "welcome", {"run_id": began.body["run_id"]})
