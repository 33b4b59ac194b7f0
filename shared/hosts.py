"""Where a customer's host name may lead: to public addresses only, unless the operator lets it into private networks.
A connection is made to the very address that was looked at, so a name that changes its mind gains nothing."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult

from shared.errors import Permanent, Transient

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL_NAT64: Final = ipaddress.IPv6Network("64:ff9b:1::/48")
_PRIVATE: Final = [ipaddress.ip_network(one) for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")]
_METADATA: Final = [
    ipaddress.ip_network(one) for one in ("fd00:ec2::/32", "fd00:42::/32", "fd00:c1::/32", "fd20:ce::/32")
]
"""Of clouds (Amazon's, Scaleway's, Oracle's, Google's), in the midst of the private ones; others are link-local."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class PrivateHost(Permanent):
    """The host leads to addresses that nobody outside may name: ours, a private network's, a cloud's metadata."""


def is_public(address: str) -> bool:
    """Whether it is an address of the public internet, also where it wraps another one. Raises ValueError for what is
    no address."""
    ip = _unwrapped(address)
    return ip not in _LOCAL_NAT64 and ip.is_global and not ip.is_multicast


def is_private(address: str) -> bool:
    """Whether it is this machine, or in a private network and no cloud's metadata; also where it wraps another one.
    Many addresses are neither public nor private. Raises ValueError for what is no address."""
    ip = _unwrapped(address)
    private = any(ip in network for network in _PRIVATE) and not any(ip in network for network in _METADATA)
    return ip.is_loopback or private


def _unwrapped(address: str) -> Address:
    ip: Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    wrapped = ip.ipv4_mapped or ip.sixtofour
    if ip in _NAT64:
        wrapped = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return wrapped or ip


@dataclass(frozen=True, slots=True)
class Hosts:
    """The operator's rule. `allow_private`: names may lead anywhere."""

    allow_private: bool = False

    async def addresses(self, host: str, port: int) -> list[str]:
        """What the name stands for now, all of it allowed, in the order to try. Raises PrivateHost, or Transient when
        no address is known."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise Transient(f"no address is known for {host!r}; is the name right?", reason="no_address") from None
        every = list(dict.fromkeys(str(one[4][0]) for one in found))
        allowed = [one for one in every if self.allow_private or is_public(one)]
        if not allowed:
            raise _private(host, every)
        return allowed

    async def connect(self, host: str, port: int) -> socket.socket:
        """A connection to one of the name's allowed addresses; it is the caller's to close. Raises PrivateHost,
        Transient, or OSError when none takes it."""
        refused: OSError | None = None
        for address in await self.addresses(host, port):
            try:
                return await _connected(address, port)
            except OSError as error:
                refused = error
        raise refused or OSError("no address")

    def connector(self) -> dict[str, Any]:
        """What the connector of an HTTP client is made with, so that it connects to allowed addresses alone: also where
        it is led by a redirect, to an address in place of a name, which nobody resolves. Empty: any address will do."""
        if self.allow_private:
            return {}
        return {"resolver": AllowedNames(self), "use_dns_cache": False, "socket_factory": _allowed_socket}


class ScreenedNames(AbstractResolver):
    """Has aiohttp connect to the addresses of a name that `may` be reached. `why`: what is said where none may."""

    def __init__(self, asks: AbstractResolver, may: Callable[[str], bool], why: str) -> None:
        self._asks, self._may, self._why = asks, may, why

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = [one for one in await self._asks.resolve(host, port, family) if self._may(one["host"])]
        if not found:
            raise OSError(f"{host} {self._why}")
        return found

    async def close(self) -> None:
        await self._asks.close()


class AllowedNames(AbstractResolver):
    """Resolves for aiohttp."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        try:
            found = await self._hosts.addresses(host, port)
        except (PrivateHost, Transient) as refused:
            raise OSError(str(refused)) from refused
        return [
            ResolveResult(hostname=host, host=one, port=port, family=_family(one), proto=0, flags=socket.AI_NUMERICHOST)
            for one in found
        ]

    async def close(self) -> None:
        """It holds nothing."""


def _allowed_socket(to: AddrInfoType) -> socket.socket:
    """For a connection that is about to be made there. Raises OSError."""
    family, kind, protocol, _, address = to
    if not is_public(str(address[0])):
        raise OSError(f"{address[0]} is not on the public internet")
    return socket.socket(family, kind, protocol)


async def _connected(address: str, port: int) -> socket.socket:
    made = socket.socket(_family(address), socket.SOCK_STREAM)
    made.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(made, (address, port))
    except BaseException:
        made.close()
        raise
    return made


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _private(host: str, addresses: list[str]) -> PrivateHost:
    return PrivateHost(
        f"{host} is {', '.join(addresses[:4])}, which is not on the public internet; the operator can allow private "
        "hosts with JUSTAI_ALLOW_PRIVATE_HOSTS",
        reason="private_host",
    )
