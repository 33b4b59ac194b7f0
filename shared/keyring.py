"""The key ring of a process: read from its setting or from a file, unwrapped by AWS KMS where it says so, and kept up
to date while the process runs. Who has which key stands in the database, so that nothing is sealed with a key that
somebody lacks.
"""

import asyncio
import base64
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

from shared import logs
from shared.clock import Clock, SystemClock, first_of
from shared.crypto import KeyRing, Wrapped, parse_ring
from shared.db.pool import Database
from shared.errors import Failure, Permanent

log = logs.get(__name__)

FILE: Final = "file:"
_LOOK_EVERY_S: Final = 2.0
_TELL_EVERY_S: Final = 15.0
_TELL_TIMEOUT_S: Final = 5.0  # the gateway has two connections, which must not wait here
LIVES: Final = timedelta(seconds=60)
"""A process that was not seen for so long has ended, however it did."""

TELL: Final = """
    WITH gone AS (DELETE FROM ring_holders WHERE seen_at < $5::timestamptz - interval '1 day')
    INSERT INTO ring_holders (holder_id, service, host, keys, seen_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (holder_id) DO UPDATE SET keys = excluded.keys, seen_at = excluded.seen_at
"""
LEAVE: Final = "DELETE FROM ring_holders WHERE holder_id = $1"
SELECT_HOLDERS: Final = "SELECT service, host, keys FROM ring_holders WHERE seen_at > $1 ORDER BY service, host"


@dataclass(frozen=True, slots=True)
class Holder:
    """A running process and the names of its keys, the one that it seals with first."""

    service: str
    host: str
    keys: Sequence[str]


async def read_keys(spec: str) -> dict[str, bytes]:
    """The keys of the setting, or of the file that it names, unwrapped by KMS where they are wrapped. Raises Permanent
    where the ring is not usable, Transient where KMS does not answer."""
    return {name: await _unwrapped(name, key) for name, key in (await _read(spec)).items()}


async def _read(spec: str) -> dict[str, bytes | Wrapped]:
    text = spec
    if spec.startswith(FILE):
        path = Path(spec.removeprefix(FILE))
        try:
            text = await asyncio.to_thread(path.read_text, "utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Permanent(
                f"the key ring's file {path} cannot be read: {type(error).__name__}", reason="keyring"
            ) from None
    try:
        return parse_ring(text)
    except ValueError as error:
        raise Permanent(f"the key ring is not usable: {error}", reason="keyring") from None


async def read_ring(spec: str) -> KeyRing:
    """The ring, for a command that ends soon. Where it cannot be read, one that says why as soon as it is needed: an
    org must be stoppable while KMS is away."""
    try:
        return KeyRing(await read_keys(spec))
    except Failure as failure:
        return _Unread(failure)


class _Unread(KeyRing):
    def __init__(self, failure: Failure) -> None:
        self._failure = failure

    @property
    def names(self) -> tuple[str, ...]:
        raise self._failure

    def seal(self, secret: str, place: str) -> str:
        raise self._failure

    def open(self, sealed: str, place: str) -> str:
        raise self._failure

    def rewrap(self, sealed: str, place: str) -> str:
        raise self._failure


async def _unwrapped(name: str, key: bytes | Wrapped) -> bytes:
    if isinstance(key, bytes):
        return key
    from shared import kms  # its libraries are large, and most rings do without

    return await kms.unwrap(name, key)


class KeptRing:
    """`ring`, and the runner that keeps it as its file says and tells the database which keys this process has."""

    def __init__(
        self,
        spec: str,
        read: Mapping[str, bytes | Wrapped],
        keys: Mapping[str, bytes],
        service: str,
        database: Database,
    ) -> None:
        """`read`: the ring as it was written, of which `keys` were unwrapped."""
        self.ring = KeyRing(keys)
        _hide(keys)
        self._spec, self._service, self._database = spec, service, database
        self._read, self._keys = dict(read), dict(keys)
        self._coming: dict[str, bytes | Wrapped] = {}
        self._wall: Clock = SystemClock()  # which all processes share, whatever clock the services have
        self._id = uuid4()
        self._refusals = 0  # in a row

    @classmethod
    async def open(cls, spec: str, service: str, database: Database) -> "KeptRing":
        """Read now, so that a service without a usable ring does not start. Raises Failure."""
        read = await _read(spec)
        return cls(spec, read, {name: await _unwrapped(name, key) for name, key in read.items()}, service, database)

    async def run(self, stop: asyncio.Event) -> None:
        """A runner. Whatever fails, the ring stays as it is, and it is tried again."""
        since_told_s = _TELL_EVERY_S
        try:
            while not stop.is_set():
                changed = await self._look()
                if changed or since_told_s >= _TELL_EVERY_S:
                    since_told_s = 0.0
                    await self._tell()
                await first_of(stop.wait(), within_s=_LOOK_EVERY_S)
                since_told_s += _LOOK_EVERY_S
        finally:
            await self._leave()

    async def _look(self) -> bool:
        """Whether the ring is another one now."""
        if not self._spec.startswith(FILE):
            return False
        try:
            read = await _read(self._spec)
            if list(read.items()) == list(self._read.items()):
                self._refusals = 0
                return False
            # It may be half written: what two looks saw alike is whole.
            seen_before, self._coming = self._coming, read
            if list(seen_before.items()) != list(read.items()):
                return False
            changed = [name for name, key in read.items() if self._read.get(name, key) != key]
            if changed:
                raise Permanent(f"key {changed[0]} is another one than before under its name", reason="keyring")
            keys = {
                name: self._keys[name] if name in self._keys else await _unwrapped(name, key)
                for name, key in read.items()
            }
        except Failure as error:
            self._refusals += 1
            if self._refusals == 2:  # said once, not every two seconds, and not of a file that is being written
                log.error("keyring.not_taken", error=error)
            return False
        self._refusals = 0
        self._read, self._keys = read, keys
        _hide(keys)
        self.ring.replace(keys)
        log.info("keyring.changed", names=list(keys))
        return True

    async def _tell(self) -> None:
        try:
            async with self._database.connection(_TELL_TIMEOUT_S) as connection:
                await connection.execute(
                    TELL, self._id, self._service, socket.gethostname(), list(self.ring.names), self._wall.now()
                )
        except Exception as error:  # noqa: BLE001  # a courtesy to whoever rotates keys: it may not end the service
            log.warning("keyring.not_told", error=error)

    async def _leave(self) -> None:
        with suppress(Failure):
            async with self._database.connection(2) as connection:
                await connection.execute(LEAVE, self._id)


def _hide(keys: Mapping[str, bytes]) -> None:
    logs.hide(base64.b64encode(key).decode() for key in keys.values())


async def holders(database: Database, now: datetime) -> list[Holder]:
    """Processes that run now, with their keys."""
    async with database.connection() as connection:
        rows = await connection.fetch(SELECT_HOLDERS, now - LIVES)
    return [Holder(row["service"], row["host"], row["keys"]) for row in rows]


def without(held: Sequence[Holder], key: str) -> list[Holder]:
    """Those that could not open what this key seals."""
    return [one for one in held if key not in one.keys]
