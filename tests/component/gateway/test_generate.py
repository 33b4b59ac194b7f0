"""The gateway over HTTP, on a real broker and database, started through its own composition root."""

import asyncio
import json
import os
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from openapi_spec_validator import validate

from devstack.ports import LOOPBACK
from shared import api_keys
from shared.messaging.broker import connect, open_channel
from shared.messaging.topology import GENERATE
from tests.component.gateway.rig import NOW, USER, Rig, away, webhook
from tests.support.waiting import eventually


@dataclass
class Answer:
    """One HTTP answer as it stood on the wire; header names in lower case."""

    status_line: str
    headers: dict[str, str]
    body: dict[str, Any]


async def _raw_answers(rig: Rig, version: str, header: str, *, count: int, then_end: bool = False) -> list[Answer]:
    """The answers to `count` webhooks on one connection, which aiohttp's client would tidy up."""
    key, answers = await rig.new_key(rig.acme), []
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(LOOPBACK, int(rig.url.rpartition(":")[2]))
        for number in range(count):
            body = webhook(attrs={"number": str(number)})
            head = f"POST /api/generate/acme {version}\r\nHost: x\r\nX-Api-Key: {key}\r\n{header}"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            answers.append(
                Answer(status_line, headers, json.loads(await reader.readexactly(int(headers["content-length"]))))
            )
        if then_end:
            assert await reader.read() == b""
        writer.close()
    return answers


async def test_a_webhook_is_answered_202_and_is_in_the_queue(rig: Rig) -> None:
    status, answer, _ = await rig.post(await rig.new_key(rig.acme))
    [job] = await rig.queued()

    assert (status, answer["status"]) == (202, "accepted")
    assert str(job.generation_id) == answer["generation_id"]
    assert (job.org_id, job.template_id, job.user_id) == (rig.acme, "welcome", USER)
    assert (job.attrs, job.fields) == ({"persona": "Runner"}, {"first_name": "Ann"})


async def test_two_webhooks_on_one_connection_get_two_whole_answers(rig: Rig) -> None:
    first, second = await _raw_answers(rig, "HTTP/1.1", "", count=2)

    for answer in (first, second):
        assert answer.status_line == "HTTP/1.1 202 Accepted"
        assert answer.headers.keys() == {"content-type", "content-length", "date"}
        assert answer.headers["content-type"] == "application/json"
        assert abs(parsedate_to_datetime(answer.headers["date"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert first.body["generation_id"] != second.body["generation_id"]


@pytest.mark.parametrize(("version", "header"), [("HTTP/1.1", "Connection: close\r\n"), ("HTTP/1.0", "")])
async def test_who_wants_the_connection_closed_gets_the_answer_and_the_end(rig: Rig, version: str, header: str) -> None:
    [answer] = await _raw_answers(rig, version, header, count=1, then_end=True)
    [job] = await rig.queued()

    assert answer.status_line == f"{version} 202 Accepted"
    assert answer.headers.get("connection") == ("close" if header else None)
    assert answer.body == {"generation_id": str(job.generation_id), "status": "accepted"}


async def test_the_key_may_come_as_a_bearer_token(rig: Rig) -> None:
    key = await rig.new_key(rig.acme)

    status, _, _ = await rig.post(None, headers={"Authorization": f"Bearer {key}"})

    assert status == 202


async def test_a_repeated_webhook_names_the_same_generation(rig: Rig) -> None:
    key = await rig.new_key(rig.acme)

    answers = await asyncio.gather(*(rig.post(key) for _ in range(5)))

    assert {status for status, _, _ in answers} == {202}
    assert len({answer["generation_id"] for _, answer, _ in answers}) == 1


async def test_many_at_once_are_all_confirmed(rig: Rig) -> None:
    key = await rig.new_key(rig.acme)
    bodies = [webhook(attrs={"number": str(number)}) for number in range(200)]

    answers = await asyncio.gather(*(rig.post(key, body) for body in bodies))

    assert {status for status, _, _ in answers} == {202}
    assert {job.attrs["number"] for job in await rig.queued()} == {str(number) for number in range(200)}


@pytest.mark.parametrize(
    ("broken", "first_name"),
    [
        (b'{"template_id":"welcome","user_id":"%s","tracking_id":"%s.F.A","fields":{"first_name":"D\'Arcy "Bob""}}',
         'D\'Arcy "Bob"'),
        (b'{"template_id":"welcome","user_id":"%s","tracking_id":"%s.F.A","fields":{"first_name":"O\nNeil"}}',
         "O\nNeil"),
        (b'{"template_id":"welcome","user_id":"%s","tracking_id":"%s.F.A","fields":{"first_name":"None"}}', None),
        (b'{"template_id":"welcome","user_id":"%s","tracking_id":"%s.F.A","fields":{"first_name":"{{ person.x }}"}}',
         None),
    ],
)  # fmt: skip
async def test_pasted_values_that_break_the_body_never_cost_the_send(
    rig: Rig, broken: bytes, first_name: str | None
) -> None:
    status, _, _ = await rig.post(await rig.new_key(rig.acme), broken % (USER.encode(), USER.encode()))
    [job] = await rig.queued()

    assert status == 202
    assert job.fields.get("first_name") == first_name
    assert job.repairs


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"template_id": None}, "template_id"),
        ({"template_id": "../../etc"}, "template_id"),
        ({"user_id": "{{ person.KlaviyoID }}"}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "ann@example.com"}, "user_id"),
        ({"user_id": True}, "user_id"),
    ],
)
async def test_what_no_repetition_can_cure_is_422_and_names_the_field(
    rig: Rig, changes: dict[str, Any], param: str
) -> None:
    status, answer, _ = await rig.post(await rig.new_key(rig.acme), webhook(**changes))

    assert status == 422
    assert answer["error"]["param"] == param
    assert set(answer["error"]) == {"type", "code", "message", "param"}
    assert await rig.queued() == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"x" * 262_145, 413),
        (b"[" * 1_000, 422),
        (b"\x00", 422),
        (b"", 422),
        (b'{"template_id": 1e400}', 422),
        (b"\xff\xfe{\x00}\x00", 422),
    ],
)
async def test_hostile_bodies_get_their_documented_answer(rig: Rig, body: bytes, status: int) -> None:
    got, answer, _ = await rig.post(await rig.new_key(rig.acme), body)

    assert got == status
    assert answer["error"]["code"]
    assert await rig.queued() == []


async def test_a_body_in_pieces_has_the_same_limit(rig: Rig) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 60_000

    headers = {"X-Api-Key": await rig.new_key(rig.acme)}
    async with rig.http.post(f"{rig.url}/api/generate/acme", data=pieces(), headers=headers) as answer:
        refused = await answer.json()

    assert (answer.status, refused["error"]["code"]) == (413, "body_too_large")
    assert await rig.queued() == []


async def test_a_compressed_body_is_refused_before_it_is_unpacked(rig: Rig) -> None:
    status, answer, _ = await rig.post(await rig.new_key(rig.acme), headers={"Content-Encoding": "gzip"})

    assert (status, answer["error"]["code"]) == (415, "compressed_body")


async def test_keys_that_are_no_keys_are_401_without_the_database(rig: Rig) -> None:
    key = await rig.new_key(rig.acme)
    mistyped = key[:-1] + ("a" if key[-1] != "a" else "b")

    for wrong, code in [(None, "missing_api_key"), (mistyped, "malformed_api_key"), ("jai", "malformed_api_key")]:
        status, answer, _ = await rig.post(wrong)
        assert (status, answer["error"]["code"]) == (401, code)
    status, answer, _ = await rig.post(api_keys.mint(os.urandom))
    assert (status, answer["error"]["code"]) == (401, "unknown_api_key")


async def test_a_key_opens_its_own_org_alone_and_tells_nothing_of_others(rig: Rig) -> None:
    key = await rig.new_key(rig.other)

    existing = await rig.post(key, slug="acme")
    missing = await rig.post(key, slug="nobody")

    assert existing[0] == missing[0] == 403
    assert existing[1] == missing[1]


async def test_an_expired_key_and_a_key_without_the_scope_are_refused(rig: Rig) -> None:
    expired = await rig.new_key(rig.acme, expires_at=NOW)
    narrow = await rig.new_key(rig.acme, scopes=["export:read"])

    assert (await rig.post(expired))[1]["error"]["code"] == "expired_api_key"
    assert (await rig.post(narrow))[1]["error"]["code"] == "missing_scope"


async def test_a_revoked_key_is_refused_within_five_seconds(rig: Rig) -> None:
    key = await rig.new_key(rig.acme)
    assert (await rig.post(key))[0] == 202

    async with rig.db.transaction() as connection:
        await connection.execute("UPDATE api_keys SET revoked_at = $1", NOW)

    async def refused() -> bool:
        status, answer, _ = await rig.post(key)
        return (status, answer["error"]["code"] if status != 202 else "") == (401, "revoked_api_key")

    await eventually(refused, within_s=5)


async def test_without_the_database_known_keys_go_on_and_unknown_ones_may_come_again(rig: Rig) -> None:
    """ASVS 5.0 V16.5.2 and V16.5.3: an outage lets nobody in."""
    known, unknown = await rig.new_key(rig.acme), await rig.new_key(rig.acme)
    assert (await rig.post(known))[0] == 202

    async with away(rig):
        assert (await rig.post(known))[0] == 202
        status, answer, headers = await rig.post(unknown)
        assert (status, answer["error"]["code"]) == (503, "keys_unavailable")
        assert int(headers["Retry-After"]) > 0


async def test_without_its_queue_nothing_is_promised(rig: Rig) -> None:
    key = await rig.new_key(rig.acme)
    assert (await rig.post(key))[0] == 202
    async with connect(rig.amqp_url, "saboteur") as connection:
        channel = await open_channel(connection)
        for name in GENERATE.queues:
            await channel.queue_delete(name)

    status, answer, headers = await rig.post(key)

    assert (status, answer["error"]["code"]) == (503, "broker_unavailable")
    assert int(headers["Retry-After"]) > 0


async def test_unknown_addresses_and_methods_answer_in_the_same_shape(rig: Rig) -> None:
    async with rig.http.put(f"{rig.url}/api/generate/acme") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (405, "method_not_allowed")
    async with rig.http.get(f"{rig.url}/nothing") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (404, "no_such_route")
        assert "Server" not in answer.headers


async def test_the_served_document_is_openapi_and_names_every_answer(rig: Rig) -> None:
    async with rig.http.get(f"{rig.url}/openapi.json") as answer:
        document = await answer.json()

    validate(document)
    operation = document["paths"]["/api/generate/{org_slug}"]["post"]
    assert {"202", "401", "403", "413", "415", "422", "500", "503"} <= set(operation["responses"])


async def test_health_readiness_and_metrics_are_served(rig: Rig) -> None:
    await rig.post(await rig.new_key(rig.acme))

    async with rig.http.get(f"{rig.url}/readyz") as answer:
        assert answer.status == 200
    async with rig.http.get(f"{rig.url}/metrics") as answer:
        assert 'jai_http_requests_total{code="202",route="generate"}' in await answer.text()


async def test_what_is_refused_for_good_is_told_to_the_org_and_names_no_flow_but_its_own(rig: Rig) -> None:
    await rig.new_flow(rig.acme, "FLOW01")
    await rig.new_flow(rig.other, "THEIRS")
    key, theirs = await rig.new_key(rig.acme), await rig.new_key(rig.other)
    flow = {"X-Klaviyo-Flow-ID": "FLOW01"}
    for _ in range(3):
        await rig.post("jai_live_wrong", headers=flow)
    await rig.post(theirs, headers={"X-Klaviyo-Flow-ID": "THEIRS"})
    await rig.post(key, b"{", headers={"X-Klaviyo-Flow-ID": "MADEUP"})
    await rig.post(key, slug="nobody", headers=flow)
    await rig.post(key, headers=flow)

    async def told() -> bool:
        return len(await rig.refused()) == 3

    await eventually(told, within_s=20)

    assert await rig.refused() == {
        ("acme", "FLOW01", "malformed_api_key"): 3, ("acme", "", "wrong_org"): 1, ("acme", "", "not_json"): 1,
    }  # fmt: skip


async def test_what_a_flow_is_refused_is_counted_whatever_the_reason_and_what_a_stranger_is_not(rig: Rig) -> None:
    key, flow = await rig.new_key(rig.acme), {"X-Klaviyo-Flow-ID": "FLOW01"}

    async def counted() -> Counter[str]:
        for _ in range(2):  # a counter is shown as 0 before it shows what it counted
            async with rig.http.get(f"{rig.url}/metrics") as answer:
                told = await answer.text()
        found = re.findall(r'^jai_webhook_refused_total{code="(\w+)"} (\S+)$', told, re.MULTILINE)
        return Counter({code: int(float(number)) for code, number in found})

    before = await counted()
    await rig.post("jai_live_wrong", headers=flow)
    await rig.post(key, slug="nobody", headers=flow)
    await rig.post(key, b"{", headers=flow)
    await rig.post("jai_live_wrong")
    await rig.post(key, headers=flow)

    assert await counted() - before == Counter(malformed_api_key=1, wrong_org=1, not_json=1)


async def test_refusals_older_than_a_week_go_when_new_ones_come(rig: Rig) -> None:
    await rig.new_flow(rig.acme, "FLOW01")
    await rig.refused_before(rig.acme, days=30)
    await rig.refused_before(rig.acme, days=2)

    await rig.post("jai_live_wrong", headers={"X-Klaviyo-Flow-ID": "FLOW01"})

    async def told() -> bool:
        return ("acme", "FLOW01", "malformed_api_key") in await rig.refused()

    await eventually(told, within_s=20)
    assert (await rig.refused())["acme", "", "not_json"] == 2
