"""Where a customer's host name may lead, and that nobody is connected to before it was looked at."""

import asyncio
import socket
from typing import Any

import pytest

from shared.hosts import Hosts, PrivateHost, is_private, is_public


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "10.0.0.1", "172.16.3.4", "192.168.1.1", "100.64.0.1",
        "169.254.169.254", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "255.255.255.255", "224.0.0.1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::",
        "198.18.0.1", "240.0.0.1",
    ],
)  # fmt: skip
def test_addresses_of_private_networks_of_clouds_and_wrapped_ones_are_not(address: str) -> None:
    assert not is_public(address)


def test_private_are_this_machine_and_private_networks_and_not_whatever_is_not_public() -> None:
    private = ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "fd00::1", "::ffff:10.0.0.1"]
    neither = ["0.0.0.0", "fe80::1", "2001::1", "64:ff9b:1::1", "198.18.0.1"]
    metadata = ["169.254.169.254", "fd00:ec2::254", "fd00:42::42", "fd00:c1::a9fe:a9fe", "fd20:ce::254"]

    assert all(map(is_private, private))
    assert not any(map(is_private, ["8.8.8.8", "2001:4860:4860::8888", *neither, *metadata]))
    assert not any(map(is_public, [*private, *neither, *metadata]))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "::1", "2130706433", "0x7f000001", "0177.0.0.1", "::ffff:127.0.0.1", "127.1"]
)
async def test_a_host_that_leads_here_is_refused_before_anything_is_sent(host: str, walls_away: None) -> None:
    """ASVS 5.0 V1.3.6."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    try:
        port = listening.getsockname()[1]
        with pytest.raises(PrivateHost, match="not on the public internet; the operator can allow private hosts"):
            await Hosts().connect(host, port)
        with pytest.raises(BlockingIOError):
            listening.accept()  # nobody came
    finally:
        listening.close()


@pytest.fixture
def walls_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own wall refuses odd spellings of this machine before they are looked at."""
    real = socket.getaddrinfo
    wrapped: Any = getattr(real, "__closure__", None)
    original = next(
        (cell.cell_contents for cell in wrapped or () if getattr(cell.cell_contents, "__name__", "") == "getaddrinfo"),
        real,
    )
    monkeypatch.setattr(socket, "getaddrinfo", original)


def answering(*answers: list[str]) -> Any:
    """A resolver that says something else each time."""
    left = list(answers)

    async def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    return getaddrinfo


async def test_a_name_that_changes_its_mind_is_connected_to_where_it_was_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    tried: list[Any] = []

    async def connect(_: socket.socket, address: Any) -> None:
        tried.append(address)

    monkeypatch.setattr(loop, "getaddrinfo", answering(["93.184.215.14"], ["127.0.0.1"]))
    monkeypatch.setattr(loop, "sock_connect", connect)

    (await Hosts().connect("rebind.example", 22)).close()
    with pytest.raises(PrivateHost):
        await Hosts().connect("rebind.example", 22)

    assert tried == [("93.184.215.14", 22)]


async def test_of_several_addresses_only_the_public_ones_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "getaddrinfo", answering(["10.0.0.1", "93.184.215.14"]))

    assert await Hosts().addresses("mixed.example", 22) == ["93.184.215.14"]
    assert await Hosts(allow_private=True).addresses("mixed.example", 22) == ["10.0.0.1", "93.184.215.14"]
    resolver = Hosts().connector()["resolver"]
    assert [one["host"] for one in await resolver.resolve("mixed.example", 443)] == ["93.184.215.14"]
    assert Hosts(allow_private=True).connector() == {}
