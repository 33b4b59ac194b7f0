"""Servers that fail, lie, fall silent, or are not the ones they were."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import asyncssh
import pytest

from services.ingest.records import SourceRefused
from services.ingest.sources.folders import READ_BYTES
from services.ingest.sources.sftp import Servers
from shared.crypto import KeyRing
from shared.errors import Transient
from tests.component.ingest.faulty import Faults, faulty_server
from tests.component.ingest.given import Mail, nested_csv
from tests.component.ingest.rig import HERE, RING, STABLE_S, Rig, Server

ROWS = [Mail(f"T{number}").received() for number in range(3)]
# Larger than one read, so that something can happen in the middle.
LARGE = nested_csv([Mail(f"L{number}").received(Subject="x" * 900) for number in range(2500)])


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
async def server(tmp_path: Path, faults: Faults) -> AsyncIterator[Server]:
    async with faulty_server(tmp_path, faults) as server:
        yield server


@pytest.fixture
async def faulty_rig(bare_rig: Rig, server: Server) -> Rig:
    """An org whose source is the server that fails on request; a silent one is given up after some seconds."""
    await bare_rig.add_source(server, "/")
    bare_rig.use_servers(Servers(KeyRing(RING), connect_timeout_s=10, read_timeout_s=5, hosts=HERE))
    return bare_rig


async def trouble(rig: Rig, name: str = "klaviyo") -> tuple[str | None, bool]:
    row = await rig.one("SELECT last_error, refused_at FROM sources WHERE name = $1", name)
    return row["last_error"], row["refused_at"] is not None


async def test_a_file_that_grows_while_it_is_read_is_not_kept(faulty_rig: Rig, faults: Faults, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_bytes(LARGE)
    await faulty_rig.list_twice()

    def grow(offset: int) -> None:
        if offset >= READ_BYTES:
            with path.open("ab") as file:
                file.write(b"E1,Opened Email,P1,2026-11-23,\n")

    faults.on_read = grow
    await faulty_rig.work()
    kept = await faulty_rig.event_ids()
    faults.on_read = None
    await faulty_rig.settle()

    assert kept == []
    assert faulty_rig.outcomes == [None, None]
    assert len(await faulty_rig.event_ids()) == 2501


async def test_a_file_rewritten_with_the_same_size_while_it_is_read_is_not_kept(
    faulty_rig: Rig, faults: Faults, tmp_path: Path
) -> None:
    path = tmp_path / "events.csv"
    path.write_bytes(LARGE)
    os.utime(path, (1_700_000_000, 1_700_000_000))  # SFTP tells whole seconds; the rewrite falls into another one
    await faulty_rig.list_twice()
    final = LARGE.replace(b"Received", b"RECEIVED")

    def rewrite(offset: int) -> None:
        if offset >= READ_BYTES:
            path.write_bytes(final)

    faults.on_read = rewrite
    await faulty_rig.work()

    assert await faulty_rig.event_ids() == []
    faults.on_read = None
    await faulty_rig.settle()
    assert len(await faulty_rig.event_ids()) == 2500


async def test_a_transfer_cut_in_the_middle_leaves_nothing_and_is_repeated(
    faulty_rig: Rig, faults: Faults, tmp_path: Path
) -> None:
    (tmp_path / "events.csv").write_bytes(LARGE)
    await faulty_rig.list_twice()
    jobs = list(faulty_rig.queued)

    def cut(offset: int) -> None:
        if offset >= READ_BYTES:
            faults.connections[-1].abort()

    faults.on_read = cut
    await faulty_rig.work()
    faults.on_read = None

    assert isinstance(faulty_rig.outcomes[0], Transient)
    assert await faulty_rig.event_ids() == []
    file = await faulty_rig.one("SELECT state, attempts, error FROM ingest_files")
    assert (file["state"], file["attempts"]) == ("queued", 1)
    assert file["error"].startswith("read_failed: the connection broke while we read /events.csv")
    faulty_rig.queued = jobs
    await faulty_rig.work()
    assert len(await faulty_rig.event_ids()) == 2500


async def test_a_server_that_falls_silent_is_given_up_in_time(faulty_rig: Rig, faults: Faults, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_bytes(LARGE)
    await faulty_rig.list_twice()

    faults.freeze = True
    async with asyncio.timeout(60):
        await faulty_rig.work()

    assert getattr(faulty_rig.outcomes[0], "reason", None) == "read_timeout"
    assert await faulty_rig.files() == {"events.csv": "queued"}


async def test_a_file_that_is_never_done_in_time_fails_after_its_attempts(
    faulty_rig: Rig, faults: Faults, tmp_path: Path
) -> None:
    (tmp_path / "events.csv").write_bytes(LARGE)
    await faulty_rig.list_twice()
    jobs = list(faulty_rig.queued)
    faulty_rig.with_deps(most_s=0.5)
    faults.freeze = True

    for _ in range(3):
        faulty_rig.queued = list(jobs)
        await faulty_rig.work()

    file = await faulty_rig.one("SELECT state, attempts, error FROM ingest_files")
    assert (file["state"], file["attempts"]) == ("failed", 3)
    assert file["error"].startswith("too_long: not loaded within ")


async def test_a_file_that_cannot_be_read_fails_after_its_attempts_and_others_go_on(
    faulty_rig: Rig, faults: Faults, tmp_path: Path
) -> None:
    def refuse(offset: int) -> None:
        raise asyncssh.SFTPPermissionDenied("no")

    (tmp_path / "bad.csv").write_bytes(LARGE)
    await faulty_rig.list_twice()
    jobs = list(faulty_rig.queued)
    faults.on_read = refuse
    for _ in range(3):
        faulty_rig.queued = list(jobs)
        await faulty_rig.work()
    faults.on_read = None
    (tmp_path / "good.csv").write_bytes(nested_csv(ROWS))

    await faulty_rig.settle()

    assert await faulty_rig.files() == {"bad.csv": "failed", "good.csv": "done"}
    assert (await faulty_rig.one("SELECT error FROM ingest_files WHERE state = 'failed'"))["error"].startswith(
        "file_denied: the server does not let us read"
    )


async def test_names_that_lead_elsewhere_or_come_twice_do_no_harm(
    faulty_rig: Rig, faults: Faults, tmp_path: Path
) -> None:
    (tmp_path / "events.csv").write_bytes(nested_csv(ROWS))
    faults.names = [
        b"../../etc/passwd",
        b"/etc/passwd",
        b"a\0b.csv",
        b"new\nline.csv",
        b"\xff.csv",
        b"",
        b"ghost.csv",
    ] * 2

    await faulty_rig.settle()

    assert await faulty_rig.files() == {"events.csv": "done", "ghost.csv": "listed"}
    source = await faulty_rig.one("SELECT listed, ignored, last_error FROM sources")
    assert source == {"listed": 3, "ignored": 12, "last_error": None}


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
async def test_another_host_key_than_the_pinned_one_stops_the_source_until_it_is_changed(
    bare_rig: Rig, server: Server, tmp_path: Path, sshd: Server, folder: Path, kind: str
) -> None:
    other = asyncssh.generate_private_key(kind).export_public_key().decode().strip()
    await bare_rig.add_source(replace(server, host_key=other), "/", name="changed")
    await bare_rig.add_source(sshd, str(folder), name="good")
    (tmp_path / "secret.csv").write_bytes(nested_csv(ROWS[:1]))
    (folder / "events.csv").write_bytes(nested_csv(ROWS[1:]))

    await bare_rig.settle()

    assert await bare_rig.files() == {"events.csv": "done"}
    said, refused = await trouble(bare_rig, "changed")
    assert said == (
        f"{server.host}:{server.port} showed another host key than the pinned one; if the change is right, set the new"
        " key"
    )
    assert refused
    assert await trouble(bare_rig, "good") == (None, False)
    assert await bare_rig.sources.count_refused() == 1
    before = (await bare_rig.one("SELECT last_error_at FROM sources WHERE name = 'changed'"))["last_error_at"]
    bare_rig.clock.advance(86400)
    await bare_rig.poll()
    assert (await bare_rig.one("SELECT last_error_at FROM sources WHERE name = 'changed'"))["last_error_at"] == before

    await bare_rig.run("UPDATE sources SET host_key = $1 WHERE name = 'changed'", server.host_key)
    await bare_rig.settle()

    assert await trouble(bare_rig, "changed") == (None, False)
    assert await bare_rig.sources.count_refused() == 0
    assert await bare_rig.files() == {"events.csv": "done", "secret.csv": "done"}


@pytest.mark.parametrize("missing", ["", " ", "# none", "ssh-ed25519"])
async def test_without_a_host_key_nobody_is_connected_to(
    bare_rig: Rig, server: Server, faults: Faults, missing: str
) -> None:
    if not missing:
        with pytest.raises(asyncpg.CheckViolationError):
            await bare_rig.add_source(replace(server, host_key=missing), "/")
    source_id = await bare_rig.add_source(replace(server, host_key=missing or "none"), "/")
    source = await bare_rig.sources.find(bare_rig.org_id, source_id)
    assert source is not None

    with pytest.raises(SourceRefused, match="the pinned host key is not a public key"):
        async with bare_rig.deps.servers.open(replace(source, host_key=missing)):
            pass
    await bare_rig.settle()

    assert (await trouble(bare_rig))[1]
    assert await bare_rig.sources.count_refused() == 1
    assert faults.connections == []


@pytest.mark.parametrize(
    ("kind", "signatures"),
    [
        ("ssh-rsa", ["rsa-sha2-256", "rsa-sha2-512"]),  # as AWS Transfer Family: RSA, never signed with SHA-1
        ("ecdsa-sha2-nistp384", ["ecdsa-sha2-nistp384"]),
    ],
)
async def test_servers_and_keys_of_other_kinds_are_read_from_as_well(
    bare_rig: Rig, tmp_path: Path, faults: Faults, kind: str, signatures: list[str]
) -> None:
    async with faulty_server(tmp_path, faults, kind=kind, signatures=signatures) as server:
        await bare_rig.add_source(server, "/")
        (tmp_path / "events.csv").write_bytes(nested_csv(ROWS))

        await bare_rig.settle()

    assert await trouble(bare_rig) == (None, False)
    assert await bare_rig.files() == {"events.csv": "done"}


async def test_a_host_key_that_changes_between_listing_and_reading_gives_nothing_away(
    bare_rig: Rig, tmp_path: Path, faults: Faults
) -> None:
    async with faulty_server(tmp_path, faults) as server:
        await bare_rig.add_source(server, "/")
        (tmp_path / "events.csv").write_bytes(nested_csv(ROWS))
        await bare_rig.list_twice()
    async with faulty_server(tmp_path, faults, port=server.port):
        await bare_rig.work()

    assert bare_rig.outcomes == [None]
    assert faults.reads == 0
    assert (await trouble(bare_rig))[1]
    assert await bare_rig.files() == {"events.csv": "listed"}


@pytest.mark.parametrize(
    ("change", "said", "refused"),
    [
        ({"port": 1}, "127.0.0.1:1 does not answer as an SFTP server: ConnectionRefusedError", False),
        ({"host_key": "nonsense"}, "the pinned host key is not a public key like `ssh-ed25519 AAAA…`", True),
        ({"private_key": "nonsense"}, "our private key is unusable: it is not a private key", True),
        ({"private_key": "other"}, "refused our key for user klaviyo; give the public key to whoever runs it", False),
        ({"path": "/missing"}, "no folder '/missing' on 127.0.0.1", False),
    ],
)
async def test_a_source_that_cannot_be_read_says_in_one_line_what_to_do(
    bare_rig: Rig, server: Server, sshd: Server, folder: Path, change: dict[str, str],
    said: str, refused: bool,
) -> None:  # fmt: skip
    if change.get("private_key") == "other":
        change = {"private_key": asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()}
    path = change.pop("path", "/") if "path" in change else "/"
    await bare_rig.add_source(replace(server, **change), path, name="bad")  # type: ignore[arg-type]  # str and int
    await bare_rig.add_source(sshd, str(folder), name="good")
    (folder / "events.csv").write_bytes(nested_csv(ROWS))

    await bare_rig.settle()

    error, stopped = await trouble(bare_rig, "bad")
    assert error is not None
    assert said in error
    assert stopped == refused
    assert await bare_rig.files() == {"events.csv": "done"}
    assert await trouble(bare_rig, "good") == (None, False)


async def test_a_sealed_key_of_another_place_does_not_open(bare_rig: Rig, server: Server) -> None:
    await bare_rig.add_source(server, "/")
    await bare_rig.run("UPDATE sources SET sealed_key = $1", KeyRing(RING).seal(server.private_key, "elsewhere"))

    await bare_rig.poll()

    assert await trouble(bare_rig) == (
        "our private key is unusable: sealed with key 'test', but does not open here", True
    )  # fmt: skip


async def test_a_server_that_dies_after_the_listing_brings_its_file_back_later(
    bare_rig: Rig, tmp_path: Path, faults: Faults
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    async with faulty_server(tmp_path, faults, host_key=key) as server:
        source_id = await bare_rig.add_source(server, "/")
        (tmp_path / "events.csv").write_bytes(nested_csv(ROWS))
        await bare_rig.list_twice()
    await bare_rig.work()
    assert await bare_rig.files() == {"events.csv": "listed"}
    assert bare_rig.outcomes == [None]

    async with faulty_server(tmp_path, faults, host_key=key, port=server.port) as again:
        await bare_rig.run("UPDATE sources SET sealed_key = $1", bare_rig.seal(again, source_id))
        bare_rig.clock.advance(STABLE_S)
        await bare_rig.poll()
        await bare_rig.work()

    assert await bare_rig.files() == {"events.csv": "done"}
    assert len(await bare_rig.event_ids()) == 3
