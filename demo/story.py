"""The story of a small shop, played on real servers: set up, three flows, people who come back, events, export; then
days in which the ranker learns (days.py)."""

import asyncio
import json
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet
import yaml

from demo.box import PLAN, FlowIds
from demo.days import TEMPLATE, Days, learn
from demo.shop import FOLDER, people, tastes
from demo.waiting import Show, until
from demo.world import World
from shared.snippet import Snippet

ORG = "corner-coffee"
FLOWS: dict[str, dict[str, Any]] = {
    "welcome": {},
    "winback": {},
    "birthday": {},
    TEMPLATE: {"delay_min": 1, "attrs": {"persona": "persona", **PLAN}},
}
"""By template: what is not as on the integration page."""

_SPREAD_S = 60.0  # virtual: people enter over a minute, well inside 75 writes/s and 750/min

SELECT_DECISIONS = "SELECT generation_id::text, decision FROM generations"
SELECT_PENDING = "SELECT count(*) FROM pending_writes"
SELECT_UNCLEAN = "SELECT count(*) FROM profile_state WHERE state <> 'clean'"
SELECT_FILES = "SELECT state, count(*) AS files, coalesce(sum(fresh), 0)::int AS fresh FROM ingest_files GROUP BY state"
SELECT_FILE_ERRORS = "SELECT path, error FROM ingest_files WHERE state IN ('held', 'failed')"
SELECT_ROLLUPS = """
    SELECT r.template_id, coalesce(v.name, 'control') AS variant, sum(r.delivered)::int AS delivered,
           sum(r.human_opens)::int AS opens, sum(r.human_clicks)::int AS clicks,
           sum(r.machine_opens)::int AS machine_opens, sum(r.bot_clicks)::int AS bot_clicks
    FROM rollups r LEFT JOIN variants v USING (copy_id)
    GROUP BY r.template_id, variant ORDER BY r.template_id, variant
"""

TOP_SUBJECTS = """
    SELECT vars.subject AS subject, count(*) AS n FROM records GROUP BY subject ORDER BY n DESC, subject LIMIT 3
"""


@dataclass(frozen=True, slots=True)
class Results:
    """What the story ends with."""

    outcomes: dict[str, Any]
    events: int
    exported_rows: int
    exported_copies: list[tuple[str, int]]
    still_on_profiles: int
    rollups: list[dict[str, Any]]
    export_path: str
    days: Days


@dataclass(frozen=True, slots=True)
class Shop:
    """The shop once it is set up."""

    flows: dict[str, FlowIds]
    people: list[str]
    private_key: str


async def play(world: World, count: int, show: Show) -> Results:
    """The whole story; raises when an act does not come to its end."""
    shop = await set_up(world, count, show)
    begin = world.clock.now()
    total = await first_emails(world, shop, show)
    total += await people_come_back(world, shop, total, show)
    outcomes = await judge(world)
    events = await ingest(world, show)
    rows, copies, path = await export(world, begin, show)
    days = await learn(world, shop.flows[TEMPLATE], ORG, show)
    left = await clean_up(world, show)
    rollups = [dict(row) for row in await world.database.fetch(SELECT_ROLLUPS)]
    return Results(outcomes, events, rows, copies, left, rollups, path, days)


async def set_up(world: World, count: int, show: Show, *, scopes: str = "page") -> Shop:
    """Everything a marketer and an operator do once, through the `justai` command and Klaviyo's own screens. `scopes`:
    of the private key; with `all` it may import in bulk too."""
    steps = 8 + 2 * len(FLOWS)
    done = iter(range(1, steps + 1))

    def step(what: str) -> None:
        show(f"Setting up: {what}", next(done), steps)

    await world.justai("migrate")
    await world.justai("org", "create", ORG, "Corner Coffee")
    step("org")
    api_key = (await world.justai("key", "create", ORG, "webhook", "--quiet")).strip()
    step("API key")
    private_key = await world.box.open_account("Corner Coffee", scopes)
    await world.box.behave(
        open_after_s=40, late_by_s=60, late=0.02, duplicate=0.03, reactions=[*tastes.reactions(), *_REACTIONS]
    )
    customers = await world.box.add_people(people(count, random.Random(7)))  # noqa: S311  # a story, no secret
    step("people")
    await world.justai("klaviyo", "connect", ORG, "--base-url", world.simulator_url, "--key-stdin", given=private_key)
    step("Klaviyo key verified")
    flows = {}
    for template_id, special in FLOWS.items():
        flows[template_id] = await world.box.add_flow(
            template_id.title(), template_id, world.gateway_url, ORG, api_key, **special
        )
        await world.justai("template", "import", ORG, str(_placed(template_id, flows[template_id], world.run_dir)))
        step(f"template {template_id}")
        text = json.loads(await world.justai("snippet", ORG, template_id, "--json"))
        await world.box.paste(flows[template_id], Snippet(**text))
        step(f"snippet of {template_id}")
    await world.justai("flows", "sync", ORG)
    step("flows read")
    await world.justai(*_source(world))
    step("event files")
    await world.justai(*_target(world), given=world.endpoints.s3_secret_key)
    step("export bucket")
    step("done")
    return Shop(flows, customers, private_key)


async def first_emails(world: World, shop: Shop, show: Show) -> int:
    """Everybody enters the welcome flow."""
    return await _flow(world, shop, [("welcome", shop.people)], 0, show, "Welcome flow")


async def people_come_back(world: World, shop: Shop, before: int, show: Show) -> int:
    """Another flow with the same properties, a template that is still a draft, and people who changed their plan and
    enter the welcome flow again, while the first flow's copy is still on their profiles."""
    # Nobody is in two of them at once: one set of properties holds one copy at a time. A prefix of its own per
    # template would lift that.
    gone, born, again = shop.people[0::3], shop.people[1::6], shop.people[2::6]
    for profile_id in again:
        await world.box.set_plan(shop.private_key, profile_id, "changed")
    groups = [("winback", gone), ("birthday", born), ("welcome", again)]
    return await _flow(world, shop, groups, before, show, "Three flows at once, people coming back")


async def _flow(
    world: World, shop: Shop, groups: list[tuple[str, list[str]]], before: int, show: Show, what: str
) -> int:
    """Let the groups enter their flows and wait until every email has left; how many that were."""
    entered = 0
    for template_id, group in groups:
        entered += await world.box.trigger(shop.flows[template_id], group, _SPREAD_S)

    async def sent() -> bool:
        states = [await world.box.progress(ids) for ids in shop.flows.values()]
        show(what, sum(state["sent"] for state in states) - before, entered)
        return bool(sum(state["finished"] for state in states) >= before + entered)

    await until(sent, what)
    return entered


async def judge(world: World) -> dict[str, Any]:
    """What every email showed. The plan (control or treatment) is ours to tell; all else the box saw itself."""
    rows = await world.database.fetch(SELECT_DECISIONS)
    await world.box.tell_decisions({row["generation_id"]: row["decision"] for row in rows})
    return await world.box.outcomes()


async def ingest(world: World, show: Show) -> int:
    """Klaviyo drops two files of different layouts; each event counts once, however often it comes."""
    wanted = 2
    await world.clock.sleep(90)
    await world.box.export(".", layout="nested", format="csv")
    await world.clock.sleep(60)
    await world.box.export(".", layout="flattened", format="jsonl", gzip=True)

    async def loaded() -> bool:
        states = {row["state"]: row for row in await world.database.fetch(SELECT_FILES)}
        if trouble := await world.database.fetch(SELECT_FILE_ERRORS):
            raise RuntimeError(f"{trouble[0]['path']} was not loaded: {trouble[0]['error']}")
        done = states["done"]["files"] if "done" in states else 0
        show("Event files read by SFTP", done, wanted)
        return done >= wanted

    await until(loaded, "reading the event files")
    states = {row["state"]: row for row in await world.database.fetch(SELECT_FILES)}
    return int(states["done"]["fresh"])


async def export(world: World, begin: datetime, show: Show) -> tuple[int, list[tuple[str, int]], str]:
    """The hours of the story as Parquet, read back with DuckDB: rows, copies by how often, where."""
    show("Exporting Parquet", 0, 1)
    first, last = f"{begin:%Y-%m-%dT%H}", f"{world.clock.now() + timedelta(hours=1):%Y-%m-%dT%H}"
    await world.justai("export", "backfill", ORG, "--from", first, "--to", last)
    files = await asyncio.to_thread(_tables, world)
    show("Exporting Parquet", 1, 1)
    records = pyarrow.concat_tables(files.values())
    with duckdb.connect() as engine:
        engine.register("records", records)
        [(rows,)] = engine.execute("SELECT count(*) FROM records").fetchall()
        copies = engine.execute(TOP_SUBJECTS).fetchall()
    return int(rows), [(str(subject), int(n)) for subject, n in copies], next(iter(files), "")


def _tables(world: World) -> dict[str, Any]:
    s3 = world.s3()
    selector = pyarrow.fs.FileSelector(f"{world.bucket}/generations", recursive=True)
    paths = sorted(info.path for info in s3.get_file_info(selector) if info.path.endswith(".parquet"))
    return {path: pyarrow.parquet.read_table(path, filesystem=s3) for path in paths}


async def clean_up(world: World, show: Show) -> int:
    """After the send window our properties leave the profiles again; how many still carry them."""
    first = await world.database.fetchval(SELECT_UNCLEAN)

    async def clean() -> bool:
        left = await world.database.fetchval(SELECT_UNCLEAN) + await world.database.fetchval(SELECT_PENDING)
        show("Taking our copy off the profiles after the send window", max(0, first - left), first)
        return bool(left == 0)

    await until(clean, "cleaning up")
    return int(await world.database.fetchval(SELECT_UNCLEAN))


def _placed(template_id: str, ids: FlowIds, run_dir: Path) -> Path:
    """The template's file with the flow message that Klaviyo gave it, as the marketer would fill it in."""
    file = yaml.safe_load((FOLDER / f"{template_id}.yaml").read_text())
    file["flow"] = {"flow_id": ids.flow_id, "treatment_action_id": ids.treatment_action_id}
    path = run_dir / f"{template_id}.yaml"
    path.write_text(yaml.safe_dump(file, sort_keys=False, allow_unicode=True))
    return path


def _source(world: World) -> list[str]:
    at = world.endpoints
    return [
        "source", "add", ORG, "klaviyo-events", "--host", at.sftp_host, "--port", str(at.sftp_port),
        "--user", at.sftp_user, "--path", world.event_folder, "--pattern", "klaviyo_events_*",
        "--host-key", at.sftp_host_key, "--key-file", at.sftp_client_key_path, "--poll-s", "10",
    ]  # fmt: skip


def _target(world: World) -> list[str]:
    at = world.endpoints
    return [
        "export", "target", ORG, "--bucket", world.bucket, "--prefix", "generations",
        "--endpoint-url", at.s3_endpoint, "--access-key", at.s3_access_key,
    ]  # fmt: skip


# What people like, so that there is something to learn: variants differ, and it depends on the plan.
_REACTIONS = [
    {"contains": "corner-coffee.example/ten", "where": {"plan_type": "none"}, "open": 0.6, "click": 0.5},
    {"contains": "corner-coffee.example/quiz", "where": {"plan_type": "weekly"}, "open": 0.6, "click": 0.5},
    {"contains": "corner-coffee.example/first", "open": 0.5, "click": 0.35},
]
