"""Our own SFTP server as it ships (deploy/sftp-drop), a real sshd: who may put what where, and that ingest reads it."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from cli import drop_keys
from devstack.ports import free_ports
from services.ingest.sources.folder import LocalFolders
from tests.component.ingest.given import Mail, nested_csv
from tests.component.ingest.places import source
from tests.support.waiting import eventually

START = Path(__file__).parents[3] / "deploy" / "sftp-drop" / "start.sh"
ROWS = [Mail(f"D{number}").received() for number in range(3)]

# What the image is made of and a container has: accounts that are links, a /run of its own, a volume. All of it is gone
# with the namespace.
_AS_IN_ITS_IMAGE = """
set -eu
cp -a /etc "$BASE/etc"
ln -sf /run/justai-drop/passwd "$BASE/etc/passwd"
ln -sf /run/justai-drop/group "$BASE/etc/group"
mount --bind "$BASE/drop" /srv
mount --bind "$BASE/keys" /mnt
mount -t tmpfs tmpfs /run
mount --bind "$BASE/etc" /etc
exec "$START"
"""


@dataclass
class Drop:
    """The running server."""

    port: int
    host_key: str
    root: Path
    keys: Path
    clients: dict[str, asyncssh.SSHKey]

    @asynccontextmanager
    async def login(self, user: str, key: asyncssh.SSHKey) -> AsyncIterator[asyncssh.SSHClientConnection]:
        pinned = asyncssh.import_public_key(self.host_key)
        async with asyncssh.connect(
            "127.0.0.1", self.port, username=user, known_hosts=([pinned], [], []), client_keys=[key], config=None,
            agent_path=None, connect_timeout=30, login_timeout=30,
        ) as connection:  # fmt: skip
            yield connection


@pytest.fixture
def limits() -> dict[str, str]:
    """What the server is told beside its places."""
    return {}


@pytest.fixture
def drop(tmp_path: Path, limits: dict[str, str]) -> Iterator[Drop]:
    """Logins of two orgs."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("shutting a login into a folder needs root, and a mount namespace of its own")
    base, clients = tmp_path / "base", {}
    for name in ("drop", "keys"):
        (base / name).mkdir(parents=True)
    for slug in ("acme", "brew"):
        clients[slug] = asyncssh.generate_private_key("ssh-ed25519")
        drop_keys.write(base / "keys", slug, [" ".join(clients[slug].export_public_key().decode().split()[:2])])
    own = asyncssh.generate_private_key("ssh-ed25519")
    (base / "host_key").write_bytes(own.export_private_key())
    (base / "keys" / "Bad.Name").write_text("ssh-ed25519 AAAA")
    (base / "keys" / "root").write_text(clients["acme"].export_public_key().decode())
    (port,) = free_ports(1)
    env = {
        "PATH": os.environ["PATH"], "BASE": str(base), "START": str(START), "DROP_KEYS": "/mnt", "DROP_ROOT": "/srv",
        "DROP_HOST_KEY": str(base / "host_key"), "DROP_PORT": str(port), "DROP_EVERY_S": "0.2",
        **limits,
    }  # fmt: skip
    log = (base / "log").open("wb")
    process = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", _AS_IN_ITS_IMAGE], env=env, stdout=log, stderr=log, start_new_session=True
    )
    try:
        yield Drop(port, own.export_public_key().decode(), base / "drop", base / "keys", clients)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()
        shutil.rmtree(base / "etc", ignore_errors=True)


async def lets_in(drop: Drop, user: str, key: asyncssh.SSHKey) -> bool:
    try:
        async with drop.login(user, key) as connection, connection.start_sftp_client() as client:
            return await client.getcwd() == "/in"
    except asyncssh.PermissionDenied:
        return False


async def up(drop: Drop) -> None:
    try:
        assert await lets_in(drop, "acme", drop.clients["acme"]), log_of(drop)[-2000:]
    except (OSError, asyncssh.Error) as error:
        raise AssertionError(f"{error}: {log_of(drop)[-2000:]}") from None


async def is_shut_out(drop: Drop) -> None:
    assert not await lets_in(drop, "acme", drop.clients["acme"])


def log_of(drop: Drop) -> str:
    return (drop.root.parent / "log").read_text()


async def test_what_an_org_drops_is_read_by_its_source_of_kind_folder(drop: Drop) -> None:
    await eventually(lambda: up(drop), within_s=15)
    content = nested_csv(ROWS)

    async with drop.login("acme", drop.clients["acme"]) as connection, connection.start_sftp_client() as client:
        async with client.open("events.csv.part", "wb") as file:
            await file.write(content)
        await client.rename("events.csv.part", "events.csv")
    opener = LocalFolders(drop.root, read_timeout_s=3)
    async with opener.open(source("folder", org_slug="acme", path="in")) as folder:
        (listed,) = (await folder.list()).files
        read = b"".join([block async for block in folder.read(listed.path, listed.size)])

    assert (listed.path, read) == ("in/events.csv", content)
    seen = (drop.root / "acme" / "in" / "events.csv").stat()
    assert (seen.st_uid, seen.st_mode & 0o777) == (10001, 0o640)
    assert (drop.root / "acme").stat().st_uid == 0


async def test_a_login_is_shut_into_its_own_folder_and_may_do_nothing_but_put_files(drop: Drop) -> None:
    await eventually(lambda: up(drop), within_s=15)
    (drop.root / "brew" / "in" / "secret.csv").write_bytes(b"secret")

    async with drop.login("acme", drop.clients["acme"]) as connection:
        async with connection.start_sftp_client() as client:
            assert sorted(await client.listdir("/")) == [".", "..", "in"]
            for elsewhere in ("/../brew/in/secret.csv", "/etc/passwd", "../../brew/in/secret.csv"):
                with pytest.raises(asyncssh.SFTPNoSuchFile):
                    await client.stat(elsewhere)
            with pytest.raises(asyncssh.SFTPError):
                await client.symlink("/etc/passwd", "link.csv")
            with pytest.raises(asyncssh.SFTPError):
                await client.mkdir("/other")
        assert "uid" not in str((await connection.run("id", check=False, timeout=5)).stdout)
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("127.0.0.1", drop.port)


async def test_only_an_orgs_own_key_opens_its_login_and_none_opens_one_of_the_system(drop: Drop) -> None:
    await eventually(lambda: up(drop), within_s=15)
    stranger = asyncssh.generate_private_key("ssh-ed25519")

    assert await lets_in(drop, "brew", drop.clients["brew"])
    assert not await lets_in(drop, "brew", drop.clients["acme"])
    assert not await lets_in(drop, "acme", stranger)
    for user in ("root", "sshd", "nobody", "Bad.Name"):
        assert not await lets_in(drop, user, drop.clients["acme"])
    assert not (drop.root / "root").exists()
    assert "root is a system user's name, so no login" in log_of(drop)


async def test_a_login_comes_and_goes_with_its_file_of_keys_while_the_server_runs(drop: Drop) -> None:
    await eventually(lambda: up(drop), within_s=15)
    key = asyncssh.generate_private_key("ssh-ed25519")
    public = " ".join(key.export_public_key().decode().split()[:2])

    drop_keys.write(drop.keys, "cafe", [public])

    async def comes() -> None:
        assert await lets_in(drop, "cafe", key)

    await eventually(comes, within_s=10)
    drop_keys.write(drop.keys, "acme", [])
    await eventually(lambda: is_shut_out(drop), within_s=30)
    assert await lets_in(drop, "cafe", key)


@pytest.mark.parametrize("limits", [{"DROP_MOST_MB": "1"}])
async def test_a_login_that_has_put_too_much_is_away_until_there_is_room(drop: Drop) -> None:
    await eventually(lambda: up(drop), within_s=30)
    large = drop.root / "acme" / "in" / "large.csv"

    async with drop.login("acme", drop.clients["acme"]) as connection, connection.start_sftp_client() as client:
        assert await client.listdir(".") == [".", ".."]
        large.write_bytes(bytes(3 << 20))
        async with asyncio.timeout(30):
            await connection.wait_closed()
    await eventually(lambda: is_shut_out(drop), within_s=30)
    other = await lets_in(drop, "brew", drop.clients["brew"])
    large.unlink()

    await eventually(lambda: up(drop), within_s=30)
    assert other
    assert re.search(r"acme has \d MB here, and 1 MB are let: no login until there is room", log_of(drop))


async def test_a_folder_that_hides_what_is_in_it_counts_as_too_much(drop: Drop) -> None:
    await eventually(lambda: up(drop), within_s=30)
    hidden = drop.root / "acme" / "in" / "hidden"

    async with drop.login("acme", drop.clients["acme"]) as connection, connection.start_sftp_client() as client:
        await client.mkdir("hidden")
        await client.chmod("hidden", 0)
        async with asyncio.timeout(30):
            await connection.wait_closed()
    await eventually(lambda: is_shut_out(drop), within_s=30)
    hidden.rmdir()

    await eventually(lambda: up(drop), within_s=30)


@pytest.mark.parametrize("limits", [{"DROP_FILE_MB": "1"}])
async def test_a_file_ends_at_the_size_that_is_read(drop: Drop) -> None:
    await eventually(lambda: up(drop), within_s=30)

    async def put() -> None:
        async with (
            drop.login("acme", drop.clients["acme"]) as connection,
            connection.start_sftp_client() as client,
            client.open("large.csv", "wb") as file,
        ):
            await file.write(bytes(3 << 20))

    with pytest.raises((asyncssh.Error, OSError)):
        await put()

    assert (drop.root / "acme" / "in" / "large.csv").stat().st_size <= 1 << 20
    assert await lets_in(drop, "acme", drop.clients["acme"])
