"""The writer's loads at the figures that are asked of them: L4 to L7 of docs/reliability.md.

They are the acts of `bench/writer.py`, and its limits; what that only shows, these tests hold. An act is played once.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bench import writer_acts
from bench.report import is_met
from bench.writer import ASKED
from bench.writer_acts import Result, Size
from devstack import Endpoints
from tests.chaos.servers import OwnServers
from tests.support.measured import say

pytestmark = [pytest.mark.long, pytest.mark.alone, pytest.mark.timeout(600)]

Act = Callable[[Endpoints, Path, Size, Result], Awaitable[None]]
FULL = Size()
AT_ONCE = Size(bulk=10_000, bulk_within_s=0, delay_s=120)


async def test_l04_twenty_accounts_use_their_whole_quota_and_are_never_refused(own: OwnServers, tmp_path: Path) -> None:
    figures = await _played(writer_acts.saturated, own, tmp_path)

    assert _missed(figures, "quota_used", "n_429_saturated") == []
    assert figures["quota_used_min"] >= 0.85  # of each minute of each account, after its first


async def test_l05_beside_another_app_hardly_a_call_is_refused_and_none_is_made_in_vain(
    own: OwnServers, tmp_path: Path
) -> None:
    figures = await _played(writer_acts.bursts, own, tmp_path)

    assert _missed(figures, "rate_429", "rate_429_bursts", "requests_per_write", "carried") == []
    assert figures["right_3400"] == FULL.small  # what fits is all right


async def test_l06_an_account_with_twenty_thousand_waiting_delays_no_quiet_one(own: OwnServers, tmp_path: Path) -> None:
    figures = await _played(writer_acts.noisy, own, tmp_path)

    assert _missed(figures, "noisy_ratio") == []
    assert figures["quiet_p99_beside_ms"] <= 5_000


async def test_l07_a_hundred_thousand_people_of_one_account_are_written_within_five_minutes(
    own: OwnServers, tmp_path: Path
) -> None:
    figures = await _played(writer_acts.bulk, own, tmp_path)

    assert _missed(figures, "right_bulk") == []
    assert figures["bulk_refused_429"] == 0


async def test_l07_ten_thousand_people_of_one_account_at_once_are_written_within_two_minutes(
    own: OwnServers, tmp_path: Path
) -> None:
    figures = await _played(writer_acts.bulk, own, tmp_path, AT_ONCE)

    assert figures["right_bulk"] >= 0.99
    assert figures["bulk_refused_429"] == 0


async def _played(act: Act, own: OwnServers, folder: Path, size: Size = FULL) -> dict[str, float]:
    """What the act found; no email of it showed what nobody decided."""
    result = Result(real=False)
    await act(own.endpoints, folder, size, result)
    figures = {**result.figures, "faults": result.faults}
    say(**{name: f"{value:.4g}" for name, value in figures.items()})
    assert result.faults == 0, result.rows
    return figures


def _missed(figures: dict[str, float], *names: str) -> list[str]:
    """Those of the figures that are not as the benchmark asks."""
    return [f"{name} is {figures[name]:.4g}" for name in names if not is_met(figures[name], ASKED[name])]
