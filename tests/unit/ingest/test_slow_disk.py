"""A disk that answers after nobody waits any more."""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from services.ingest.records import SourceUnreachable
from services.ingest.sources import folder
from services.ingest.sources.folder import LocalFolders
from shared.errors import Transient
from tests.component.ingest.places import on_disk
from tests.support.waiting import eventually


class SlowDisk:
    """Opens when it is told to; remembers what it has opened."""

    def __init__(self, really: Callable[..., int]) -> None:
        self._really, self.awake, self.opened = really, threading.Event(), list[int]()

    def __call__(self, *asked: object, **more: object) -> int:
        assert self.awake.wait(30)
        self.opened.append(self._really(*asked, **more))
        return self.opened[-1]

    async def closes_again(self) -> None:
        """What it opens from here on is closed by somebody."""
        self.awake.set()
        await eventually(lambda: self.opened and is_closed(self.opened[0]), within_s=30)


def is_closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False


async def test_a_folder_that_is_opened_too_late_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, disk = on_disk(tmp_path), SlowDisk(folder._descend)
    monkeypatch.setattr(folder, "_descend", disk)

    with pytest.raises(SourceUnreachable):
        async with LocalFolders(tmp_path, read_timeout_s=0.01).open(place.source):
            pass

    await disk.closes_again()


async def test_a_silent_disk_takes_no_thread_that_others_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, disk = on_disk(tmp_path), SlowDisk(folder._descend)
    monkeypatch.setattr(folder, "_descend", disk)

    for _ in range(40):  # more than the loop's own threads, on any machine
        with pytest.raises(SourceUnreachable):
            async with LocalFolders(tmp_path, read_timeout_s=0.01).open(place.source):
                pass

    async with asyncio.timeout(30):
        assert await asyncio.to_thread(lambda: "a thread") == "a thread"
    await disk.closes_again()


async def test_a_file_that_is_opened_too_late_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = on_disk(tmp_path)
    (place.folder / "a.csv").write_bytes(b"x")
    async with LocalFolders(tmp_path, read_timeout_s=30).open(place.source) as found:
        disk = SlowDisk(os.open)
        monkeypatch.setattr(os, "open", disk)
        monkeypatch.setattr(found, "_timeout_s", 0.01)

        with pytest.raises(Transient, match="the disk fell silent"):
            await anext(found.read(place.path("a.csv"), 10))

        await disk.closes_again()
