"""The one home of asyncssh: a folder on somebody's SFTP server, whose host key is pinned."""

import asyncio
import stat
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

import asyncssh

from services.ingest.records import Changed, Listed, Listing, Source, SourceRefused, SourceUnreachable
from services.ingest.sources.folders import LIST_TIMEOUT_S, READ_BYTES, Gathering, fitting
from shared.crypto import KeyRing, SealError
from shared.errors import Failure, Transient
from shared.hosts import Hosts, PrivateHost

_READS = 2  # in flight: who takes a block in hand does not keep the next one waiting
# The quickest first, where there are instructions for it. As wide as asyncssh's own choice.
_CIPHERS = (
    "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr", "aes192-ctr",
    "aes128-ctr",
)  # fmt: skip
_CLOSE_TIMEOUT_S = 5.0


class Folder:
    """One source's folder, over one connection. Every call ends within `read_timeout_s`, a listing within 2 minutes
    (real seconds)."""

    def __init__(
        self,
        connection: asyncssh.SSHClientConnection,
        client: asyncssh.SFTPClient,
        source: Source,
        read_timeout_s: float,
    ) -> None:
        self._connection, self._client = connection, client
        self._source, self._timeout_s = source, read_timeout_s

    async def list(self) -> Listing:
        """The regular files that fit the pattern. Raises SourceUnreachable."""
        gathered = Gathering(repr(self._source.path))
        with _named(self._source):
            async with asyncio.timeout(LIST_TIMEOUT_S):
                # As bytes: one name in another encoding must not hide the others.
                async for entry in self._client.scandir(self._source.path.encode()):
                    if entry.filename not in (b".", b".."):
                        gathered.take(_listed(entry, self._source))
        return gathered.listing()

    async def look(self, path: str) -> Listed:
        """The file as it is now; a link is not followed. Raises Changed when it is no file any more."""
        with _reading(path):
            async with asyncio.timeout(self._timeout_s):
                attrs = await self._client.lstat(path)
        if not _is_regular(attrs):
            raise Changed(f"{path} is not a regular file any more", reason="file_gone")
        return Listed(path, attrs.size or 0, _mtime(attrs))

    async def read(self, path: str, at_most: int, start: int = 0) -> AsyncGenerator[bytes, None]:
        """See Folder. asyncssh splits one read of ours into parallel requests."""
        with _reading(path):
            async with asyncio.timeout(self._timeout_s):
                file = await self._client.open(path, "rb")
            # Not closed here: its connection ends with it, and a frozen server would cost one more time limit.
            reads: deque[asyncio.Task[bytes]] = deque()
            asked = 0
            try:
                while True:
                    while asked < at_most and len(reads) < _READS:
                        size = min(READ_BYTES, at_most - asked)
                        reads.append(asyncio.ensure_future(self._block(file, start + asked, size)))
                        asked += size
                    if not reads:
                        return
                    block = await reads[0]
                    reads.popleft()
                    if block:
                        yield block
                    if len(block) < READ_BYTES:
                        asked = at_most  # the file ends here: asyncssh asks again for what is missing before that
            finally:
                await _ended(reads)

    async def _block(self, file: asyncssh.SFTPClientFile, offset: int, size: int) -> bytes:
        """One read. A read that is cancelled leaves its parallel requests behind (asyncssh 2.24); one whose
        connection is cut ends by itself."""
        reading = asyncio.ensure_future(file.read(size, offset))
        try:
            done, _ = await asyncio.wait({reading}, timeout=self._timeout_s)
        finally:
            if not reading.done():
                self._connection.abort()
                await asyncio.wait({reading}, timeout=_CLOSE_TIMEOUT_S)
                _ = reading.cancelled() or reading.exception()  # seen: it only says that we hung up
        if not done:
            raise TimeoutError
        return cast(bytes, reading.result())  # opened without an encoding


async def _ended(reads: Iterable["asyncio.Task[bytes]"]) -> None:
    """Nobody wants them any more."""
    for read in reads:
        read.cancel()
    await asyncio.gather(*reads, return_exceptions=True)


class HostKeys(NamedTuple):
    """The key that a server shows and the one that is pinned: their fingerprints, and whether they are one key."""

    offered: str
    pinned: str
    same: bool


class OurKey(NamedTuple):
    """The key that we log in with: its fingerprint and its public half, as it stands in `authorized_keys`."""

    fingerprint: str
    public: str


class Servers:
    """Opens sources of kind `sftp`. `hosts`: where their names may lead."""

    steps: tuple[str, ...] = ("Find the server", "Connect", "Host key", "Log in")

    def __init__(self, ring: KeyRing, *, connect_timeout_s: float, read_timeout_s: float, hosts: Hosts) -> None:
        self._ring, self._connect_timeout_s, self._read_timeout_s = ring, connect_timeout_s, read_timeout_s
        self._hosts = hosts

    @asynccontextmanager
    async def open(self, source: Source) -> AsyncIterator[Folder]:
        """A connection to the source's server. Raises SourceRefused or SourceUnreachable."""
        options = self._options(source)
        with _named(source):
            async with asyncio.timeout(self._connect_timeout_s):
                # To the address that was looked at: asyncssh must not ask for the name again.
                sock = await self._hosts.connect(source.host, source.port)
                connection = await asyncssh.connect(source.host, source.port, sock=sock, **options)
        try:
            with _named(source):
                async with asyncio.timeout(self._connect_timeout_s):
                    client = await connection.start_sftp_client()
            yield Folder(connection, client, source, self._read_timeout_s)
        finally:
            connection.close()
            with suppress(asyncssh.Error, OSError, TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await connection.wait_closed()
            connection.abort()  # a frozen server answers no farewell

    @asynccontextmanager
    async def reach(self, source: Source, done: Callable[[str], None]) -> AsyncIterator[Folder]:
        """See Opener. Nobody logs in where another host key than the pinned one is shown."""
        addresses = await self._hosts.addresses(source.host, source.port)
        done(f"{source.host} is {', '.join(addresses[:4])}.")
        try:
            (await self._hosts.connect(source.host, source.port)).close()
        except OSError:
            raise SourceUnreachable(
                f"{source.host} takes no connection at port {source.port}; is the port right, and does its firewall "
                "let the ingest service in?",
                reason="unreachable",
            ) from None
        done(f"Port {source.port} is open.")
        keys = await self.host_keys(source)
        if not keys.same:
            raise SourceRefused(
                f"the server shows {keys.offered}, but {keys.pinned} is pinned. Ask its owner which is right; if it is "
                "the one shown, save it as the server's public key",
                reason="host_key_changed",
            )
        done(f"It is {keys.offered}, as pinned.")
        ours = self.our_key(source)
        try:
            async with self.open(source) as folder:
                done(f"As {source.username}, with our key {ours.fingerprint}.")
                yield folder
        except SourceUnreachable as error:
            if error.reason != "key_refused":
                raise
            raise SourceUnreachable(f"{error}: {ours.public}", reason=error.reason) from None

    async def host_keys(self, source: Source) -> HostKeys:
        """The key that the server shows now, beside the pinned one. Raises SourceRefused or SourceUnreachable."""
        pinned = _pinned(source)
        with _named(source):
            async with asyncio.timeout(self._connect_timeout_s):
                try:
                    algorithms = [name.decode() for name in pinned.sig_algorithms]
                    shown = await self._shown_key(source, server_host_key_algs=algorithms)
                except asyncssh.KeyExchangeFailed:  # it has no key of that kind: which does it have?
                    shown = await self._shown_key(source)
        if shown is None:
            raise SourceUnreachable(f"{source.host}:{source.port} shows no host key", reason="no_host_key")
        return HostKeys(_fingerprint(shown), _fingerprint(pinned), shown.public_data == pinned.public_data)

    def our_key(self, source: Source) -> OurKey:
        """What to look for at the server. Raises SourceRefused."""
        key = self._private_key(source)
        return OurKey(_fingerprint(key), key.export_public_key().decode().strip())

    async def _shown_key(self, source: Source, **options: Any) -> asyncssh.SSHKey | None:
        sock = await self._hosts.connect(source.host, source.port)
        return await asyncssh.get_server_host_key(source.host, source.port, sock=sock, config=None, **options)

    def _private_key(self, source: Source) -> asyncssh.SSHKey:
        try:
            secret = self._ring.open(source.sealed_key, f"{source.org_id}/source/{source.source_id}")
            return asyncssh.import_private_key(secret)
        except (SealError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
            why = str(error) if isinstance(error, SealError) else "it is not a private key without a passphrase"
            raise SourceRefused(f"our private key is unusable: {why}", reason="bad_private_key") from None

    def _options(self, source: Source) -> dict[str, Any]:
        return {
            "username": source.username,
            "known_hosts": ([_pinned(source)], [], []),
            "client_keys": [self._private_key(source)],
            "client_host_keysign": False,
            "agent_path": None,
            "config": None,
            "preferred_auth": ("publickey",),
            "connect_timeout": self._connect_timeout_s,
            "login_timeout": self._connect_timeout_s,
            "encryption_algs": _CIPHERS,
            "keepalive_interval": 15,  # without it a frozen server is noticed only by our own time limit
            "keepalive_count_max": 3,
        }


def _pinned(source: Source) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_public_key(source.host_key)
    except (asyncssh.KeyImportError, ValueError):
        raise SourceRefused(
            "the pinned host key is not a public key like `ssh-ed25519 AAAA…`", reason="bad_host_key"
        ) from None


def _fingerprint(key: asyncssh.SSHKey) -> str:
    return f"{key.get_fingerprint()} ({key.algorithm.decode()})"


def _listed(entry: asyncssh.SFTPName, source: Source) -> Listed | None:
    """The entry as a file for us, or None: a folder, a link, another name, a name that is no name."""
    name = fitting(entry.filename, source.pattern)
    if name is None or not _is_regular(entry.attrs):
        return None
    folder = "" if source.path == "/" else source.path.rstrip("/")
    return Listed(f"{folder}/{name}", entry.attrs.size or 0, _mtime(entry.attrs))


def _is_regular(attrs: asyncssh.SFTPAttrs) -> bool:
    if attrs.permissions is not None and stat.S_IFMT(attrs.permissions):
        return stat.S_ISREG(attrs.permissions)
    return attrs.type == asyncssh.FILEXFER_TYPE_REGULAR


def _mtime(attrs: asyncssh.SFTPAttrs) -> datetime:
    return datetime.fromtimestamp(attrs.mtime or 0, UTC)


@contextmanager
def _named(source: Source) -> Iterator[None]:
    """What can go wrong between us and a server, in a line that says what to do."""
    server = f"{source.host}:{source.port}"
    try:
        yield
    except (PrivateHost, Transient) as refused:
        raise _as_unreachable(refused) from None
    except asyncssh.HostKeyNotVerifiable:
        raise _other_host_key(server) from None
    except asyncssh.PermissionDenied:
        raise SourceUnreachable(
            f"{server} refused our key for user {source.username}; give the public key to whoever runs it",
            reason="key_refused",
        ) from None
    except asyncssh.SFTPNoSuchFile:
        raise SourceUnreachable(
            f"no folder {source.path!r} on {server}; have it made there, or correct the path", reason="no_folder"
        ) from None
    except asyncssh.SFTPPermissionDenied:
        raise SourceUnreachable(
            f"user {source.username} may not list {source.path!r} on {server}; have its owner let it in",
            reason="folder_denied",
        ) from None
    except asyncssh.KeyExchangeFailed as error:
        if "host key" in error.reason:  # it has no key of the pinned one's kind; asyncssh has no class for that
            raise _other_host_key(server) from None
        raise SourceUnreachable(
            f"{server} and we have no method in common: {error.reason}", reason="no_method"
        ) from None
    except (TimeoutError, asyncssh.Error, OSError) as error:
        raise SourceUnreachable(
            f"{server} does not answer as an SFTP server: {type(error).__name__}; is the address right, and is the "
            "server up?",
            reason="unreachable",
        ) from None


def _as_unreachable(failure: Failure) -> SourceUnreachable:
    if isinstance(failure, SourceUnreachable):
        return failure
    return SourceUnreachable(str(failure), reason=failure.reason)


def _other_host_key(server: str) -> SourceRefused:
    return SourceRefused(
        f"{server} showed another host key than the pinned one; if the change is right, set the new key",
        reason="host_key_changed",
    )


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """What can go wrong with one file."""
    try:
        yield
    except asyncssh.SFTPNoSuchFile:
        raise Changed(f"{path} is gone", reason="file_gone") from None
    except asyncssh.SFTPPermissionDenied:
        raise Transient(f"the server does not let us read {path}", reason="file_denied") from None
    except TimeoutError:
        raise Transient(f"the server fell silent while we read {path}", reason="read_timeout") from None
    except (asyncssh.Error, OSError) as error:
        raise Transient(
            f"the connection broke while we read {path}: {type(error).__name__}", reason="read_failed"
        ) from None
