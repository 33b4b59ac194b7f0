"""Servers in containers, where a container engine answers. Each has a published loopback port and no data folder."""

from __future__ import annotations

from pathlib import Path

from devstack.endpoints import ServerName
from devstack.local import Folder, Running


def start(name: ServerName, folder: Folder, sftp_root: Path) -> Running | None:
    return None
