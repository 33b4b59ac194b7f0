"""Operations of drafting: what is refused and why, limits per org, and what an estimate says."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from shared.admin.drafts import drafts
from shared.admin.errors import NotFound, Refused
from shared.admin.templates import templates
from tests.component.admin.draft_stage import (
    ASKED,
    TEMPLATE,
    look,
    over,
    running,
    start,
    worker,
)
from tests.component.admin.rig import Rig
from tests.support.drafting import BRIEF
from tests.support.llm import FakeModel


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
