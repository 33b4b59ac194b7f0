"""However many workers share the files, and whichever of them dies or loses its lease, each file is loaded once."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.ingest.handler import ingest_files
from services.ingest.records import Claimed, Listed
from services.ingest.store import Ledger
from shared.errors import Outage, Throttled
from tests.component.ingest.given import SENT, Mail, nested_csv
from tests.component.ingest.rig import Rig, Server


async def test_while_one_worker_has_a_file_others_wait_and_after_its_lease_take_it_over(rig: Rig, folder: Path) -> None:
    (folder / "1.csv").write_bytes(nested_csv([Mail("T1").received()]))
    await rig.list_twice()
    (job,) = rig.queued
    dead = await rig.ledger.claim(rig.org_id, job.file_id, uuid4(), rig.clock.now())

    await rig.work()
    rig.queued = [job]
    rig.clock.advance(301)
    await rig.work()

    assert dead is not None
    assert isinstance(rig.outcomes[0], Throttled)
    assert rig.outcomes[0].wait_s == 300
    assert rig.outcomes[1] is None
    assert len(await rig.event_ids()) == 1


async def test_a_worker_that_lost_its_lease_keeps_nothing(rig: Rig, folder: Path) -> None:
    (folder / "1.csv").write_bytes(nested_csv([Mail("T1").received()]))
    await rig.list_twice()

    thief = uuid4()

    class Overtaken(Ledger):
        """Somebody else takes the file while this worker reads it."""

        async def same_bytes(self, file: Claimed, sha256: str) -> UUID | None:
            await rig.run("UPDATE ingest_files SET claim_id = $1", thief)
            return await super().same_bytes(file, sha256)

    rig.with_deps(ledger=Overtaken(rig.database, lease=timedelta(minutes=5), max_attempts=3))
    await rig.work()

    assert getattr(rig.outcomes[0], "reason", None) == "lease_lost"
    assert await rig.event_ids() == []
    assert await rig.one("SELECT claim_id, state FROM ingest_files") == {"claim_id": thief, "state": "loading"}


async def test_a_file_whose_message_was_lost_is_queued_again(rig: Rig, folder: Path) -> None:
    (folder / "1.csv").write_bytes(nested_csv([Mail("T1").received()]))
    await rig.list_twice()
    rig.queued.clear()

    rig.clock.advance(3500)
    await rig.poll()
    assert rig.queued == []
    rig.clock.advance(200)
    await rig.settle()

    assert await rig.files() == {"1.csv": "done"}


async def test_replicas_share_the_polling(rig: Rig, sshd: Server, folder: Path) -> None:
    await rig.add_source(sshd, str(folder), name="second")
    slots = [await rig.sources.take_poll_slot(rig.clock.now()) for _ in range(3)]

    assert len({slot.source_id for slot in slots if slot}) == 2
    assert slots[2] is None


async def test_a_listing_is_recorded_whatever_the_server_says_twice(rig: Rig) -> None:
    source = await rig.sources.take_poll_slot(rig.clock.now())
    assert source is not None
    listed = Listed("a.csv", 5, datetime(2026, 1, 1, tzinfo=UTC))

    for minutes in (0, 1):
        now = SENT + timedelta(minutes=minutes)
        await rig.ledger.record_listing(source, [(uuid4(), listed)], now)

    row = await rig.one("SELECT first_seen_at, last_seen_at FROM ingest_files")
    assert row == {"first_seen_at": SENT, "last_seen_at": SENT + timedelta(minutes=1)}


async def test_conflicts_in_the_database_spend_no_attempt_of_a_file(
    rig: Rig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "events.csv").write_bytes(nested_csv([Mail("T1").received()]))
    look, left = Ledger.same_bytes, [asyncpg.DeadlockDetectedError, asyncpg.SerializationError] * 2

    async def asked_to_try_again(self: Ledger, file: Claimed, sha256: str) -> UUID | None:
        async with rig.database.connection():
            if left:
                raise left.pop()("refused")
        return await look(self, file, sha256)

    monkeypatch.setattr(Ledger, "same_bytes", asked_to_try_again)
    await rig.list_twice()
    [job] = rig.queued

    for _ in range(4):  # more than a file has attempts
        with pytest.raises(Outage, match="asks to try again"):
            await ingest_files([job], rig.deps)
        file = await rig.one("SELECT state, attempts, lease_until FROM ingest_files")
        assert file == {"state": "queued", "attempts": 0, "lease_until": None}
    await rig.work()

    assert await rig.files() == {"events.csv": "done"}
