"""`make image-check`: is the built image as small and shut as it should be, and does every program of it run?

    python -m deploy.image_check ROOT       (the image's root, mounted)

First the files are looked at; then each command of compose.yaml is started from that root as its orchestrator would:
as the image's user, without capabilities, with a root that cannot be written, in a mount namespace of its own, against
real PostgreSQL and RabbitMQ, until it says that it is ready. The network is this machine's: it stays as it is.
"""

import asyncio
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy import programs
from deploy.programs import SECRETS, Program
from devstack import start
from devstack.ports import free_ports
from devstack.processes import Command, ProcessDied, supervise

USER: Final = 10001
MAY_BE_WRITTEN: Final = ("/spool", "/drop", "/tmp", "/var/tmp", "/run/lock", "/dev", "/proc", "/sys")  # noqa: S108  # in the image
"""What an orchestrator mounts, or what every Debian leaves open; nothing of it lasts."""

_TOOLS: Final = (
    "pip", "pip3", "easy_install", "gcc", "g++", "cc", "c++", "cpp", "as", "ld", "make", "node", "npm", "curl", "wget",
    "git", "gdb", "strace",
)  # fmt: skip
_MODULES: Final = ("pip", "setuptools", "wheel", "ensurepip")
_OURS: Final = frozenset({"shared", "services", "cli"})

# Private to the process: whatever is mounted here goes with it.
_INSIDE: Final = """
set -eu
root=$1; secrets=$2; scratch=$3; shift 3
mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
for folder in $FOLDERS; do mkdir -p "$scratch$folder"; mount --bind "$scratch$folder" "$root$folder"; done
mount --bind "$secrets" "$root/run/secrets/justai"
mount -o remount,bind,ro "$root"
cd "$root/app"
exec chroot "$root" setpriv --reuid=10001 --regid=10001 --clear-groups --bounding-set=-all --inh-caps=-all \\
    --no-new-privs env -i --chdir=/app PATH=/opt/justai/bin:/usr/local/bin:/usr/bin:/bin PYTHONPATH=/app \\
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 "$@"
"""


# --- the files -------------------------------------------------------------------------------------------------------


def file_faults(root: Path) -> Iterator[str]:
    """What should not be in an image that runs; paths are as inside."""
    for path, found in _walk(root):
        inside = "/" + str(path.relative_to(root))
        if stat.S_ISREG(found.st_mode) and found.st_mode & (stat.S_ISUID | stat.S_ISGID):
            yield f"{inside} lends its owner's rights"
        if not _is_below(inside, MAY_BE_WRITTEN) and _may_write(found):
            yield f"{inside} can be written by the image's user"
        if path.name in _TOOLS and not stat.S_ISDIR(found.st_mode) and path.parent.name in ("bin", "sbin"):
            yield f"{inside} is a tool that nobody runs there"
        if path.name in _MODULES and stat.S_ISDIR(found.st_mode) and path.parent.name != "_vendor":
            yield f"{inside} installs or builds"
    app = {path.name for path in (root / "app").iterdir()}
    yield from (f"/app/{name} is no program of ours" for name in sorted(app - _OURS))


def bill_faults(root: Path) -> Iterator[str]:
    """The list of parts names what is there, with its version, and nothing else of Python's."""
    path = root / "usr/share/justai/sbom.json"
    if not path.is_file():
        yield "there is no /usr/share/justai/sbom.json"
        return
    document = json.loads(path.read_text())
    listed = {one["purl"] for one in document["components"] if one["purl"].startswith("pkg:pypi/")}
    folders = root.glob("opt/justai/lib/python3*/site-packages/*.dist-info")
    there = {f"pkg:pypi/{name}@{version}" for name, version in map(_name_and_version, folders)}
    plain = {one.lower().replace("_", "-").replace(".", "-") for one in listed}
    yield from (f"{one} is installed, and not listed" for one in sorted(there) if one.replace(".", "-") not in plain)
    if len(there) != len(listed):
        yield f"{len(listed)} parts of Python's are listed, and {len(there)} are installed"
    if not any(one["purl"].startswith("pkg:deb/") for one in document["components"]):
        yield "no package of the base is listed"


def _name_and_version(folder: Path) -> tuple[str, str]:
    name, _, version = folder.name.removesuffix(".dist-info").rpartition("-")
    return name.lower().replace("_", "-").replace(".", "-"), version


def _walk(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder) / name
            yield path, path.lstat()


def _may_write(found: os.stat_result) -> bool:
    if stat.S_ISLNK(found.st_mode):
        return False
    bit = stat.S_IWUSR if found.st_uid == USER else stat.S_IWGRP if found.st_gid == USER else stat.S_IWOTH
    return bool(found.st_mode & bit)


def _is_below(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


# --- the programs ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Box:
    """The image's root, and what is mounted into it."""

    root: Path
    secrets: Path
    scratch: Path

    def command(self, name: str, argv: Sequence[str], env: dict[str, str], folders: Sequence[str] = ()) -> list[str]:
        """Runs `argv` inside."""
        return [
            "env", f"FOLDERS={' '.join(folders)}", "unshare", "--mount", "--propagation", "private",
            "sh", "-c", _INSIDE, name, str(self.root), str(self.secrets), str(self.scratch / name),
            *(f"{key}={value}" for key, value in env.items()), *argv,
        ]  # fmt: skip

    def run(self, *argv: str, env: dict[str, str] | None = None) -> tuple[int, str]:
        """To its end: the code, and what it printed."""
        done = subprocess.run(  # noqa: S603  # programs of the image that was just built
            self.command("once", argv, env or {}), capture_output=True, text=True, timeout=120, check=False
        )
        return done.returncode, done.stdout + done.stderr


async def program_faults(box: Box) -> list[str]:
    """Each command of compose.yaml but the simulator's, which is an image of its own."""
    read = [one for one in programs.of_compose() if "simulator" not in one.argv]
    faults: list[str] = []
    for one in read:
        if one.ready is None:
            code, said = await asyncio.to_thread(box.run, *one.argv, env=dict(one.env))
            _print(f"{one.name:<15} ended with {code}")
            faults += [f"{one.name}: {said}"] if code else []
    served = {one.name: one for one in read if one.ready}
    commands = [_served(box, one) for one in served.values()]
    async with supervise(commands, log_dir=box.scratch / "logs", ready_within_s=180) as processes:
        for name, pid in processes.pids.items():
            used, most = _memory(pid), served[name].memory
            _print(f"{name:<15} ready, {used >> 20} MB of {most >> 20}")
            faults += [f"{name}: holds more than half of its limit when it is idle"] if used * 2 > most else []
        env = dict(next(iter(served.values())).env)
        code, said = await asyncio.to_thread(box.run, "justai", "doctor", env=env)
        faults += [f"justai doctor: {said}"] if code else []
        codes = await processes.end(*processes.pids)
        faults += [f"{name}: ended with {code} after SIGTERM" for name, code in codes.items() if code]
    return faults


def _served(box: Box, one: Program) -> Command:
    here = one.placed(dict(zip(one.ports, free_ports(len(one.ports)), strict=True)), {})
    for folder in one.folders:
        made = box.scratch / one.name / folder.lstrip("/")
        made.mkdir(parents=True)
        os.chown(made, USER, USER)
    assert here.ready is not None  # noqa: S101  # what ends by itself was run before
    url = f"http://127.0.0.1:{here.ready[0]}{here.ready[1]}"
    return Command(one.name, box.command(one.name, here.argv, dict(here.env), one.folders), ready_url=url)


def shell_faults(box: Box) -> Iterator[str]:
    """What is tried from within."""
    code, said = box.run("justai", "--help")
    if code or "doctor" not in said:
        yield f"justai --help: {said}"
    tried = "id -u; touch /app/x /opt/justai/x /usr/share/justai/x; grep CapEff /proc/self/status"
    code, said = box.run("sh", "-c", tried)
    wanted = (f"{USER}\n", "CapEff:\t0000000000000000\n")
    if said.count("Read-only file system") != 3 or any(one not in said for one in wanted):
        yield f"the root can be written, or its user is not {USER}, or keeps capabilities: {said}"
    code, said = box.run("python", "-c", "import pip")
    if not code:
        yield "pip can be imported"
    code, said = box.run("python", "-m", "services.gateway")
    if code != 2 or "JUSTAI_DATABASE_URL" not in said:
        yield f"without settings the gateway must end with 2 and say what is missing: {code} {said}"


def _memory(pid: int) -> int:
    """Resident bytes of a process and what it started."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except OSError:
            continue
        if int(fields["Pid"]) == pid or int(fields["PPid"]) == pid:
            total += int(fields.get("VmRSS", "0 kB").split()[0]) << 10
    return total


def main(root: Path) -> int:
    """Print what was seen; 1 when there is a fault."""
    faults = [*file_faults(root), *bill_faults(root)]
    size = sum(found.st_size for _, found in _walk(root) if stat.S_ISREG(found.st_mode))
    _print(f"{size // 1_000_000} MB of files; the largest of /opt/justai:")
    for folder, used in _largest(root / "opt/justai"):
        _print(f"  {used // 1_000_000:>4} MB {folder}")
    for folder in (SECRETS, *{mount for one in programs.of_compose() for mount in one.folders}):
        (root / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)  # what they are mounted on
    scratch = Path(tempfile.mkdtemp(prefix="justai-image-"))
    scratch.chmod(0o755)
    try:
        with start(("postgres", "rabbitmq"), scratch / "servers", durable=False) as stack:
            (scratch / "nothing").mkdir()
            faults += shell_faults(Box(root, scratch / "nothing", scratch))
            secrets = _secrets(scratch, stack.endpoints.database_url, stack.endpoints.amqp_url)
            try:
                faults += asyncio.run(program_faults(Box(root, secrets, scratch)))
            except ProcessDied as died:
                faults.append(str(died))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for fault in faults:
        _print(f"FAULT {fault}")
    _print("the image has faults" if faults else "the image is well")
    return 1 if faults else 0


def _secrets(scratch: Path, database_url: str, amqp_url: str) -> Path:
    subprocess.run(["sh", programs.ROOT / "make-secrets.sh", scratch / "secrets"], check=True, capture_output=True)  # noqa: S603, S607  # ours
    folder = scratch / "secrets" / "justai"
    (folder / "justai_database_url").write_text(database_url)
    (folder / "justai_amqp_url").write_text(amqp_url)
    return folder


def _largest(folder: Path) -> list[tuple[str, int]]:
    sizes: dict[str, int] = {}
    for path, found in _walk(folder):
        parts = path.relative_to(folder).parts
        name = parts[3] if len(parts) > 3 else parts[0]
        sizes[name] = sizes.get(name, 0) + (found.st_size if stat.S_ISREG(found.st_mode) else 0)
    return sorted(sizes.items(), key=lambda one: -one[1])[:6]


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
