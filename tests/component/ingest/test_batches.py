"""System webhooks as a source: minutes of batches become events like any file."""

from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from services.gateway.hook_batches import lines_of
from services.ingest.sources.batches import BatchFolders
from services.ingest.sources.folders import Folders
from shared.clock import FrozenClock
from simulator.account import Account
from simulator.people.hooks import signed_batch
from simulator.world import World
from tests.component.ingest.rig import Rig
from tests.support.klaviyo_events import Mail


@pytest.fixture
async def hooked(bare_rig: Rig) -> Rig:
    """An org with a hook."""
    source_id = uuid4()
    await bare_rig.run(
        "INSERT INTO sources (source_id, org_id, name, kind) VALUES ($1, $2, 'hook', 'webhook')",
        source_id, bare_rig.org_id,
    )  # fmt: skip
    await bare_rig.run(
        "INSERT INTO event_hooks VALUES ($1, $2, $3, 'sealed', NULL, NULL, $4)",
        source_id, bare_rig.org_id, uuid4(), bare_rig.clock.now(),
    )  # fmt: skip
    bare_rig.use_servers(Folders({"webhook": BatchFolders(bare_rig.database, bare_rig.clock)}))
    return bare_rig


@pytest.fixture
def account() -> Account:
    return World(FrozenClock()).add_account("Corner Shop")


async def receive(rig: Rig, account: Account, *mails: Mail, at: datetime | None = None) -> list[str]:
    """The gateway has taken a batch of these, each delivered and opened."""
    now = at or rig.clock.now()
    events = [event for mail in mails for event in (mail.received(), mail.opened())]
    made = signed_batch(account.id, events, "s" * 43, "hook1", now)
    lines = lines_of(made.body, "hook1")
    await rig.run(
        "INSERT INTO event_batches SELECT $1, org_id, source_id, $2, $3, $4, $5 FROM sources",
        uuid4(), made.headers["Klaviyo-Signature"].encode(), now, len(lines), lines,
    )  # fmt: skip
    return [event.id for event in events]


def mail(rig: Rig, account: Account, person: str) -> Mail:
    return Mail(account, rig.clock.now() - timedelta(minutes=30), person)


async def test_batches_of_a_minute_become_events_with_their_minute_and_line(hooked: Rig, account: Account) -> None:
    ids = await receive(hooked, account, mail(hooked, account, "01P1"))
    ids += await receive(hooked, account, mail(hooked, account, "01P2"), at=hooked.clock.now() + timedelta(seconds=5))

    await hooked.settle()

    assert await hooked.event_ids() == sorted(ids)
    rows = await hooked.rows("SELECT f.path, e.line FROM events e JOIN ingest_files f USING (file_id) ORDER BY line")
    assert rows == [{"path": "2026-11-23T11:00Z", "line": line} for line in (1, 2, 3, 4)]
    assert await hooked.one("SELECT sum(human_opens) AS n FROM sends") == {"n": 2}


async def test_a_batch_that_was_stored_late_makes_its_minute_another_version(hooked: Rig, account: Account) -> None:
    at = hooked.clock.now()
    ids = await receive(hooked, account, mail(hooked, account, "01P1"))
    await hooked.settle()
    ids += await receive(hooked, account, mail(hooked, account, "01P2"), at=at + timedelta(seconds=1))

    await hooked.settle()

    assert await hooked.event_ids() == sorted(ids)


async def test_the_minute_under_way_is_not_listed_yet(hooked: Rig, account: Account) -> None:
    await receive(hooked, account, mail(hooked, account, "01P1"))

    await hooked.poll()

    assert await hooked.files() == {}


async def test_batches_are_forgotten_a_day_after_they_were_loaded_and_never_before(
    hooked: Rig, account: Account
) -> None:
    await receive(hooked, account, mail(hooked, account, "01P1"))
    await hooked.settle()
    held = await receive(hooked, account, mail(hooked, account, "01P2"))
    await hooked.list_twice()
    await hooked.run("UPDATE ingest_files SET state = 'held' WHERE state = 'queued'")

    hooked.clock.advance(25 * 3600)
    await hooked.poll()

    assert len(held) == 2
    left = await hooked.rows("SELECT received_at FROM event_batches")
    assert len(left) == 1


@pytest.mark.parametrize("later_s", [1, -1])
async def test_a_minute_of_which_one_batch_is_not_loaded_is_kept_whole(
    hooked: Rig, account: Account, later_s: int
) -> None:
    at = hooked.clock.now() + timedelta(seconds=10)
    await receive(hooked, account, mail(hooked, account, "01P1"), at=at)
    await hooked.settle()
    await receive(hooked, account, mail(hooked, account, "01P2"), at=at + timedelta(seconds=later_s))
    await hooked.list_twice()
    await hooked.run("UPDATE ingest_files SET state = 'held' WHERE state = 'queued'")

    hooked.clock.advance(25 * 3600)
    await hooked.poll()

    assert len(await hooked.rows("SELECT received_at FROM event_batches")) == 2


async def test_events_that_also_came_by_file_count_once(hooked: Rig, account: Account) -> None:
    sent = mail(hooked, account, "01P1")
    first = await receive(hooked, account, sent)
    await hooked.settle()
    events = [event for event in account.events.events if event.id in first]
    again = signed_batch(account.id, events, "s" * 43, "hook1", hooked.clock.now())
    lines = lines_of(again.body, "hook1")
    await hooked.run(
        "INSERT INTO event_batches SELECT $1, org_id, source_id, $2, $3, $4, $5 FROM sources",
        uuid4(), b"again", hooked.clock.now(), len(lines), lines,
    )  # fmt: skip

    await hooked.settle()

    assert await hooked.event_ids() == sorted(first)
