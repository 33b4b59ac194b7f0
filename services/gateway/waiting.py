"""Callers that can use an answer: how long they wait, and the 200 that they get. RFC 7240, `Prefer: wait=N`."""

import asyncio
import re
from collections.abc import Iterable
from typing import Final

from aiohttp import web

from shared import metrics

_WAIT: Final = re.compile(r'\s*+wait\s*+(?:=\s*+"?([0-9]{1,9}+)"?\s*+)?(?:;.*+)?', re.IGNORECASE | re.DOTALL)


def preferred_wait_s(preferences: Iterable[str], most_s: float) -> float | None:
    """The seconds that these `Prefer` headers ask for, at most `most_s`, which is also what `wait` alone means; None
    where none asks. The first one counts, and what is no number of seconds is no preference, as the RFC has it."""
    for preference in preferences:
        for part in preference.split(","):
            if asked := _WAIT.fullmatch(part):
                return min(float(asked[1]), most_s) if asked[1] else most_s
    return None


async def within(coming: "asyncio.Future[bytes | None]", seconds: float) -> bytes | None:
    """The answer, or None when it does not come in time; counted."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            answer = await coming
    except TimeoutError:
        answer = None
    metrics.count("waits_total", result="late" if answer is None else "answered")
    return answer


def answered(body: bytes, *, preferred: bool) -> web.Response:
    """200 with what the generator said. It is one person's copy, so no cache keeps it."""
    headers = {"Cache-Control": "no-store"}
    if preferred:
        headers["Preference-Applied"] = "wait"
    return web.Response(body=body, content_type="application/json", headers=headers)
