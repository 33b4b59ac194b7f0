"""Which key a request carries, and whether it may generate.

What is known of a key is kept in memory and asked again every 30 s, and at once when a change is told. When the
database is away, known keys go on for 10 minutes; an unknown key is then a 503, because it may well be a good one.

| key presented | answer | database asked |
| known | at once | no; all known keys together, every 30 s |
| wrong checksum | 401 | never |
| unknown, asked for since the last refresh | 401 | no |
| unknown | 401 | once; all that wait go in one statement |
| any of these two, database away | 503 | tried |
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Protocol
from uuid import UUID

from multidict import CIMultiDictProxy

from services.gateway.api_key import ApiKey
from services.gateway.errors import Refused
from shared import api_keys, logs
from shared.api_keys import KEY_CHARS, Peppers
from shared.clock import first_of
from shared.errors import Failure, Outage

log = logs.get(__name__)

REFRESH_S = 30.0
REFRESH_UNTOLD_S = 2.0  # while nobody tells us of changes: a revoked key must be refused within 5 s
FAIL_STATIC_S = 600.0
MARK_USED_S = 60.0
FORGET_UNUSED_S = 3600.0
MOST_STRANGERS = 10_000  # unknown keys remembered, and unknown keys that may wait for the database
MOST_ASKED = 500  # keys in one statement


class KeyStore(Protocol):
    """Where keys are stored."""

    async def find(self, digests: Sequence[bytes]) -> Mapping[bytes, ApiKey]:
        """The keys stored under these digests. Raises Outage or Transient."""

    async def mark_used(self, used: Mapping[UUID, datetime]) -> None:
        """Store when keys were last used. Raises Outage or Transient."""


def presented_key(headers: CIMultiDictProxy[str]) -> str:
    """The key of a request: `X-Api-Key: <key>` or `Authorization: Bearer <key>`. Raises Refused.

    Two different answers to the question who is calling are none; the same key in both headers is one.
    """
    keys = headers.getall("X-Api-Key", ())
    if len(keys) == 1 and "Authorization" not in headers:
        return keys[0]
    presented = [key.strip() for key in keys]
    for authorization in headers.getall("Authorization", ()):
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() == "bearer":
            presented.append(key.strip())
    if not presented:
        raise Refused("missing_api_key")
    if len(keys) > 1 or len(headers.getall("Authorization", ())) > 1 or len(set(presented)) > 1:
        raise Refused("ambiguous_api_key")
    return presented[0]


@dataclass(slots=True)
class _Known:
    api_key: ApiKey
    digests: list[bytes]  # one per pepper: which of them it is stored under changes when peppers are rotated
    confirmed_s: float
    used_at: datetime | None = None
    used_s: float = 0.0


@dataclass(slots=True)
class _Asked:
    digests: list[bytes]
    answer: asyncio.Future[ApiKey | None]


class Keys:
    """The keys in memory. `seconds` is a monotonic clock in real seconds: caches know nothing of a scaled one."""

    def __init__(
        self,
        store: KeyStore,
        peppers: Peppers,
        *,
        seconds: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store, self._peppers, self._seconds = store, peppers, seconds
        # Keys are remembered by a hash under a secret of this process: a memory dump shows none, and how long a
        # look-up takes tells nothing of how close a guess is.
        self._secret = random_bytes(32)
        self._known: dict[bytes, _Known] = {}
        self._strangers: dict[bytes, None] = {}  # a set that remembers its order
        self._asking: dict[bytes, _Asked] = {}
        self._asker: asyncio.Task[None] | None = None
        self._listening = False
        self._changed = asyncio.Event()
        self._changes = 0

    async def check(self, key: str, now: datetime) -> ApiKey:
        """The key's record, if it may generate at `now`. Raises Refused (401, 403, or 503 while nobody can tell)."""
        if len(key) != KEY_CHARS or not key.isascii():
            raise Refused("malformed_api_key")
        mark = hashlib.blake2b(key.encode(), digest_size=16, key=self._secret).digest()
        known = self._known.get(mark)
        seconds = self._seconds()
        if known is None or seconds - known.confirmed_s > FAIL_STATIC_S:
            known = await self._look_up(mark, key)
        known.used_at, known.used_s = now, seconds
        known.api_key.check(now)
        return known.api_key

    def changed(self) -> None:
        """Something about keys has changed: ask again, at once."""
        self._changes += 1
        self._changed.set()

    def listen(self, *, listening: bool) -> None:
        """Whether changes are told from now on. One may have been missed before, or be missed soon."""
        self._listening = listening
        self.changed()

    async def run(self, stop: asyncio.Event) -> None:
        """Keep what is known fresh, and store once a minute when keys were used, until `stop` is set."""
        marked_s = self._seconds()
        while not stop.is_set():
            rest_s = REFRESH_S if self._listening else REFRESH_UNTOLD_S
            await first_of(stop.wait(), self._changed.wait(), within_s=rest_s)
            await self.refresh()
            if stop.is_set() or self._seconds() - marked_s >= MARK_USED_S:
                marked_s = self._seconds()
                await self._mark_used()

    async def refresh(self) -> None:
        """Ask for every known key again; a key that is gone or was revoked is refused from now on."""
        self._changed.clear()
        self._strangers.clear()
        seconds = self._seconds()
        for mark, known in list(self._known.items()):
            if seconds - known.used_s > FORGET_UNUSED_S:
                del self._known[mark]
        marks = iter(list(self._known))
        try:
            while some := list(islice(marks, MOST_ASKED)):
                await self._refresh(some)
        except Failure as failure:
            log.warning("keys.not_refreshed", reason=failure.reason, known=len(self._known))

    async def _refresh(self, marks: list[bytes]) -> None:
        seconds = self._seconds()
        asked = {mark: self._known[mark].digests for mark in marks if mark in self._known}
        found = await self._store.find([digest for digests in asked.values() for digest in digests])
        for mark, digests in asked.items():
            api_key = _first(found, digests)
            if api_key is None:
                del self._known[mark]
            else:
                self._known[mark].api_key, self._known[mark].confirmed_s = api_key, seconds

    async def _look_up(self, mark: bytes, key: str) -> _Known:
        if not api_keys.well_formed(key):
            raise Refused("malformed_api_key")
        if mark in self._strangers:
            raise Refused("unknown_api_key")
        asked = self._asking.get(mark)
        if asked is None:
            if len(self._asking) >= MOST_STRANGERS:
                raise Refused("keys_unavailable")
            asked = _Asked(self._peppers.digests(key), asyncio.get_running_loop().create_future())
            self._asking[mark] = asked
            if self._asker is None:
                self._asker = asyncio.create_task(self._ask(), name="ask for keys")
        try:
            api_key = await asyncio.shield(asked.answer)  # others may wait for the same answer
        except Failure as failure:
            raise Refused("keys_unavailable") from failure
        if api_key is None:
            raise Refused("unknown_api_key")
        known = self._known[mark] = _Known(api_key, asked.digests, self._seconds())
        return known

    async def _ask(self) -> None:
        """Answer all who wait; while one statement runs, the next one gathers."""
        try:
            while self._asking:
                some = dict(islice(self._asking.items(), MOST_ASKED))
                changes = self._changes
                try:
                    found = await self._store.find([digest for asked in some.values() for digest in asked.digests])
                except Failure as failure:
                    self._settle(some, failure)
                else:
                    self._settle(some, found)
                if changes != self._changes:
                    self._changed.set()  # the answer may be older than the change, and not yet known when it was told
        finally:
            self._asker = None
            self._settle(dict(self._asking), Outage("the keys cannot be asked for"))

    def _settle(self, asked: dict[bytes, _Asked], found: Mapping[bytes, ApiKey] | Failure) -> None:
        for mark, one in asked.items():
            del self._asking[mark]
            if isinstance(found, Failure):
                one.answer.set_exception(found)
                one.answer.exception()  # marked as seen: whoever waited may be gone
                continue
            api_key = _first(found, one.digests)
            if api_key is None:
                self._remember_stranger(mark)
            one.answer.set_result(api_key)

    def _remember_stranger(self, mark: bytes) -> None:
        while len(self._strangers) >= MOST_STRANGERS:
            del self._strangers[next(iter(self._strangers))]
        self._strangers[mark] = None

    async def _mark_used(self) -> None:
        used = {known.api_key.key_id: known.used_at for known in self._known.values() if known.used_at is not None}
        if not used:
            return
        try:
            await self._store.mark_used(used)
        except Failure as failure:
            log.warning("keys.use_not_stored", reason=failure.reason)
            return
        for known in self._known.values():
            if used.get(known.api_key.key_id) == known.used_at:
                known.used_at = None


def _first(found: Mapping[bytes, ApiKey], digests: Sequence[bytes]) -> ApiKey | None:
    return next((found[digest] for digest in digests if digest in found), None)
