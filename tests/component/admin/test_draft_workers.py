"""Runs of drafting: each draft is stored once whoever dies, and what was cancelled or is overdue stores nothing."""

import asyncio
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.admin.drafts import drafts
from shared.admin.drafts.drafts import LEASE
from shared.admin.drafts.steps import Ended
from shared.admin.drafts.store import RunStore
from shared.admin.errors import Conflict
from shared.admin.orgs import content_rules
from shared.drafting.drafter import Answer
from shared.drafting.prompt import Prompt
from tests.component.admin.draft_stage import (
    MODEL,
    Held,
    look,
    made,
    over,
    running,
    start,
    stored,
    worker,
)
from tests.component.admin.rig import Rig
from tests.component.cli.rig import settings as environment
from tests.support.drafting import BRIEF, draft, llm
from tests.support.llm import FakeModel, Reply, completion, fake_model
from tests.support.waiting import eventually


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


async def test_a_worker_that_was_paused_beyond_its_lease_stores_nothing(shop: Rig, held: Held) -> None:
    run, store, later = await start(shop), RunStore(shop.database), Held(completion(draft(1)), completion(draft(2)))
    with fake_model(held) as first, fake_model(later) as second:
        async with worker(shop, first) as paused, worker(shop, second) as other:
            claim = await store.claim(shop.clock.now(), shop.clock.now() + LEASE)
            assert claim is not None
            drafting = asyncio.create_task(paused._drafts(claim, lambda _: None))  # its lease is not renewed
            await eventually(lambda: held.asked == 1)
            shop.clock.at += LEASE + timedelta(seconds=1)
            async with running(other):
                await eventually(lambda: later.asked == 1)
                held.let_go()
                await drafting
                before, renewed = await stored(shop), await store.renew(claim, shop.clock.now() + LEASE)
                ended_by_it = await store.finish(claim, Ended("done"), shop.clock.now())
                later.let_go()
                ended = await over(shop, run)

    assert (before, renewed, ended_by_it) == ([], False, False)
    assert (ended.state, await stored(shop)) == ("done", ["Letter", "Map"])


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
        # Whoever runs the tests in the background has them begin with Ctrl-C ignored.
        heeding = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        process = await asyncio.create_subprocess_exec(
            *command, env=env, stdout=DEVNULL, stderr=DEVNULL, preexec_fn=heeding
        )
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
