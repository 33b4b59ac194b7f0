"""PostgreSQL starts wherever its programs come from, and whatever root may do on this machine."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest

from devstack import postgres, start


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that nobody can enter, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.mark.parametrize("programs", ["debian's", "the wheel's"])
@pytest.mark.parametrize("root_runs_it_as", ["a user of its namespace", "nobody"])
def test_a_second_start_finds_the_data(
    tmp_path: Path, public: Path, monkeypatch: pytest.MonkeyPatch, programs: str, root_runs_it_as: str
) -> None:
    monkeypatch.setattr(postgres, "PUBLIC", public)
    if programs == "the wheel's":
        monkeypatch.setattr(postgres, "DEBIAN", tmp_path / "not installed")
    if root_runs_it_as == "nobody":
        monkeypatch.setattr(postgres, "IN_NAMESPACE", ["false"])

    with start(["postgres"], tmp_path, durable=True) as stack:
        run(stack.endpoints.database_url, "CREATE TABLE kept AS SELECT 'kept' AS word")
    with start(["postgres"], tmp_path, durable=False) as stack:
        kept = run(stack.endpoints.database_url, "SELECT word FROM kept")

    assert kept == "kept"
    assert not list(public.iterdir())  # stopping what is not durable also removes what lies outside the data folder


def run(url: str, statement: str) -> object:
    async def inside() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as thread:  # `asyncio.run` here would take the event loop away from later tests
        return thread.submit(asyncio.run, inside()).result(timeout=30)
