"""Which request gets which answer, on the wire: paths in every spelling, methods, who asks before sending."""

import asyncio

import pytest

from cli.doctor import ask
from devstack.ports import LOOPBACK
from tests.component.gateway.rig import Rig, webhook


async def _status(rig: Rig, line: str, *, body: bytes = b"", header: str = "") -> tuple[int, dict[str, str]]:
    """Status and headers (names in lower case) of the answer to one request line."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(LOOPBACK, int(rig.url.rpartition(":")[2]))
        head = f"{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}Content-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        writer.close()
    return int(status_line.split()[1]), {name.lower(): value for name, value in (one.split(": ", 1) for one in lines)}


@pytest.mark.parametrize(
    "target",
    ["/api/generate/acme", "/api/generate/acme?source=flow", "http://hooks.example/api/generate/acme",
     "/api/generate/%61cme", "/api/generate/acme/", "/api/generate/acme/?source=flow"],
    ids=["plain", "query", "absolute", "encoded", "slash", "slash and query"],
)  # fmt: skip
async def test_a_webhook_finds_its_way_however_the_path_is_spelt(rig: Rig, target: str) -> None:
    key = await rig.new_key(rig.acme)
    status, _ = await _status(rig, f"POST {target}", body=webhook(), header=f"X-Api-Key: {key}\r\n")

    assert status == 202
    assert len(await rig.queued()) == 1


@pytest.mark.parametrize(
    ("line", "status", "allow"),
    [
        ("GET /api/generate/acme", 401, None),
        ("PUT /api/generate/acme", 405, "GET, POST"),
        ("POST /api/generate/", 404, None),
        ("POST /api/generate//", 404, None),
        ("POST /api/generate/acme//", 404, None),
        ("POST /api/generate/acme/more", 404, None),
        ("POST /api/generate/acme%2Fmore", 404, None),
        ("POST /x/api/generate/acme", 404, None),
        ("POST /", 404, None),
        ("POST /healthz", 405, "GET, HEAD"),
        ("HEAD /healthz", 200, None),
        ("GET /openapi.json", 200, None),
        ("TRACE /openapi.json", 405, "GET, HEAD"),
    ],
)
async def test_every_other_path_and_method_has_an_answer_of_ours(
    rig: Rig, line: str, status: int, allow: str | None
) -> None:
    """ASVS 5.0 V4.1.4 and V13.4.4."""
    answered, headers = await _status(rig, line)

    assert (answered, headers.get("allow")) == (status, allow)
    assert headers["content-type"].startswith("application/json")
    assert "server" not in headers


async def test_who_asks_before_sending_the_body_is_told_to_go_on(rig: Rig) -> None:
    key, body = await rig.new_key(rig.acme), webhook()
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(LOOPBACK, int(rig.url.rpartition(":")[2]))
        head = f"POST /api/generate/acme HTTP/1.1\r\nHost: x\r\nX-Api-Key: {key}\r\nExpect: 100-continue\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.readline()).split()[1] == b"202"
        writer.close()


async def test_the_doctor_knows_the_gateway_by_its_answer(rig: Rig) -> None:
    seen = await ask(rig.url)

    assert (seen.status, seen.is_ours) == (401, True)
