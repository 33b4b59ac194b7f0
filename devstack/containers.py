"""Servers in containers. Imported only where a container engine answers (see `engine`).

The engine's own reaper ends them when we are killed. Throw-away data lives in the container, durable data in a named
volume per data folder.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.errors import DockerException
from testcontainers.core.container import DockerContainer

from devstack import postgres, rabbitmq, s3, sshd
from devstack.endpoints import ServerName
from devstack.local import Folder, Running, ServerFailed

_READY_S = 120.0
_POSTGRES_IMAGE = "postgres:17-alpine"
_RABBITMQ_IMAGE = "rabbitmq:4-management-alpine"
_S3_IMAGE = "chrislusf/seaweedfs:4.48"
_SFTP_IMAGE = "atmoz/sftp:alpine"
_SFTP_USER = "justai"

Port = Callable[[int], int]  # from the port inside to the published one


@dataclass(frozen=True, slots=True)
class _Recipe:
    container: DockerContainer
    image: str
    data: str  # where the server keeps its data, inside
    ready: Callable[[Port], bool]
    fields: Callable[[Port], dict[str, Any]]


def start(name: ServerName, folder: Folder, sftp_root: Path) -> Running | None:
    """The server in a container; None where the engine cannot run the image, which is said on stderr."""
    recipe = _recipe(name, folder, sftp_root)
    container = recipe.container
    if folder.durable:
        volume = f"justai-{hashlib.sha256(bytes(folder.path)).hexdigest()[:12]}-{name}"
        container.with_volume_mapping(volume, recipe.data, "rw")
    try:
        container.start()
        host = container.get_container_host_ip()
        _wait(name, lambda: recipe.ready(lambda port: int(container.get_exposed_port(port))))
    except DockerException as error:  # most likely an image that cannot be pulled
        print(f"devstack: {recipe.image} does not start ({error}); trying a local process", file=sys.stderr)
        with suppress(DockerException):
            container.stop()
        return None
    except BaseException:
        container.stop()
        raise
    fields = recipe.fields(lambda port: int(container.get_exposed_port(port)))
    return Running(fields, container.stop, source=f"container {recipe.image} on {host}")


def _wait(name: ServerName, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        with suppress(OSError):
            if ready():
                return
        time.sleep(0.1)
    raise ServerFailed(f"{name} did not answer within {_READY_S:g} s in its container")


def _recipe(name: ServerName, folder: Folder, sftp_root: Path) -> _Recipe:
    match name:
        case "postgres":
            return _postgres(folder.secret("postgres"), postgres.KEPT if folder.durable else {})
        case "rabbitmq":
            return _rabbitmq(folder.secret("rabbitmq"))
        case "s3":
            return _s3(folder.secret("s3"), folder)
        case "sshd":
            return _sshd(folder, sftp_root)


def _postgres(password: str, settings: dict[str, str]) -> _Recipe:
    command = ["postgres", *postgres.flags({"max_connections": "300"} | settings)]
    container = DockerContainer(_POSTGRES_IMAGE).with_exposed_ports(5432)
    container.with_envs(
        POSTGRES_USER=postgres.USER, POSTGRES_PASSWORD=password, POSTGRES_DB=postgres.DATABASE
    ).with_command(command)

    def url(port: Port) -> str:
        return f"postgresql://{postgres.USER}:{password}@127.0.0.1:{port(5432)}/{postgres.DATABASE}"

    return _Recipe(
        container,
        _POSTGRES_IMAGE,
        "/var/lib/postgresql/data",
        ready=lambda port: asyncio.run(postgres.has_database(url(port))),
        fields=lambda port: {"database_url": url(port)},
    )


def _rabbitmq(password: str) -> _Recipe:
    container = DockerContainer(_RABBITMQ_IMAGE).with_exposed_ports(5672, 15672)
    container.with_envs(RABBITMQ_DEFAULT_USER=rabbitmq.USER, RABBITMQ_DEFAULT_PASS=password)
    container.with_kwargs(hostname="devstack")  # the data belongs to the node's name, which holds the host's
    login = f"{rabbitmq.USER}:{password}@127.0.0.1"
    return _Recipe(
        container,
        _RABBITMQ_IMAGE,
        "/var/lib/rabbitmq",
        ready=lambda port: rabbitmq.listens(port(15672), 5672, password),
        fields=lambda port: {
            "amqp_url": f"amqp://{login}:{port(5672)}/",
            "amqp_management_url": f"http://{login}:{port(15672)}",
        },
    )


def _s3(secret: str, folder: Folder) -> _Recipe:
    config = folder.path / "s3.json"
    config.write_text(s3.identities(secret))
    container = DockerContainer(_S3_IMAGE).with_exposed_ports(8333)
    container.with_command("mini -dir=/data -ip=127.0.0.1 -ip.bind=0.0.0.0 -s3.port=8333 -s3.config=/etc/s3.json")
    container.with_volume_mapping(str(config), "/etc/s3.json", "ro")
    return _Recipe(
        container,
        _S3_IMAGE,
        "/data",
        ready=lambda port: s3.is_healthy(port(8333)),
        fields=lambda port: {
            "s3_endpoint": f"http://127.0.0.1:{port(8333)}",
            "s3_access_key": s3.ACCESS_KEY,
            "s3_secret_key": secret,
        },
    )


def _sshd(folder: Folder, sftp_root: Path) -> _Recipe:
    sftp_root.mkdir(parents=True, exist_ok=True)
    sshd.make_keys(folder)
    home = f"/home/{_SFTP_USER}"  # the user's cage, and therefore "/" for the client
    container = DockerContainer(_SFTP_IMAGE).with_exposed_ports(22)
    container.with_command(f"{_SFTP_USER}::{os.getuid()}:{os.getgid()}")
    container.with_volume_mapping(str(folder.path / "host_key"), "/etc/ssh/ssh_host_ed25519_key", "ro")
    container.with_volume_mapping(str(folder.path / "client_key.pub"), f"{home}/.ssh/keys/client.pub", "ro")
    container.with_volume_mapping(str(sftp_root), f"{home}/root", "rw")
    return _Recipe(
        container,
        _SFTP_IMAGE,
        "/var/empty/devstack",  # it keeps nothing: keys and files are this machine's
        ready=lambda port: sshd.greets(port(22)),
        fields=lambda port: {
            "sftp_host": "127.0.0.1",
            "sftp_port": port(22),
            "sftp_user": _SFTP_USER,
            **sshd.key_fields(folder),
            "sftp_root": str(sftp_root),
            "sftp_remote_root": "/root",
        },
    )
