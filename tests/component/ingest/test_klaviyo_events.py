"""Klaviyo's events as a source: windows of time, read from the account in a box into a real database."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from yarl import URL

from services.ingest.records import Source
from services.ingest.sources.folders import Folders
from services.ingest.sources.klaviyo_events import EventFolder, EventServers
from services.ingest.sources.klaviyo_store import EventSources
from services.ingest.sources.klaviyo_windows import WindowTimes
from shared.crypto import KeyRing
from shared.errors import Outage
from simulator.api.operations import ALL_SCOPES
from simulator.faults import Fault
from simulator.people.events import Event
from simulator.settings import SimulatorSettings
from tests.component.ingest.boxed import Boxed, Hurrying, boxed
from tests.component.ingest.rig import RING, Rig
from tests.support.klaviyo_events import Mail

MINUTE = timedelta(minutes=1)
TIMES = WindowTimes(window=15 * MINUTE, overlap=timedelta(hours=2), late=timedelta(hours=24))
SCOPES = ALL_SCOPES


def event_servers(box: Boxed, per_min: int = 3000) -> EventServers:
    clock = Hurrying(box.rig.clock)
    return EventServers(
        box.session, EventSources(box.rig.database), KeyRing(RING), clock, TIMES, per_min=per_min
    )  # fmt: skip


async def add_source(rig: Rig, name: str = "api") -> UUID:
    source_id = uuid4()
    await rig.run(
        "INSERT INTO sources (source_id, org_id, name, kind) VALUES ($1, $2, $3, 'klaviyo')",
        source_id, rig.org_id, name,
    )  # fmt: skip
    return source_id


@asynccontextmanager
async def reading(rig: Rig, **more: Any) -> AsyncIterator[Boxed]:
    """The rig's org reads events of an account in a box, from the beginning of today."""
    async with boxed(rig, more.pop("scopes", SCOPES), **more) as box:
        await add_source(rig)
        rig.use_servers(Folders({"klaviyo": event_servers(box)}))
        yield box


@pytest.fixture
async def box(bare_rig: Rig) -> AsyncIterator[Boxed]:
    async with reading(bare_rig) as made:
        yield made


async def settle(rig: Rig) -> None:
    """Read until nothing is left to read now."""
    for _ in range(30):
        await rig.settle()
        left = await rig.rows("SELECT 1 FROM ingest_files WHERE state NOT IN ('done', 'held')")
        if not left:
            return
    raise AssertionError(await rig.rows("SELECT path, state, error FROM ingest_files WHERE state <> 'done'"))


def mails(box: Boxed, number: int, *, ago: timedelta = timedelta(minutes=40)) -> list[Event]:
    """So many emails a second apart, delivered and opened."""
    made = []
    for one in range(number):
        mail = Mail(box.account, box.rig.clock.now() - ago + timedelta(seconds=one % 60), f"01P{one}")
        made += [mail.received(), mail.opened(60)]
    return made


def ids(events: list[Event]) -> list[str]:
    return sorted(event.id for event in events)


async def source_row(rig: Rig) -> dict[str, Any]:
    return await rig.one("SELECT * FROM sources")


async def test_events_of_closed_windows_come_in_once_with_their_window_and_position(box: Boxed) -> None:
    mail = Mail(box.account, box.rig.clock.now() - 40 * MINUTE)
    events = [mail.received(), mail.opened(), mail.clicked(), mail.ordered()]

    await settle(box.rig)

    assert await box.rig.event_ids() == ids(events[:3])  # nobody counts orders yet
    rows = await box.rig.rows(
        "SELECT f.path, e.line, e.metric FROM events e JOIN ingest_files f USING (file_id) ORDER BY 3"
    )
    assert rows == [
        {"path": "2026-11-23T10:15Z+15m", "line": 1, "metric": "Clicked Email"},
        {"path": "2026-11-23T10:15Z+15m", "line": 2, "metric": "Opened Email"},
        {"path": "2026-11-23T10:15Z+15m", "line": 3, "metric": "Received Email"},
    ]
    sends = await box.rig.one("SELECT delivered, human_opens, human_clicks FROM sends")
    assert sends == {"delivered": True, "human_opens": 1, "human_clicks": 1}


async def test_orders_are_read_where_a_template_counts_them(box: Boxed) -> None:
    await box.rig.run(
        "INSERT INTO templates (org_id, template_id, name, state, flow_id, created_at, updated_at, conversions)"
        " VALUES ($1, 'welcome', 'Welcome', 'active', 'FLOW1', $2, $2,"
        """ '{"metrics": ["placed order"], "refunds": [], "window_h": 72, "currency": null}'::text::jsonb)""",
        box.rig.org_id, box.rig.clock.now(),
    )  # fmt: skip
    order = Mail(box.account, box.rig.clock.now() - 60 * MINUTE).ordered(25.0)

    await settle(box.rig)

    assert await box.rig.rows("SELECT event_id, value FROM events") == [{"event_id": order.id, "value": 25.0}]


async def test_an_event_that_appears_twenty_minutes_late_with_an_older_time_is_found(box: Boxed) -> None:
    mail = Mail(box.account, box.rig.clock.now() - 20 * MINUTE)
    on_time, late = mail.received(), mail.opened(30, late_s=40 * 60)

    await settle(box.rig)
    assert await box.rig.event_ids() == [on_time.id]
    box.rig.clock.advance(2 * 3600)
    await settle(box.rig)

    assert await box.rig.event_ids() == ids([on_time, late])
    found = await box.rig.one(
        "SELECT path FROM ingest_files f JOIN events e USING (file_id) WHERE e.event_id = $1", late.id
    )
    assert found == {"path": "2026-11-23T10:30Z+15m again"}


@pytest.mark.long
async def test_an_event_that_is_later_than_the_overlap_is_found_with_its_whole_day(box: Boxed) -> None:
    late = Mail(box.account, box.rig.clock.now() - 20 * MINUTE).received(late_s=9 * 3600)

    await settle(box.rig)
    box.rig.clock.advance(4 * 3600)
    await settle(box.rig)
    assert await box.rig.event_ids() == []
    box.rig.clock.advance(37 * 3600)
    await settle(box.rig)

    assert await box.rig.event_ids() == [late.id]


@pytest.mark.long
async def test_a_window_that_is_read_again_adds_nothing_twice(box: Boxed) -> None:
    events = [*mails(box, 30), Mail(box.account, box.rig.clock.now() - 70 * MINUTE).received()]

    await settle(box.rig)
    box.rig.clock.advance(45 * 3600)
    await settle(box.rig)

    assert await box.rig.event_ids() == ids(events)
    days = await box.rig.rows("SELECT rows, fresh FROM ingest_files WHERE path = '2026-11-23 whole'")
    assert days == [{"rows": 61, "fresh": 0}]
    assert await box.rig.rows("SELECT * FROM event_repeats") == []


async def test_pages_are_followed_and_ids_that_come_on_two_of_them_count_once(bare_rig: Rig) -> None:
    async with reading(bare_rig, settings=SimulatorSettings(event_page_again=7)) as box:
        events = mails(box, 1200)

        await settle(bare_rig)

        assert await bare_rig.event_ids() == ids(events)
        window = await bare_rig.one("SELECT sum(rows) AS rows FROM ingest_files WHERE path NOT LIKE '%again'")
        assert window["rows"] < 2400 + 3 * 7  # most of what came twice was told apart before it was stored


async def test_an_expired_cursor_is_left_for_a_new_beginning_where_the_last_page_ended(bare_rig: Rig) -> None:
    async with reading(bare_rig, settings=SimulatorSettings(cursor_life_s=0.001)) as box:
        events = mails(box, 1200)
        # Every wait of a page moves the clock on, so that each cursor has expired when it is used.
        rig_servers = event_servers(box, per_min=60)
        bare_rig.use_servers(Folders({"klaviyo": rig_servers}))

        await settle(bare_rig)

        assert await bare_rig.event_ids() == ids(events)
        refused = [one for one in box.world.log.since(0, None, 100_000) if one.status == 400]
        assert refused


async def test_a_429_is_waited_out_as_long_as_it_says(box: Boxed) -> None:
    events = mails(box, 5)
    box.world.faults.append(Fault(kind="status", status=429, operation="get_events", count=4, retry_after_s=45))

    await settle(box.rig)

    assert await box.rig.event_ids() == ids(events)
    assert (await source_row(box.rig))["last_error"] is None


@pytest.mark.parametrize(
    "fault", ["status", *(pytest.param(one, marks=pytest.mark.long) for one in ("reset", "cloudflare"))]
)
async def test_short_faults_cost_time_but_no_event(box: Boxed, fault: Any) -> None:
    events = mails(box, 5)
    box.world.faults.append(Fault(kind=fault, status=503, operation="get_events", probability=0.3, count=12))

    await settle(box.rig)

    assert await box.rig.event_ids() == ids(events)


async def test_while_klaviyo_is_away_windows_wait_and_the_source_says_why(box: Boxed) -> None:
    events = mails(box, 5)
    box.world.faults.append(Fault(kind="status", status=503, operation="get_events"))
    await box.rig.settle()

    away = await source_row(box.rig)
    box.world.faults.clear()
    await settle(box.rig)

    assert "events cannot be read: Klaviyo answered 503" in away["last_error"]
    assert await box.rig.event_ids() == ids(events)
    assert (await source_row(box.rig))["last_error"] is None


@pytest.mark.long
async def test_large_pages_that_do_not_come_are_asked_for_in_smaller_ones(box: Boxed) -> None:
    events = mails(box, 300)
    await box.rig.list_twice()
    box.world.faults.append(Fault(kind="status", status=504, operation="get_events", count=2))

    await box.rig.work()
    await settle(box.rig)

    sizes = {URL(one.path).query.get("page[size]") for one in box.world.log.since(0, None, 100_000)}
    assert {"1000", "250"} <= sizes
    assert await box.rig.event_ids() == ids(events)


async def test_a_key_without_the_scope_is_told_which_one_to_give(bare_rig: Rig) -> None:
    async with reading(bare_rig, scopes={"metrics:read", "flows:read"}):
        await bare_rig.poll()

        row = await source_row(bare_rig)
        assert row["last_error"] == (
            "the org's Klaviyo key lacks the scope events:read (Events: Read); make a key that has it and give it with "
            "`justai klaviyo rotate`"
        )
        assert row["refused_at"] is None
    async with boxed(bare_rig, {"events:read"}) as box:
        bare_rig.use_servers(Folders({"klaviyo": event_servers(box)}))
        bare_rig.clock.advance(120)
        await bare_rig.poll()
        assert "metrics:read (Metrics: Read)" in (await source_row(bare_rig))["last_error"]


async def test_a_key_that_is_revoked_on_the_way_is_said_and_a_new_one_goes_on(box: Boxed) -> None:
    events = mails(box, 5)
    await box.rig.list_twice()
    box.key.revoked = True

    await box.rig.work()
    revoked = await source_row(box.rig)
    await box.use_key(SCOPES)
    await settle(box.rig)

    assert revoked["last_error"].startswith("Klaviyo refuses the org's key; make another one")
    assert await box.rig.event_ids() == ids(events)


async def test_an_org_without_a_connection_is_led_to_it(box: Boxed) -> None:
    await box.rig.run("DELETE FROM integrations")

    await box.rig.poll()

    assert "`justai klaviyo connect`" in (await source_row(box.rig))["last_error"]


class _Breaks:
    """Servers whose reading ends after some blocks, as when the process is killed."""

    def __init__(self, servers: EventServers, after: int) -> None:
        self._servers, self._after = servers, after

    @asynccontextmanager
    async def open(self, source: Source) -> AsyncIterator[Any]:
        async with self._servers.open(source) as folder:
            yield _Breaking(folder, self)

    def spend(self) -> None:
        self._after -= 1
        if self._after < 0:
            raise Outage("killed", reason="killed")


class _Breaking:
    def __init__(self, folder: EventFolder, breaks: _Breaks) -> None:
        self._folder, self._breaks = folder, breaks
        self.list, self.look = folder.list, folder.look

    async def read(self, path: str, at_most: int) -> AsyncGenerator[bytes, None]:
        async for block in self._folder.read(path, at_most):
            self._breaks.spend()
            yield block


async def test_a_restart_half_way_through_a_window_reads_it_whole_afterwards(box: Boxed) -> None:
    events = mails(box, 1100)
    await box.rig.list_twice()
    box.rig.with_deps(servers=_Breaks(event_servers(box), after=1))

    with pytest.raises(Outage):
        await box.rig.work()
    assert len(await box.rig.event_ids()) < 2200
    box.rig.clock.advance(4000)
    box.rig.use_servers(Folders({"klaviyo": event_servers(box)}))
    await settle(box.rig)

    assert await box.rig.event_ids() == ids(events)


async def test_a_backfill_reads_the_days_that_were_asked_for(box: Boxed) -> None:
    old = [Mail(box.account, box.rig.clock.now() - timedelta(days=days)).received() for days in (3, 5, 40)]
    await settle(box.rig)
    assert await box.rig.event_ids() == []

    now = box.rig.clock.now()
    await box.rig.run(
        "INSERT INTO event_backfills SELECT source_id, org_id, $1, $2, $3 FROM sources",
        (now - timedelta(days=10)).date(), now.date(), now,
    )  # fmt: skip
    await settle(box.rig)

    assert await box.rig.event_ids() == ids(old[:2])
    assert sum("asked" in path for path in await box.rig.files()) == 10


async def test_reading_events_keeps_to_its_share_of_the_quota(bare_rig: Rig) -> None:
    async with boxed(bare_rig, SCOPES) as box:
        await add_source(bare_rig)
        bare_rig.use_servers(Folders({"klaviyo": event_servers(box, per_min=30)}))
        mails(box, 5)

        await settle(bare_rig)

        times = [one.at for one in box.world.log.since(0, None, 100_000) if one.operation == "get_events"]
        busiest = max(sum(one <= other < one + MINUTE for other in times) for one in times)
        assert len(times) > 60
        assert busiest <= 30
        assert await asyncio.sleep(0, box.calls("update_profile")) == 0
