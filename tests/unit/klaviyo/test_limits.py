"""Reading Klaviyo's headers, and keeping below its limits while reading."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import FrozenClock
from shared.klaviyo.limits import Pacer, RateLimit, rate_limit, retry_after_s


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"RateLimit-Limit": "750", "RateLimit-Remaining": "12", "RateLimit-Reset": "33"}, RateLimit(750, 12, 33)),
        ({"ratelimit-limit": "750, 750;w=60", "RATELIMIT-REMAINING": " 0"}, RateLimit(750, 0, None)),
        ({"RateLimit–Limit": "700"}, RateLimit(700)),
        ({"RateLimit-Limit": "many", "RateLimit-Reset": "-1"}, RateLimit()),
        ({"RateLimit-Limit": "0"}, RateLimit()),
        ({}, RateLimit()),
    ],
)
def test_rate_limits_are_read_in_any_spelling(headers: dict[str, str], expected: RateLimit) -> None:
    assert rate_limit(headers) == expected


@pytest.mark.parametrize(
    ("value", "expected_s"), [("7", 7), ("0", 1), (None, 1), ("soon", 1), ("86400", 3600), ("2.5", 2)]
)
def test_retry_after_is_at_least_a_second_and_at_most_an_hour(value: str | None, expected_s: float) -> None:
    assert retry_after_s({} if value is None else {"retry-AFTER": value}) == expected_s


@given(st.dictionaries(st.text(max_size=30), st.text(max_size=30)))
def test_no_header_whatever_it_says_breaks_the_reading(headers: dict[str, str]) -> None:
    assert rate_limit(headers).limit != 0
    assert 1 <= retry_after_s(headers) <= 3600


async def test_a_pacer_never_exceeds_either_window() -> None:
    clock = FrozenClock()
    pacer = Pacer(clock, per_s=3, per_min=20)
    called_at: list[float] = []

    async def call() -> None:
        for _ in range(50):
            await pacer.turn()
            called_at.append(clock.monotonic())

    task = asyncio.create_task(call())
    for _ in range(20_000):
        await asyncio.sleep(0)
        if task.done():
            break
        clock.advance(0.05)

    assert len(called_at) == 50
    for start in called_at:
        assert sum(start <= at < start + 1 for at in called_at) <= 3
        assert sum(start <= at < start + 60 for at in called_at) <= 20
