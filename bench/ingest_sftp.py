"""The same file from the same sshd: fetched as ingest does, with its digest, beside OpenSSH's own sftp."""

import asyncio
import hashlib
import os
import statistics
import subprocess
import tempfile
import time
from contextlib import aclosing
from pathlib import Path
from uuid import uuid4

from bench.report import Report
from devstack import Endpoints
from services.ingest.records import Source
from services.ingest.sources.sftp import Servers
from shared.crypto import KeyRing
from shared.hosts import Hosts

_ROUNDS = 5
_RING = "bench:" + "A" * 43 + "="
_OPTIONS = ("StrictHostKeyChecking=yes", "BatchMode=yes", "IdentitiesOnly=yes")


async def measure_transfer(report: Report, servers: Endpoints, folder: Path, megabytes: int) -> dict[str, float]:
    """In turn; the medians' ratio."""
    remote = Path(servers.sftp_root) / "transfer.bin"
    block = os.urandom(1 << 20)
    with remote.open("wb") as file:
        for _ in range(megabytes):
            file.write(block)
    path = f"{servers.sftp_remote_root}/{remote.name}"
    theirs, ours = [], []
    for _ in range(_ROUNDS):
        theirs.append(megabytes / await asyncio.to_thread(_openssh, servers, folder, path))
        ours.append(megabytes / await asyncio.to_thread(asyncio.run, _fetch(servers, folder, path, megabytes << 20)))
    remote.unlink()
    report.table(
        f"One file of {megabytes} MiB over SFTP, MiB a second",
        ("client", "median", "least", "most"),
        [
            (name, *(f"{one:.0f}" for one in (statistics.median(found), min(found), max(found))))
            for name, found in (("sftp", theirs), ("ingest", ours))
        ],
    )
    return {"sftp_ratio_to_openssh": statistics.median(ours) / statistics.median(theirs)}


def _openssh(servers: Endpoints, folder: Path, path: str) -> float:
    known = folder / "known_hosts"
    known.write_text(f"[{servers.sftp_host}]:{servers.sftp_port} {servers.sftp_host_key}\n")
    options = [word for option in (*_OPTIONS, f"UserKnownHostsFile={known}") for word in ("-o", option)]
    with tempfile.TemporaryDirectory(dir=folder) as there:
        began = time.perf_counter()
        subprocess.run(
            ["sftp", "-q", *options, "-i", servers.sftp_client_key_path, "-P", str(servers.sftp_port), "-b", "-",
             f"{servers.sftp_user}@{servers.sftp_host}"],
            input=f"get {path} {there}/got\n".encode(), check=True, capture_output=True, timeout=600,
        )  # fmt: skip
        return time.perf_counter() - began


async def _fetch(servers: Endpoints, folder: Path, path: str, size: int) -> float:
    source = _source(servers)
    digest = hashlib.sha256()
    fetched = 0
    began = time.perf_counter()
    with tempfile.TemporaryFile(dir=folder) as spool:
        async with (
            Servers(KeyRing(_RING), connect_timeout_s=15, read_timeout_s=30, hosts=Hosts(allow_private=True)).open(
                source
            ) as opened,
            aclosing(opened.read(path, size + 1)) as blocks,
        ):
            async for block in blocks:
                fetched += len(block)
                spool.write(block)
                digest.update(block)
    if fetched != size:
        raise RuntimeError(f"{fetched} bytes came of {size}")
    return time.perf_counter() - began


def _source(servers: Endpoints) -> Source:
    org_id, source_id = uuid4(), uuid4()
    key = Path(servers.sftp_client_key_path).read_text()
    sealed = KeyRing(_RING).seal(key, f"{org_id}/source/{source_id}")
    return Source(
        org_id, source_id, servers.sftp_host, servers.sftp_port, servers.sftp_user, servers.sftp_remote_root, "*",
        servers.sftp_host_key, sealed, None,
    )  # fmt: skip
