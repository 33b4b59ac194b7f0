"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")
_LAST_LOOK_S = 1.0  # after a stall past the deadline, the last look gets so long


@overload
async def eventually(check: Callable[[], Awaitable[T]], within_s: float = ..., every_s: float = ...) -> T: ...
@overload
async def eventually(check: Callable[[], T], within_s: float = ..., every_s: float = ...) -> T: ...
async def eventually(check: Callable[[], T | Awaitable[T]], within_s: float = 30.0, every_s: float = 0.02) -> T:
    """Call `check` until it stops raising `AssertionError` or returning something false; return what it returned.

    After `within_s` the last assertion error is raised; if the last answer was only false, an error that shows it.
    Any other exception means the test is wrong and is raised at once. `None` counts as an answer: it is what a check
    made of `assert` statements returns.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while True:
        failure: AssertionError | None = None
        answer: T | None = None
        try:
            async with asyncio.timeout_at(max(deadline, loop.time() + max(every_s, _LAST_LOOK_S))):
                got = check()
                answer = await got if isinstance(got, Awaitable) else got
            if answer is None or answer:
                return answer  # type: ignore[return-value] # None only where T is None
        except AssertionError as error:
            failure = error
        except TimeoutError:
            failure = AssertionError(f"the check itself did not return within {within_s:g} s")
        if loop.time() >= deadline:
            raise failure or AssertionError(f"not true within {within_s:g} s; the last answer was {answer!r}")
        await asyncio.sleep(every_s)
