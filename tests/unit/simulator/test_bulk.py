"""What a row of a bulk import weighs, and how a job is applied."""

import asyncio
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import FrozenClock
from simulator.account import Account, ImportJob
from simulator.api.bulk_runs import SLICE_ROWS, run
from simulator.api.row_sizes import oversized_row, received_sizes
from simulator.world import World

AT = datetime(2026, 11, 23, 10, tzinfo=UTC)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
ROWS = st.lists(
    st.dictionaries(st.sampled_from(["data", "attributes", "b"]), VALUES | st.text(max_size=60)), min_size=1, max_size=4
)


def encoded(value: Any, spaced: bool, escaped: bool) -> str:
    return json.dumps(value, ensure_ascii=escaped, separators=(" , ", " :\n") if spaced else (",", ":"))


def import_of(rows: list[str]) -> bytes:
    """An import with decoys around the rows: other members of the same names, and an earlier value of each."""
    inner = f'{{"data": [1], "x": {{"data": [{{}}]}}, "data" : [ {" , ".join(rows)} ] }}'
    return (
        f'{{ "data": {{"attributes": {{"profiles": 1, "profiles": {inner}}}, "lists": {{"data": [{{}}]}}}} }}'.encode()
    )


def rows_in(raw: bytes) -> list[Any]:
    rows: list[Any] = orjson.loads(raw)["data"]["attributes"]["profiles"]["data"]
    return rows


@given(rows=ROWS, spaced=st.booleans(), escaped=st.booleans())
def test_a_row_weighs_what_it_took_in_the_body(rows: list[Any], spaced: bool, escaped: bool) -> None:
    texts = [encoded(row, spaced, escaped) for row in rows]

    assert received_sizes(import_of(texts)) == [len(text.encode()) for text in texts]


@given(rows=ROWS, spaced=st.booleans(), escaped=st.booleans(), max_bytes=st.integers(2, 200))
def test_the_first_row_over_the_limit_is_found_whatever_the_encoding(
    rows: list[Any], spaced: bool, escaped: bool, max_bytes: int
) -> None:
    texts = [encoded(row, spaced, escaped) for row in rows]
    raw = import_of(texts)
    kept = rows_in(raw)
    sizes = [len(text.encode()) for text in texts]

    expected = next((number for number, size in enumerate(sizes) if size > max_bytes), None)
    assert oversized_row(raw, kept, max_bytes) == expected


def test_measuring_a_row_does_not_double_what_is_kept_of_it() -> None:
    # A text keeps its encoded form once that was asked for, and `getsizeof` counts it.
    row = {"type": "profile", "attributes": {"properties": {"b": "é" * 10_000}}}
    raw = import_of([json.dumps(row, ensure_ascii=False)])
    kept = rows_in(raw)
    text = kept[0]["attributes"]["properties"]["b"]
    before = sys.getsizeof(text)

    assert oversized_row(raw, kept, 100_000) is None

    assert sys.getsizeof(text) == before


@pytest.fixture
def world() -> World:
    return World(FrozenClock(AT))


def job_of(account: Account, count: int) -> ImportJob:
    rows: list[Mapping[str, Any]] = [
        {"type": "profile", "id": it, "attributes": {"properties": {"n": 1}}} for it in account.profiles
    ]
    return ImportJob("J", rows[:count], [], AT, AT, AT, AT)


async def test_a_large_job_lets_others_in_between_its_slices(world: World) -> None:
    account = world.add_account("A")
    for _ in range(3 * SLICE_ROWS):
        world.add_profile(account, {})
    job = job_of(account, 3 * SLICE_ROWS)
    running = asyncio.create_task(run(world, account, job))

    seen = []
    while not running.done():
        seen.append((job.applied, job.status(AT)))
        await asyncio.sleep(0)

    assert seen[1:] == [(done * SLICE_ROWS, "processing") for done in (1, 2, 3)]
    assert (job.applied, job.total, job.status(AT)) == (3 * SLICE_ROWS, 3 * SLICE_ROWS, "complete")
    assert job.rows == []
