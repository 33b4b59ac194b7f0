"""Every row of the writer's benchmark, shortened: the same acts, the same counting, a fraction of the people."""

from pathlib import Path

import pytest

from bench import writer_acts
from bench.writer_acts import Result, Size
from tests.support.servers import Servers

pytestmark = pytest.mark.timeout(120)

SMALL = Size(
    delay_s=60,
    small=500,
    large=2_500,
    bulk=3_000,
    noisy_backlog=1_500,
    noisy_at_once=500,
    noisy_s=8,
    pending=20_000,
    watched_s=8,
)


@pytest.fixture
def result() -> Result:
    return Result(real=False)


@pytest.mark.alone
@pytest.mark.long
async def test_a_burst_that_fits_is_all_right_and_beyond_it_the_quota_is_used_up(
    servers: Servers, tmp_path: Path, result: Result
) -> None:
    await writer_acts.bursts(servers.need("postgres", "rabbitmq"), tmp_path, SMALL, result)

    figures = result.figures
    assert figures["right_3400"] == SMALL.small
    assert figures["carried"] >= 0.97
    assert figures["requests_per_write"] <= 1.1
    assert max(figures["rate_429"], figures["rate_429_bursts"]) <= 0.02  # some of few requests, at the first meeting
    assert result.faults == 0
    told = {name: row for name, *row in result.rows}
    right, missed, _, reasons = told["2,500 in 30 s"]
    assert int(right.replace(",", "")) + int(missed.replace(",", "")) == SMALL.large
    assert "expired quota" in reasons


@pytest.mark.alone
@pytest.mark.long
async def test_a_burst_far_beyond_the_quota_is_right_by_import(
    servers: Servers, tmp_path: Path, result: Result
) -> None:
    await writer_acts.bulk(servers.need("postgres", "rabbitmq"), tmp_path, SMALL, result)

    assert result.figures["right_bulk"] >= 0.999
    assert result.figures["bulk_share"] > 0.3
    assert result.figures["bulk_refused_429"] == 0
    assert result.faults == 0


@pytest.mark.alone
@pytest.mark.long
async def test_a_loud_account_delays_no_quiet_one(servers: Servers, tmp_path: Path, result: Result) -> None:
    await writer_acts.noisy(servers.need("postgres", "rabbitmq"), tmp_path, SMALL, result)

    # Of a handful of writes on a machine that runs other tests: far from the seconds of a queue that is not shared out.
    assert result.figures["quiet_p99_beside_ms"] < 1_000
    assert result.figures["noisy_ratio"] < 5


async def test_what_waits_costs_no_memory(servers: Servers, tmp_path: Path, result: Result) -> None:
    await writer_acts.million(servers.need("postgres", "rabbitmq"), tmp_path, SMALL, result)

    assert result.figures["rss_mb_million"] < 300
    assert result.figures["written_beside_million"] > 0


@pytest.mark.alone
@pytest.mark.long
async def test_the_official_sdk_meets_the_same_burst(result: Result) -> None:
    await writer_acts.peer(Size(delay_s=20, small=200), result)

    assert 150 <= result.figures["peer_right"] <= 200
    assert result.figures["peer_wall_s"] > 8
    assert result.faults == 0
