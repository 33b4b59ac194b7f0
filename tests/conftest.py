"""Fixtures and walls for all tests: real servers, a clean environment, no foreign network, no skips in CI."""

from __future__ import annotations

import gc
import os
import shutil
import socket
from collections.abc import AsyncIterator, Generator, Iterator, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hypothesis
import pytest

from devstack import SERVERS, Endpoints
from devstack.isolation import SftpFolder, fresh_bucket, fresh_database, fresh_name, fresh_virtual_host
from tests.support.scheduling import ByFile, mostly_waits_first
from tests.support.servers import OwnersSocket, OwnServers, Servers, SharedServers

# How long one example takes says how busy the machine is; speed is measured in `bench/`. In CI the examples depend on
# the code alone: chance looks for new ones wherever people run the tests, and does not refuse somebody else's change.
hypothesis.settings.register_profile(
    "justai", max_examples=50, deadline=None, derandomize=os.environ.get("CI") == "true"
)
hypothesis.settings.load_profile("justai")

collect_ignore = ["spark"]  # a lane of its own, `make test-spark`, with Java and another environment

_SERVERS = pytest.StashKey[Servers]()
_OWN: list[OwnServers] = []
_SOCKET = pytest.StashKey[OwnersSocket]()


# --- the run ---------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shots", action="store_true", help="Keep pictures of the console's pages in tests/browser/shots/."
    )


def pytest_configure(config: pytest.Config) -> None:
    given = scrub(os.environ)
    forbid_foreign_networks(allowed={urlsplit(value).hostname for value in given.values()})
    if hasattr(config, "workerinput"):
        config.stash[_SERVERS] = SharedServers(config.workerinput["servers_socket"])
        return
    config.stash[_SERVERS] = own = OwnServers(given)
    _OWN.append(own)
    config.add_cleanup(own.close)
    if config.getoption("numprocesses", default=None):
        config.stash[_SOCKET] = asked = OwnersSocket(own)
        config.add_cleanup(asked.close)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mostly_waits_first(items)


def pytest_collection_finish() -> None:
    """Thousands of collected tests stay to the end: no search for garbage needs to look at them again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:  # its logger has no public type
    return ByFile(config, log)


def pytest_keyboard_interrupt() -> None:
    for own in _OWN:  # before xdist waits for its workers, because they may be waiting for a server
        own.close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # xdist has no types for its nodes
    node.workerinput["servers_socket"] = node.config.stash[_SOCKET].path


def scrub(environ: MutableMapping[str, str]) -> dict[str, str]:
    """Take every setting of ours and of the S3 client out of the environment; return what names given servers."""
    given = {name: value for name, value in environ.items() if name.startswith("JUSTAI_TEST_")}
    for name in list(environ):
        if name.startswith(("JUSTAI_", "AWS_")):
            del environ[name]
    return given


# --- walls -----------------------------------------------------------------------------------------------------------


def forbid_foreign_networks(allowed: set[str | None]) -> None:
    """Let sockets of this process reach this machine and the given servers only.

    It guards against forgetting, not against malice: child processes and uvloop have their own way out.
    """
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def check(host: object) -> None:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in (None, "", "localhost", "::1") and not str(name).startswith("127.") and name not in allowed:
            raise PermissionError(f"a test tried to reach {name}; only this machine is allowed")

    def checked_connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX:
            check(address[0])
        connect(self, address)

    def checked_connect_ex(self: socket.socket, address: Any) -> int:
        if self.family != socket.AF_UNIX:
            check(address[0])
        return connect_ex(self, address)

    def checked_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        check(host)
        return getaddrinfo(host, *args, **kwargs)

    socket.socket.connect = checked_connect  # type: ignore[method-assign, assignment] # a wall, for the whole process
    socket.socket.connect_ex = checked_connect_ex  # type: ignore[method-assign, assignment] # the same
    socket.getaddrinfo = checked_getaddrinfo


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fail_skips(report, in_ci=os.environ.get("CI") == "true")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    fail_skips(report, in_ci=os.environ.get("CI") == "true")
    return report


def fail_skips(report: pytest.TestReport | pytest.CollectReport, *, in_ci: bool) -> None:
    """Where everything is there, a skipped test is a test that silently stopped proving anything."""
    if in_ci and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: nothing may be skipped in CI, but: {reason}"


# --- servers ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Servers:
    """Starts servers one by one, on request; most tests want one of the fixtures below."""
    return pytestconfig.stash[_SERVERS]


@pytest.fixture(scope="session")
def endpoints(servers: Servers) -> Endpoints:
    """All servers, shared by the whole run: leave nothing behind that another test could see."""
    return servers.need(*SERVERS)


@pytest.fixture
async def database_url(servers: Servers) -> AsyncIterator[str]:
    """A migrated database of this test's own; the URL is a superuser's."""
    async with fresh_database(servers.need("postgres").database_url) as url:
        yield url


@pytest.fixture
async def amqp_url(servers: Servers) -> AsyncIterator[str]:
    """A RabbitMQ virtual host of this test's own."""
    async with fresh_virtual_host(servers.need("rabbitmq")) as url:
        yield url


@pytest.fixture
async def bucket(servers: Servers) -> AsyncIterator[str]:
    """Name of an S3 bucket of this test's own; the address and keys are in `servers.need("s3")`."""
    async with fresh_bucket(servers.need("s3")) as name:
        yield name


@pytest.fixture
def sftp_root(servers: Servers) -> Iterator[SftpFolder]:
    """A folder of this test's own on the SFTP server; address and keys are in `servers.need("sshd")`."""
    served = servers.need("sshd")
    name = fresh_name("test")
    path = Path(served.sftp_root) / name
    path.mkdir()
    yield SftpFolder(path, f"{served.sftp_remote_root.rstrip('/')}/{name}")
    shutil.rmtree(path, ignore_errors=True)
