"""Files without event ids, read by the hash of their rows."""

from pathlib import Path

from tests.component.ingest.given import Mail, Row, again, nested_csv
from tests.component.ingest.rig import Rig


def without_ids(*rows: Row) -> bytes:
    return b"\n".join(line.partition(b",")[2] for line in nested_csv(rows).splitlines()) + b"\n"


async def test_rows_without_ids_count_once_by_what_they_say(rig: Rig, folder: Path) -> None:
    mail = Mail("T1")
    received, opened, clicked = mail.received(), mail.opened(), mail.clicked()
    (folder / "a.csv").write_bytes(without_ids(received, opened, opened))
    await rig.settle()
    held = await rig.one("SELECT state, error FROM ingest_files")

    await rig.run("UPDATE sources SET mapping = $1", {"event_id": "(hash)"})
    rig.queued.append(await rig.job_of("a.csv"))
    await rig.work()
    (folder / "b.csv").write_bytes(without_ids(again(opened, event_id="another"), clicked))
    await rig.settle()

    assert held["state"] == "held"
    assert "set event_id to (hash)" in held["error"]
    files = await rig.rows("SELECT state, rows::int, rejects::int, fresh::int FROM ingest_files ORDER BY first_seen_at")
    assert files == [
        {"state": "done", "rows": 3, "rejects": 0, "fresh": 2}, {"state": "done", "rows": 2, "rejects": 0, "fresh": 1}
    ]  # fmt: skip
    assert all(event_id.startswith("hash:") for event_id in await rig.event_ids())
    send = await rig.send("T1")
    assert (send["human_opens"], send["human_clicks"]) == (1, 1)


async def test_a_corrected_flag_stays_the_event_and_a_corrected_time_replaces_it_in_its_own_file(
    rig: Rig, folder: Path
) -> None:
    await rig.run("UPDATE sources SET mapping = $1", {"event_id": "(hash)"})
    mail = Mail("T1")
    received, opened, clicked = mail.received(), mail.opened(), mail.clicked()
    (folder / "a.csv").write_bytes(without_ids(received, opened, clicked))
    await rig.settle()
    machine = again(opened, properties=opened.properties | {"machine_open": True})
    (folder / "a.csv").write_bytes(without_ids(received, machine, again(clicked, at=clicked.at.replace(second=1))))

    await rig.settle()

    send = await rig.send("T1")
    assert (send["human_opens"], send["machine_opens"], send["human_clicks"]) == (0, 1, 1)
    assert len(await rig.event_ids()) == 3
