from __future__ import annotations

import asyncio

import pytest

from tests.support.waiting import eventually


async def test_the_answer_comes_out_as_soon_as_there_is_one() -> None:
    answers = iter([0, 0, 7])

    assert await eventually(lambda: next(answers), every_s=0.001) == 7


async def test_an_async_check_may_use_asserts_and_return_nothing() -> None:
    seen: list[int] = []

    async def check() -> None:
        seen.append(1)
        assert len(seen) == 3

    await eventually(check, every_s=0.001)

    assert len(seen) == 3


async def test_the_last_failure_is_raised_at_the_deadline() -> None:
    def check() -> None:
        raise AssertionError("still 2 in the queue")

    with pytest.raises(AssertionError, match="still 2 in the queue"):
        await eventually(check, within_s=0.02, every_s=0.005)


async def test_a_false_answer_is_shown_at_the_deadline() -> None:
    with pytest.raises(AssertionError, match=r"not true within 0\.02 s; the last answer was \[\]"):
        await eventually(list, within_s=0.02, every_s=0.005)


async def test_a_check_that_hangs_is_cut_off() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    with pytest.raises(AssertionError, match="did not return"):
        await eventually(hang, within_s=0.02, every_s=0.005)


async def test_a_broken_check_is_raised_at_once() -> None:
    calls: list[int] = []

    def broken() -> bool:
        calls.append(1)
        raise KeyError("queue")

    with pytest.raises(KeyError):
        await eventually(broken)

    assert len(calls) == 1
