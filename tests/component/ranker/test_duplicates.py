"""From files to facts: a file that comes again, under another name, changes nothing that the ranker sees."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from devstack.isolation import SftpFolder
from services.ranker.fit import Task, next_snapshot
from services.ranker.store import Store
from shared.db.pool import open_database
from shared.schemas.conversions import Conversions, stored
from tests.component.ingest.given import SENT, Mail, Row, json_lines, nested_csv
from tests.component.ingest.rig import Rig, Server
from tests.component.ranker.rig import INSERT_TEMPLATE, INSERT_VARIANT
from tests.support.servers import Servers

COPY = UUID("00000000-0000-4000-8000-000000000001")
UNTIL = SENT + timedelta(days=2)


@pytest.fixture
def server(servers: Servers) -> Server:
    at = servers.need("sshd")
    return Server(at.sftp_host, at.sftp_port, at.sftp_user, at.sftp_host_key, Path(at.sftp_client_key_path).read_text())


@pytest.fixture
async def rig(database_url: str, server: Server, sftp_root: SftpFolder) -> AsyncIterator[Rig]:
    async with open_database(database_url, name="test", max_size=6) as database:
        rig = Rig(database, uuid4())
        await rig.add_org()
        await rig.add_source(server, sftp_root.remote_path)
        yield rig


async def fit(rig: Rig) -> Task | None:
    """What a fit saw, if the template was due."""
    store = Store(rig.database)
    claim = await store.claim(UNTIL, UNTIL + timedelta(minutes=5))
    if claim is None:
        return None
    task = await store.task(claim, UNTIL)
    await store.settle(claim, task, next_snapshot(task), UNTIL, UNTIL + timedelta(hours=1))
    return task


async def test_a_file_that_comes_again_changes_no_facts(rig: Rig, sftp_root: SftpFolder) -> None:
    await rig.run(INSERT_TEMPLATE, rig.org_id, {}, SENT)
    await rig.run(INSERT_VARIANT, rig.org_id, COPY, "v0", SENT)
    await rig.add_generation(copy_id=COPY, cell="plan=pro")
    await rig.run("UPDATE generations SET propensity = 1")
    assert (await fit(rig)) is not None  # without any facts
    rows = [(mail := Mail("T1")).received(), mail.opened(), mail.clicked()]

    (sftp_root.path / "events.csv").write_bytes(nested_csv(rows))
    await rig.settle()
    first = await fit(rig)
    (sftp_root.path / "again.jsonl").write_bytes(json_lines([*rows, *rows]))
    await rig.settle()
    second = await fit(rig)

    assert first is not None
    assert [(one.copy_id, one.cell, one.sends, one.delay >= 0) for one in first.facts] == [(COPY, "plan=pro", 1, True)]
    assert second is None or second.facts == first.facts


async def test_orders_in_files_are_what_a_ranker_paid_by_money_learns_from(rig: Rig, sftp_root: SftpFolder) -> None:
    await rig.run(INSERT_TEMPLATE, rig.org_id, {"reward": "revenue", "revenue_cap": 200}, SENT)
    await rig.run("UPDATE templates SET conversions = $1", stored(Conversions()))
    await rig.run(INSERT_VARIANT, rig.org_id, COPY, "v0", SENT)
    await rig.add_generation(copy_id=COPY, cell="plan=pro")
    await rig.run("UPDATE generations SET propensity = 1")
    mail = Mail("T1")
    order = Row("O1", "Placed Order", "P1", SENT + timedelta(hours=1), {"$value": 80, "OrderId": "1"})
    refund = Row("R1", "Refunded Order", "P1", SENT + timedelta(hours=9), {"$value": 30, "OrderId": "1"})

    (sftp_root.path / "mails.csv").write_bytes(nested_csv([mail.received(), mail.clicked()]))
    await rig.settle()
    sent = await fit(rig)
    (sftp_root.path / "orders.jsonl").write_bytes(json_lines([order, order]))
    await rig.settle()
    ordered = await fit(rig)
    (sftp_root.path / "refunds.jsonl").write_bytes(json_lines([order, refund]))
    await rig.settle()
    refunded = await fit(rig)

    tasks = [task for task in (sent, ordered, refunded) if task is not None]  # each file made the template due
    assert [[one.successes for one in task.facts] for task in tasks] == [[0], [0.4], [0.25]]
