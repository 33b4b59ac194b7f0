"""A private OpenSSH server that offers SFTP in one folder to the current operating system user."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path

from devstack.local import Folder, Running, ServerFailed, clean_env, launch
from devstack.ports import LOOPBACK, free_ports

_READY_S = 10.0
_CONFIG = """\
Port {port}
ListenAddress {host}
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/client_key.pub
AuthenticationMethods publickey
PermitRootLogin prohibit-password
AllowUsers {user}
StrictModes no
UsePAM {pam}
UseDNS no
PrintMotd no
MaxStartups 200
MaxSessions 200
PersourceMaxStartups none
Subsystem sftp internal-sftp
ForceCommand internal-sftp -d {root}
"""


def start(folder: Folder, root: Path, *, ports: tuple[int, ...] | None = None) -> Running:
    """Serve `root` (created if missing). The session starts in it; SFTP paths are this machine's paths. On the one of
    `ports`, or a free one."""
    sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if sshd is None:
        raise ServerFailed("sshd is not installed; run devstack/bootstrap.sh servers")
    root.mkdir(parents=True, exist_ok=True)
    make_keys(folder)
    user = pwd.getpwuid(os.getuid()).pw_name
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its privilege separation folder, fixed at its build
    (port,) = ports or free_ports(1)
    config = folder.path / "sshd_config"
    config.write_text(
        _CONFIG.format(
            port=port,
            host=LOOPBACK,
            folder=folder.path,
            user=user,
            root=root,
            pam="yes" if _account_is_locked(user) else "no",
        )
    )
    process = launch(
        "sshd",
        [sshd, "-D", "-e", "-f", config],
        lambda: _listens(folder.path / "sshd.log", port) and greets(port),
        folder=folder,
        env=clean_env(),
        within_s=_READY_S,
    )
    fields = {
        "sftp_host": LOOPBACK,
        "sftp_port": port,
        "sftp_user": user,
        **key_fields(folder),
        "sftp_root": str(root),
        "sftp_remote_root": str(root),
    }
    return Running(fields, process.kill, f"private process, port {port}", process)


def make_keys(folder: Folder) -> None:
    """The server's key and its only client's, made once."""
    for path in (folder.path / "host_key", folder.path / "client_key"):
        if not path.exists():
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "devstack", "-f", str(path)]
            subprocess.run(command, check=True, env=clean_env(), timeout=_READY_S, capture_output=True)


def key_fields(folder: Folder) -> dict[str, str]:
    return {
        "sftp_client_key_path": str(folder.path / "client_key"),
        "sftp_host_key": " ".join((folder.path / "host_key.pub").read_text().split()[:2]),
    }


def _account_is_locked(user: str) -> bool:
    """Whether sshd would refuse even a key of this account: a password field with "!" counts as locked without PAM."""
    try:
        lines = Path("/etc/shadow").read_text().splitlines()
    except OSError:  # only root reads it, and only root's sshd looks at it
        return False
    return any(line.startswith(f"{user}:!") for line in lines)


def _listens(log: Path, port: int) -> bool:
    """Whether this very server has the port: a greeting alone may come from whoever took it first."""
    return f"Server listening on {LOOPBACK} port {port}." in log.read_text(errors="replace")


def greets(port: int) -> bool:
    with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
        return connection.recv(8).startswith(b"SSH-2.0")
