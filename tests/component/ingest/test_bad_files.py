"""All bad files in one folder of OpenSSH's server, beside good ones."""

import asyncio
import os
import time
from collections import Counter
from pathlib import Path
from statistics import median

import pytest

from services.ingest.handler import ingest_files
from services.ingest.reading.text import Limits
from services.ingest.sources import poller
from shared.schemas.jobs import IngestFileJob
from tests.component.ingest.given import Mail, nested_csv
from tests.component.ingest.rig import Rig
from tests.support.measured import say
from tests.unit.ingest.bad_files import BAD_FILES, Bad

WITHIN_S = 30.0  # for a file of one row, on a machine that does much else


def outcome(file: Bad) -> tuple[str, int, int]:
    """State, rows and rejects, as the ledger must show them."""
    if file.reason:
        return "held", 0, 0
    rows = file.good + file.bad
    return "done" if Limits().forgives(file.bad, rows) else "held", rows, file.bad


@pytest.mark.timeout(300)  # more than a hundred files, one after the other
async def test_bad_files_are_settled_and_good_ones_loaded_beside_them(
    rig: Rig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "MOST_ON_THEIR_WAY", 1_000)  # all at once: each bad one is loaded with a good one
    rig.with_deps(limits=Limits(max_ratio=20, slack_bytes=4 << 20))  # so that bombs are found out sooner
    files = {f"bad-{number:03}": file() for number, file in enumerate(BAD_FILES.values())}
    for name, file in files.items():
        (folder / name).write_bytes(file.data)
    mails = [Mail(f"GOOD{number}", f"P{number}") for number in range(len(files))]
    goods = {f"bad-{number:03}-good.csv": mail for number, mail in enumerate(mails)}
    for name, mail in goods.items():
        (folder / name).write_bytes(nested_csv([mail.received()]))
    for number, name in enumerate(sorted([*files, *goods])):
        os.utime(folder / name, (1_700_000_000 + number, 1_700_000_000 + number))
    outside = folder.parent / f"{folder.name}-outside.csv"
    outside.write_bytes(nested_csv([Mail("OUTSIDE").received()]))
    (folder / "link.csv").symlink_to(outside)
    (folder / "up.csv").symlink_to("../../../etc/passwd")
    (folder / "loop.csv").symlink_to("loop.csv")
    (folder / "folder.csv").mkdir()
    (folder / "folder.csv" / "inner.csv").write_bytes(nested_csv([Mail("INNER").received()]))
    (folder / "line\nbreak.csv").write_bytes(nested_csv([Mail("NEWLINE").received()]))
    (folder / os.fsdecode(b"caf\xe9.csv")).write_bytes(nested_csv([Mail("LATIN").received()]))
    (folder / "..csv").write_bytes(nested_csv([Mail("DOTS").received()]))
    os.mkfifo(folder / "pipe.csv")

    await rig.list_twice()
    waits = await in_pairs(rig, [(bad, good) for bad, good in zip(files, goods, strict=True)])

    say(files=len(waits), half_s=round(median(waits), 3), slowest_s=round(max(waits), 3))
    assert max(waits) < WITHIN_S
    assert set(rig.outcomes) == {None}  # no file is tried again, so none is in the way of another
    found = await rig.rows("SELECT path, state, rows, rejects, error, attempts FROM ingest_files")
    settled = {Path(row["path"]).name: row for row in found}
    assert {row["attempts"] for row in found} == {0}
    for (name, file), label in zip(files.items(), BAD_FILES, strict=True):
        row = settled.pop(name)
        assert (row["state"], *((row["rows"], row["rejects"]) if not file.reason else (0, 0))) == outcome(file), label
        if file.reason:
            assert row["error"].startswith(f"{file.reason}: "), label
    assert Counter(row["state"] for row in settled.values()) == {"done": len(mails)}
    received = await rig.rows("SELECT transmission_id FROM sends")
    assert {row["transmission_id"] for row in received} == {mail.transmission_id for mail in mails}
    source = await rig.one("SELECT listed, ignored, last_error FROM sources")
    assert source == {"listed": len(files) + len(mails), "ignored": 8, "last_error": None}


async def in_pairs(rig: Rig, pairs: list[tuple[str, str]]) -> list[float]:
    """Load each bad file together with a good one, as one process does that loads two at a time; how long the good
    ones took."""
    found = await rig.rows("SELECT file_id, path FROM ingest_files")
    names = {row["file_id"]: Path(row["path"]).name for row in found}
    jobs = {names[job.file_id]: job for job in rig.queued}

    async def loaded(job: IngestFileJob) -> float:
        began = time.monotonic()
        rig.outcomes += await ingest_files([job], rig.deps)
        return time.monotonic() - began

    assert jobs.keys() == {name for pair in pairs for name in pair}
    return [(await asyncio.gather(*(loaded(jobs[name]) for name in pair)))[1] for pair in pairs]
