"""Questions to the provider: with an end in time and size, to addresses that may be reached, followed nowhere.

Its documents are a stranger's words, and our server would be a good one to reach others from.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import aiohttp
import orjson

from services.console.oidc.errors import SignInRefused
from services.console.oidc.settings import fault_of, may_be_reached
from shared.hosts import ScreenedNames

ANSWER_BYTES: Final = 256_000


class Wire:
    """JSON objects from the provider. Raises SignInRefused."""

    def __init__(
        self, secure: aiohttp.ClientSession, plain: aiohttp.ClientSession, *, private: bool, timeout_s: float
    ) -> None:
        self._secure, self._plain, self._private, self._timeout_s = secure, plain, private, timeout_s

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """What stands there."""
        status, body = await self._ask("GET", url, headers or {})
        if status != 200:
            raise SignInRefused("unreachable", f"{_place(url)} answered {status}")
        return _object(body, url)

    async def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """The status, which may tell of an error, and what came with it."""
        status, body = await self._ask("POST", url, headers, form)
        if status >= 500 or 300 <= status < 400:
            raise SignInRefused("unreachable", f"{_place(url)} answered {status}")
        return status, _object(body, url)

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        if (why := fault_of(url, private=self._private)) is not None:
            raise SignInRefused("odd_provider", f"an address of its own {why}")
        session = self._secure if url.startswith("https:") else self._plain
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                session.request(
                    method, url, data=form, headers={"Accept": "application/json", **headers}, allow_redirects=False
                ) as response,
            ):
                return response.status, await _read(response, url)
        except TimeoutError:
            what = f"{_place(url)} did not answer within {self._timeout_s:g} s"
            raise SignInRefused("unreachable", what) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise SignInRefused("unreachable", f"{_place(url)}: {type(error).__name__}") from None


async def _read(response: aiohttp.ClientResponse, url: str) -> bytes:
    parts = bytearray()
    async for part in response.content.iter_any():
        parts += part
        if len(parts) > ANSWER_BYTES:
            raise SignInRefused("odd_provider", f"{_place(url)} answered more than {ANSWER_BYTES} bytes")
    return bytes(parts)


def _object(body: bytes, url: str) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise SignInRefused("odd_provider", f"{_place(url)} answered no JSON object")
    return document


def _place(url: str) -> str:
    """The address without its query, which may hold a secret."""
    return url.partition("?")[0][:200]


@asynccontextmanager
async def open_wire(*, private: bool, timeout_s: float) -> AsyncIterator[Wire]:
    """Connections without cookies and without proxies. Plain http goes to private addresses alone."""
    async with _session(private=private, public=True) as secure, _session(private=private, public=False) as plain:
        yield Wire(secure, plain, private=private, timeout_s=timeout_s)


def _session(*, private: bool, public: bool) -> aiohttp.ClientSession:
    may = partial(may_be_reached, private=private, public=public)
    names = ScreenedNames(aiohttp.ThreadedResolver(), may, "leads to no address that may be reached")
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=names, limit=10),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),  # each question has its own
        max_line_size=8_190,
        max_field_size=8_190,
    )
