"""Fixed windows: whatever the arrivals, no window ever admits more than it may."""

import math
from collections import Counter
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.account import Account
from simulator.api import admission
from simulator.api.jsonapi import ApiError
from simulator.api.operations import BY_ID
from simulator.foreign import Foreign, Pattern
from simulator.settings import SimulatorSettings
from simulator.windows import Granted, Quota, Refused, Windows

PROFILE_WRITES = Quota(75, 750)
ARRIVALS = st.lists(st.floats(0, 150, allow_nan=False), max_size=400).map(sorted)


def counted(moments: list[float], length_s: float, phase_s: float) -> Counter[int]:
    return Counter(math.floor((moment - phase_s) / length_s) for moment in moments)


@given(arrivals=ARRIVALS, phase_s=st.floats(0, 60), burst=st.integers(1, 5), steady=st.integers(1, 20))
def test_no_fixed_window_admits_more_than_its_limit(
    arrivals: list[float], phase_s: float, burst: int, steady: int
) -> None:
    windows = Windows(Quota(burst, steady), phase_s)

    admitted = [moment for moment in arrivals if isinstance(windows.take(moment), Granted)]

    assert max(counted(admitted, 1, phase_s % 1).values(), default=0) <= burst
    assert max(counted(admitted, 60, phase_s).values(), default=0) <= steady


@given(arrivals=ARRIVALS, phase_s=st.floats(0, 60))
def test_a_caller_who_waits_as_told_is_let_in(arrivals: list[float], phase_s: float) -> None:
    windows = Windows(Quota(2, 10), phase_s)
    for moment in arrivals:
        taken = windows.take(moment)
    if arrivals and isinstance(taken, Refused):
        assert isinstance(windows.take(arrivals[-1] + taken.retry_after_s), Granted)


def test_a_full_burst_of_profile_writes_is_75_and_the_next_waits_for_the_second() -> None:
    windows = Windows(PROFILE_WRITES, phase_s=0.25)

    taken = [windows.take(100.3) for _ in range(76)]

    assert all(isinstance(answer, Granted) for answer in taken[:75])
    assert taken[75] == Refused(retry_after_s=1, window_s=1.0)


def test_a_full_minute_is_750_and_the_wait_is_the_rest_of_the_minute() -> None:
    windows = Windows(PROFILE_WRITES, phase_s=0.0)
    for second in range(10):
        for _ in range(75):
            assert isinstance(windows.take(600 + second), Granted)

    refused = windows.take(610.5)

    assert refused == Refused(retry_after_s=50, window_s=60.0)
    assert isinstance(windows.take(660), Granted)


def test_the_headers_tell_the_steady_window() -> None:
    windows = Windows(PROFILE_WRITES, phase_s=0.0)
    windows.take(630)

    assert windows.take(630) == Granted(limit=750, remaining=748, reset_s=30)


def test_a_refused_request_spends_nothing() -> None:
    windows = Windows(Quota(1, 2), phase_s=0.0)
    assert isinstance(windows.take(0.0), Granted)
    for _ in range(5):
        assert isinstance(windows.take(0.5), Refused)

    assert isinstance(windows.take(1.0), Granted)


def test_other_apps_of_the_account_eat_the_same_windows() -> None:
    windows = Windows(Quota(10, 100), phase_s=0.0, foreign=Foreign(8.0, "steady", 1, 600.0, Random(1)))

    granted = [windows.take(600 + step / 20) for step in range(19, 20 * 4)]

    ours = sum(isinstance(answer, Granted) for answer in granted)
    # By the end of each second the others have spent 7 of its 10; ours are what is left, in every second we ask in.
    assert 0 < ours < 40
    assert windows.windows[0].history_max <= 10


@pytest.mark.parametrize(("pattern", "burst"), [("steady", 1), ("poisson", 1), ("bursts", 20)])
def test_other_apps_keep_their_average_and_are_refused_like_us(pattern: Pattern, burst: int) -> None:
    foreign = Foreign(3.75, pattern, burst, 600.0, Random(1))
    windows = Windows(Quota(75, 150), phase_s=0.0, foreign=foreign)

    for minute in range(60):
        windows.take(600 + minute * 60 + 59.9)

    assert abs(foreign.calls - 3.75 * 3600) < 0.1 * 3.75 * 3600
    assert max(window.used for window in windows.windows) <= 150
    assert foreign.refused >= foreign.calls - 60 * 150


def test_a_daily_window_holds_for_a_day() -> None:
    windows = Windows(Quota(10, 100, daily=2), phase_s=0.0)
    windows.take(0.0)
    windows.take(100.0)

    refused = windows.take(200.0)

    assert refused == Refused(retry_after_s=86_200, window_s=86_400.0)


@pytest.mark.parametrize(("shared", "left"), [(False, 749), (True, 739)])
def test_an_import_of_a_profile_spends_a_quota_of_its_own_or_by_setting_that_of_patch(shared: bool, left: int) -> None:
    account = Account("AbC123", "Shop", 0.0, datetime(2026, 11, 23, tzinfo=UTC))
    settings = SimulatorSettings(shared_write_quota=shared)

    def spent(operation: str) -> Granted:
        return admission.spend(account, BY_ID[operation], frozenset(), account.created_at, settings)

    patched = [spent("update_profile") for _ in range(10)]
    imported = spent("create_or_update_profile")

    assert patched[-1].remaining == 740
    assert imported.remaining == left
    assert spent("update_profile").remaining == (738 if shared else 739)


def test_a_shared_quota_refuses_imports_that_patch_has_left_no_room_for() -> None:
    account = Account("AbC123", "Shop", 0.0, datetime(2026, 11, 23, tzinfo=UTC))
    settings = SimulatorSettings(shared_write_quota=True)
    for _ in range(75):
        admission.spend(account, BY_ID["update_profile"], frozenset(), account.created_at, settings)

    with pytest.raises(ApiError) as refused:
        admission.spend(account, BY_ID["create_or_update_profile"], frozenset(), account.created_at, settings)

    assert refused.value.status == 429
