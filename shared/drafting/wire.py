"""One POST of JSON to a model's server, tried again where that may help. Real seconds: the server knows no other.

Of an error it shows the status, the codes and what the server says is wrong with the request, the key taken out.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random, SystemRandom
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
from aiohttp.abc import AbstractResolver

from shared import logs
from shared.drafting.drafter import ModelRefused, NoAnswer, NotThisApi
from shared.drafting.retries import LONGEST_WAIT_S, Limits, may_heal, wait_s
from shared.errors import Failure, Throttled
from shared.hosts import ScreenedNames, is_private

log = logs.get(__name__)

_ANSWER_BYTES = 4_000_000
_SAID_CHARS = 300
_SECRET_HEADERS = ("authorization", "x-api-key")
_CODE = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")

Pause = Callable[[float], Awaitable[object]]


def private_names(asks: AbstractResolver) -> ScreenedNames:
    """Names lead to this machine or a private network only: plain http goes no further."""
    return ScreenedNames(asks, is_private, "is not in a private network: only https may leave it")


@asynccontextmanager
async def open_session(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    """Connections to the server of this URL, without cookies and without proxies."""
    plain = urlsplit(url).scheme == "http"
    connector = aiohttp.TCPConnector(resolver=private_names(aiohttp.ThreadedResolver()) if plain else None)
    patient = aiohttp.ClientTimeout(total=None)  # each try has a limit of its own, which may be the longer one
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=patient
    ) as session:
        yield session


class Wire:
    """Requests to one server with one key."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], limits: Limits,
        *, chance: Random | None = None, pause: Pause = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._session = session
        self._url = url
        self._headers = {**headers, "Content-Type": "application/json", "Accept": "application/json"}
        self._secrets = [value for name, value in headers.items() if name.lower() in _SECRET_HEADERS]
        self._limits = limits
        self._chance = chance or SystemRandom()
        self._pause = pause

    async def post(self, body: Mapping[str, object]) -> dict[str, Any]:
        """The answer's JSON object. Raises ModelRefused, NotThisApi, NoAnswer, Throttled."""
        content = orjson.dumps(body)
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._limits.total_s
        tried = 0
        while True:
            tried += 1
            came = await self._try(content, min(self._limits.try_s, ends - loop.time()))
            if not isinstance(came, _Failed):
                return came
            failure = came.failure
            again = isinstance(failure, NoAnswer | Throttled)
            log.warning("llm.failed", reason=failure.reason, tried=tried, again=again)
            if not again:
                raise failure
            if tried >= self._limits.tries:
                raise _last(failure, f"after {tried} tries" if tried > 1 else "and was asked once")
            pause_s = wait_s(tried, came.headers, self._chance, datetime.now(UTC))
            if pause_s is None:
                raise _last(failure, f"and asks to wait longer than {LONGEST_WAIT_S:g} s")
            if loop.time() + pause_s >= ends:
                raise _last(failure, f"and JUSTAI_LLM_TOTAL_S, {self._limits.total_s:g} s, has no time for another try")
            await self._pause(pause_s)

    async def _try(self, content: bytes, seconds: float) -> "dict[str, Any] | _Failed":
        try:
            async with (
                asyncio.timeout(seconds),
                self._session.post(self._url, data=content, headers=self._headers, allow_redirects=False) as response,
            ):
                status, headers, document = response.status, response.headers, _object(await _read(response))
        except TimeoutError:
            what = f"the model's server did not answer within {seconds:.3g} s (JUSTAI_LLM_TIMEOUT_S)"
            return _Failed(NoAnswer(what, reason="llm_timeout"))
        except (aiohttp.ClientError, OSError) as error:
            # A connection's error tells the host alone; others may quote what the server sent.
            why = str(error) if isinstance(error, aiohttp.ClientConnectorError) else type(error).__name__
            what = f"the model's server is out of reach (JUSTAI_LLM_URL): {why}"
            return _Failed(NoAnswer(what, reason="llm_unreachable"))
        if status == 200 and document is not None:
            return document
        return _Failed(failure_of(status, headers, document, tuple(self._secrets)), headers)


@dataclass(frozen=True, slots=True)
class _Failed:
    """One try that brought no answer; `headers` may say when to try again."""

    failure: Failure
    headers: Mapping[str, str] = field(default_factory=dict)


def failure_of(
    status: int, headers: Mapping[str, str], document: Mapping[str, Any] | None, secrets: Sequence[str] = ()
) -> Failure:
    """What an answer that is no success stands for. `secrets`: what must not be shown, though the server repeat it."""
    codes = frozenset(one for one in _codes(document) if not any(_key(secret) in one for secret in secrets))
    said = f"the model's server answered {status}" + (f" ({', '.join(sorted(codes))})" if codes else "")
    if 300 <= status < 400:
        return NotThisApi(f"{said}, a redirect; set JUSTAI_LLM_URL to where it leads", reason="llm_redirect")
    if status in (401, 403):
        return ModelRefused(f"{said}: JUSTAI_LLM_API_KEY is not accepted for this model", reason="llm_key_refused")
    if may_heal(status, headers, codes):
        if status == 429:
            return Throttled(said, wait_s=LONGEST_WAIT_S, reason="llm_throttled")
        return NoAnswer(said, reason=f"llm_{status}")
    if status in (402, 429):
        return ModelRefused(f"{said}: the account has nothing left to spend", reason="llm_spent")
    if status >= 500:
        return ModelRefused(f"{said}, and that trying again will not help", reason=f"llm_{status}")
    if status == 404:
        return ModelRefused(f"{said}: see JUSTAI_LLM_URL and JUSTAI_LLM_MODEL", reason="llm_not_found")
    if status < 300:
        return NotThisApi(f"{said} without the JSON of this API; see JUSTAI_LLM_URL", reason="llm_not_this_api")
    why = _message(document, secrets) or "see the JUSTAI_LLM settings"
    return ModelRefused(f"{said}: it does not take this request: {why}", reason=f"llm_{status}")


def _last(failure: Failure, what: str) -> Failure:
    """The last failure, with why it was the last."""
    if isinstance(failure, Throttled):
        return Throttled(f"{failure}, {what}", wait_s=failure.wait_s, reason=failure.reason)
    return NoAnswer(f"{failure}, {what}", reason=failure.reason)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts = bytearray()
    async for part in response.content.iter_any():
        parts += part
        if len(parts) > _ANSWER_BYTES:
            raise aiohttp.ClientPayloadError("the answer is too large")
    return bytes(parts)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def _codes(document: Mapping[str, Any] | None) -> frozenset[str]:
    """All that an error calls itself: OpenAI's type, code and param, Anthropic's type and its details' code."""
    error = (document or {}).get("error")
    if not isinstance(error, dict):
        return frozenset()
    details = error.get("details")
    named = [error.get(name) for name in ("type", "code", "param")]
    named.append(details.get("error_code") if isinstance(details, dict) else None)
    return frozenset(one for one in named if isinstance(one, str) and _CODE.fullmatch(one))


def _message(document: Mapping[str, Any] | None, secrets: Sequence[str]) -> str:
    """What the server says is wrong, on one line, without the key."""
    error = (document or {}).get("error")
    said = error.get("message") if isinstance(error, dict) else None
    if not isinstance(said, str):
        return ""
    for secret in secrets:
        said = said.replace(_key(secret), "…")
    return "".join(char if char.isprintable() else " " for char in said)[:_SAID_CHARS]


def _key(header: str) -> str:
    """The key of a header's value, which may have a word before it."""
    return header.rpartition(" ")[2]
