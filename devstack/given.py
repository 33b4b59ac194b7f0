"""Servers that somebody else runs, named by environment variables."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from urllib.parse import urlsplit

from devstack.endpoints import Endpoints, ServerName
from devstack.local import Running, ServerFailed

_URL: dict[ServerName, str] = {
    "postgres": "JUSTAI_TEST_DATABASE_URL",
    "rabbitmq": "JUSTAI_TEST_AMQP_URL",
    "s3": "JUSTAI_TEST_S3_URL",
    "sshd": "JUSTAI_TEST_SFTP_URL",
}


def find(name: ServerName, environ: Mapping[str, str]) -> Running | None:
    """The server that `environ` names, or None. Raises `ServerFailed` naming a variable that is missing beside it.

    JUSTAI_TEST_DATABASE_URL   a superuser's, because tests make databases and roles
    JUSTAI_TEST_AMQP_URL       an administrator's; JUSTAI_TEST_AMQP_MANAGEMENT_URL, else port 15672 of the same host
    JUSTAI_TEST_S3_URL         with JUSTAI_TEST_S3_ACCESS_KEY and JUSTAI_TEST_S3_SECRET_KEY
    JUSTAI_TEST_SFTP_URL       sftp://user@host:port/remote/root, with JUSTAI_TEST_SFTP_CLIENT_KEY (path of the private
                               key), JUSTAI_TEST_SFTP_HOST_KEY and JUSTAI_TEST_SFTP_ROOT (that root, seen from here)
    """
    url = environ.get(_URL[name])
    if not url:
        return None
    fields: dict[str, str | int]
    match name:
        case "postgres":
            fields = {"database_url": url}
        case "rabbitmq":
            fields = {"amqp_url": url, "amqp_management_url": _management_url(url, environ)}
        case "s3":
            fields = {
                "s3_endpoint": url,
                "s3_access_key": _needed(environ, "JUSTAI_TEST_S3_ACCESS_KEY", name),
                "s3_secret_key": _needed(environ, "JUSTAI_TEST_S3_SECRET_KEY", name),
            }
        case "sshd":
            fields = _sftp_fields(url, environ)
    return Running(fields, stop=lambda: None, source=_URL[name])


def _management_url(url: str, environ: Mapping[str, str]) -> str:
    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0] or "guest:guest"
    return environ.get("JUSTAI_TEST_AMQP_MANAGEMENT_URL") or f"http://{login}@{parts.hostname}:15672"


def _sftp_fields(url: str, environ: Mapping[str, str]) -> dict[str, str | int]:
    parts = urlsplit(url)
    if not parts.hostname or not parts.username or not parts.path:
        raise ServerFailed("JUSTAI_TEST_SFTP_URL: expected sftp://user@host:port/remote/root")
    return {
        "sftp_host": parts.hostname,
        "sftp_port": parts.port or 22,
        "sftp_user": parts.username,
        "sftp_client_key_path": _needed(environ, "JUSTAI_TEST_SFTP_CLIENT_KEY", "sshd"),
        "sftp_host_key": _needed(environ, "JUSTAI_TEST_SFTP_HOST_KEY", "sshd"),
        "sftp_root": _needed(environ, "JUSTAI_TEST_SFTP_ROOT", "sshd"),
        "sftp_remote_root": parts.path,
    }


def _needed(environ: Mapping[str, str], variable: str, server: ServerName) -> str:
    value = environ.get(variable)
    if not value:
        raise ServerFailed(f"{_URL[server]} is set, so {variable} is needed too")
    return value


def env_lines(endpoints: Endpoints) -> str:
    """An env file by which `find` finds these servers again, and services their database and broker."""
    remote = endpoints.sftp_remote_root
    variables = {
        "JUSTAI_DATABASE_URL": endpoints.database_url,
        "JUSTAI_AMQP_URL": endpoints.amqp_url,
        "JUSTAI_TEST_DATABASE_URL": endpoints.database_url,
        "JUSTAI_TEST_AMQP_URL": endpoints.amqp_url,
        "JUSTAI_TEST_AMQP_MANAGEMENT_URL": endpoints.amqp_management_url,
        "JUSTAI_TEST_S3_URL": endpoints.s3_endpoint,
        "JUSTAI_TEST_S3_ACCESS_KEY": endpoints.s3_access_key,
        "JUSTAI_TEST_S3_SECRET_KEY": endpoints.s3_secret_key,
        "JUSTAI_TEST_SFTP_URL": remote
        and f"sftp://{endpoints.sftp_user}@{endpoints.sftp_host}:{endpoints.sftp_port}{remote}",
        "JUSTAI_TEST_SFTP_CLIENT_KEY": endpoints.sftp_client_key_path,
        "JUSTAI_TEST_SFTP_HOST_KEY": endpoints.sftp_host_key,
        "JUSTAI_TEST_SFTP_ROOT": endpoints.sftp_root,
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items() if value)
