"""How large a bulk import of profiles may be."""

from typing import Any

import pytest

from shared.clock import FrozenClock
from simulator.account import Account
from simulator.settings import SimulatorSettings
from tests.contract.simulator_box import JOBS, Caller, running_box


def row_of(size: int, filler: str = "x") -> bytes:
    """One row of exactly `size` bytes; `filler` is what its value is made of, as it stands in the JSON."""
    head, tail = b'{"type":"profile","attributes":{"email":"a@x.example","properties":{"b":"', b'"}}}'
    room = size - len(head) - len(tail)
    unit = filler.encode()
    return head + unit * (room // len(unit)) + b"x" * (room % len(unit)) + tail


def body_of(*rows: bytes) -> bytes:
    head = b'{"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":['
    return head + b",".join(rows) + b"]}}}}"


@pytest.mark.parametrize("kilobyte", [1000, 1024])
@pytest.mark.parametrize("filler", ["x", "é", "\\u00e9", "\\n"])
async def test_a_row_may_have_100_kb_as_received(kilobyte: Any, filler: str) -> None:
    largest = 100 * kilobyte
    async with running_box(settings=SimulatorSettings(kilobyte_bytes=kilobyte)) as (caller, _):
        fits = await caller.api("POST", JOBS, raw=body_of(row_of(200), row_of(largest, filler)))
        refused = await caller.api("POST", JOBS, raw=body_of(row_of(200), row_of(largest + 1, filler)))

    assert fits.status == 202
    assert (refused.status, refused.error["source"]) == (400, {"pointer": "/data/attributes/profiles/data/1"})


async def test_blanks_count_where_they_stand(caller: Caller) -> None:
    between = b'{"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":[' + b" " * 200_000
    outside = await caller.api("POST", JOBS, raw=between + row_of(90_000) + b"]}}}}")
    inside = await caller.api("POST", JOBS, raw=body_of(row_of(90_000).replace(b":", b":" + b" " * 3_000)))

    assert (outside.status, inside.status) == (202, 400)


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.parametrize("kilobyte", [1000, 1024])
async def test_a_body_may_have_5_mb(kilobyte: Any) -> None:
    largest = 5_000 * kilobyte
    rows = [row_of(50_000)] * (largest // 50_001 - 1)
    last = largest - len(body_of(*rows, b""))
    fitting, larger = body_of(*rows, row_of(last)), body_of(*rows, row_of(last + 1))
    async with running_box(settings=SimulatorSettings(kilobyte_bytes=kilobyte)) as (caller, _):
        replies = [await caller.api("POST", JOBS, raw=raw) for raw in (fitting, larger)]

    assert (len(fitting), len(larger)) == (largest, largest + 1)
    assert [reply.status for reply in replies] == [202, 413]


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_a_large_import_is_throttled_like_any_call(caller: Caller, account: Account, clock: FrozenClock) -> None:
    raw = body_of(*[row_of(90_000)] * 50)
    replies = [await caller.api("POST", JOBS, raw=raw) for _ in range(11)]
    clock.advance(1)

    assert [reply.status for reply in replies] == [202] * 10 + [429]
    assert replies[-1].headers["Retry-After"] == "1"
    assert (await caller.api("POST", JOBS, raw=raw)).headers["RateLimit-Remaining"] == str(150 - 11)
    assert len(account.jobs) == 11


async def test_a_job_may_have_10_000_rows(caller: Caller) -> None:
    row = b'{"type":"profile","attributes":{"email":"a@x.example"}}'
    replies = [await caller.api("POST", JOBS, raw=body_of(*[row] * count)) for count in (10_000, 10_001, 0)]

    assert [reply.status for reply in replies] == [202, 400, 400]
    assert replies[1].error["source"] == {"pointer": "/data/attributes/profiles/data"}
