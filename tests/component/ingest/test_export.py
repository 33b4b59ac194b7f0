"""The simulator's export, read by us: late rows, duplicates, newsletters, every layout, a slow upload."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest

from shared.schemas.conversions import Conversions, stored
from simulator.ids import Ids
from simulator.people import events as shapes
from simulator.people.behaviour import Behaviour, EventMaker
from simulator.people.events import Event, EventStore, Sent
from simulator.people.export import ExportFile, Format, Layout, due_events, export_file, finish_file, write_file
from tests.component.ingest.given import SENT
from tests.component.ingest.rig import STABLE_S, Rig

PEOPLE = 250
COPIES = 4
LAYOUTS: list[tuple[Layout, Format, bool]] = list(product(("nested", "flattened"), ("csv", "jsonl"), (False, True)))
BEHAVIOUR = Behaviour(
    bounce=0.05, unsubscribe=0.2, spam=0.1, bot_click=0.1, click=0.5, order=0.3, late=0.2, duplicate=0.2
)  # fmt: skip


def shop(seed: int) -> tuple[EventStore, Ids]:
    """What a flow's emails to many people left behind; each person got the mail twice, days apart."""
    ids = Ids(seed)
    store = EventStore()
    maker = EventMaker(ids, BEHAVIOUR, {name: ids.short() for name in shapes.METRIC_NAMES})
    for number, run in product(range(PEOPLE), range(2)):
        at = SENT + timedelta(seconds=number, days=run)
        profile_id = f"01PROFILE{number:017d}"
        sent = Sent(ids.ulid(at), "MSG1", "Welcome 1", "FLOW1", profile_id, f"p{number}@shop.example", "Hello", at)
        for event in maker.after(sent, '<a href="https://shop.example/x">x</a>', {}):
            store.add(event)
    return store, ids


def export_all(store: EventStore, ids: Ids) -> Iterable[ExportFile]:
    """Files of several moments, each in another layout, until everything is out."""
    moments = [timedelta(days=run, minutes=minutes) for run, minutes in product(range(2), (2, 4, 9, 20, 90, 600))]
    for number, moment in enumerate(moments):
        now = SENT + moment
        if due := due_events(store, now, BEHAVIOUR.duplicate, ids):
            layout, form, compress = LAYOUTS[number % len(LAYOUTS)]
            yield export_file("ACCT01", due, now, layout, form, compress=compress)


def people_of(events: Iterable[Event], metric: str, fits: Callable[[Event], bool] = lambda event: True) -> int:
    """How many emails of the flow had such an event: by hand-over where no transmission is named."""
    return len(
        {
            (event.profile_id, event.properties["$_cohort$message_send_cohort"])
            for event in events
            if event.metric_name == metric and event.properties.get("$flow") == "FLOW1" and fits(event)
        }
    )


@pytest.mark.parametrize("seed", [1, 2])
async def test_what_people_did_is_what_the_rollups_say(rig: Rig, folder: Path, seed: int) -> None:
    store, ids = shop(seed)
    for number, run in product(range(PEOPLE), range(2)):
        at = SENT + timedelta(seconds=number, days=run, minutes=-2)
        await rig.add_generation(f"01PROFILE{number:017d}", accepted_at=at, cell=f"c{number % COPIES}")
    rig.clock.advance(4 * 86400)

    for file in export_all(store, ids):
        write_file(folder, file)
    await rig.settle()

    files = await rig.rows("SELECT state, rejects FROM ingest_files")
    assert {(file["state"], file["rejects"]) for file in files} == {("done", 0)}
    assert len(files) >= 8
    assert await rig.event_ids() == sorted(event.id for event in store.events)
    counted = await rig.one(
        "SELECT sum(delivered)::int AS delivered, sum(human_opens)::int AS opens, sum(machine_opens)::int AS machines,"
        " sum(human_clicks)::int AS clicks, sum(bot_clicks)::int AS bots, sum(unsubscribes)::int AS unsubscribes,"
        " sum(bounces)::int AS bounces, sum(spam)::int AS spam, sum(sends)::int AS sends FROM rollups"
    )
    assert counted == {
        "delivered": people_of(store.events, shapes.RECEIVED),
        "opens": people_of(store.events, shapes.OPENED, lambda event: not event.properties["machine_open"]),
        "machines": people_of(store.events, shapes.OPENED, lambda event: event.properties["machine_open"]),
        "clicks": people_of(store.events, shapes.CLICKED, lambda event: not event.properties["Bot Click"]),
        "bots": people_of(store.events, shapes.CLICKED, lambda event: event.properties["Bot Click"]),
        "unsubscribes": people_of(store.events, shapes.UNSUBSCRIBED),
        "bounces": people_of(store.events, shapes.BOUNCED),
        "spam": people_of(store.events, shapes.SPAM),
        "sends": 2 * PEOPLE,
    }
    assert min(counted.values()) > 0
    reasons = await rig.rows("SELECT attribution, count(*)::int AS n FROM sends GROUP BY 1 ORDER BY 1")
    newsletters = sum(event.properties.get("Campaign Name") == "Daily Newsletter" for event in store.events)
    assert reasons == [{"attribution": "flow", "n": 2 * PEOPLE}, {"attribution": "not_a_flow", "n": newsletters}]


@pytest.mark.parametrize("seed", [1, 2])
async def test_what_people_bought_is_what_the_rollups_say_of_their_emails(rig: Rig, folder: Path, seed: int) -> None:
    store, ids = shop(seed)
    await rig.run(
        "INSERT INTO templates (org_id, template_id, name, conversions, created_at, updated_at)"
        " VALUES ($1, 'welcome', 'Welcome', $2, $3, $3)",
        rig.org_id, stored(Conversions()), SENT,
    )  # fmt: skip
    for number, run in product(range(PEOPLE), range(2)):
        at = SENT + timedelta(seconds=number, days=run, minutes=-2)
        await rig.add_generation(f"01PROFILE{number:017d}", accepted_at=at, cell=f"c{number % COPIES}")
    rig.clock.advance(4 * 86400)

    for file in export_all(store, ids):
        write_file(folder, file)
    await rig.settle()

    orders = [event for event in store.events if event.metric_name == shapes.ORDERED]
    found = await rig.one("SELECT sum(conversions)::int AS orders, sum(revenue)::float8 AS revenue FROM rollups")
    assert len(orders) > 10
    assert found["orders"] == len(orders)
    assert found["revenue"] == pytest.approx(sum(event.properties["$value"] for event in orders))


async def test_a_slow_upload_is_read_once_it_is_whole(rig: Rig, folder: Path) -> None:
    store, ids = shop(3)
    now = SENT + timedelta(days=2)
    file = export_file("ACCT01", due_events(store, now, 0.0, ids), now, "nested", "csv", compress=True)
    rig.clock.advance(3 * 86400)

    path = write_file(folder, file, half=True)
    rig.clock.advance(STABLE_S)
    await rig.poll()
    finish_file(path, file.content)
    await rig.poll()
    assert rig.queued == []
    await rig.settle()

    assert len(await rig.event_ids()) == file.events
    assert set((await rig.files()).values()) == {"done"}
