"""Who waits for the copy: gateway and generator as they ship, on a real broker and database, or one of them alone."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from aio_pika import Message

from shared.messaging.broker import connect
from tests.component.gateway.rig import USER, webhook
from tests.component.gateway.rig import Rig as Gateway
from tests.component.gateway.rig import rig as open_gateway
from tests.component.generator import rig as generator_rig
from tests.support.waiting import eventually

PATIENT = {"Prefer": "wait=10"}  # more than the setting allows: 3 s
SHORT = {"Prefer": "wait=1"}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A gateway, a shop that it takes webhooks for, and a generator where a test starts one."""

    gateway: Gateway
    generator: generator_rig.Rig
    org_id: UUID
    slug: str
    copy_ids: list[UUID]
    key: str

    async def post(self, headers: Mapping[str, str], **changes: Any) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        return await self.gateway.post(self.key, webhook(**changes), slug=self.slug, headers=headers)

    async def get(
        self, query: list[tuple[str, str]], *, key: str | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        url = f"{self.gateway.url}/api/generate/{self.slug}"
        sent = {"X-Api-Key": key or self.key, **(headers or {})}
        async with self.gateway.http.get(url, params=query, headers=sent) as answer:
            return answer.status, await answer.json(), answer.headers


QUERY = [("template_id", "welcome"), ("user_id", USER), ("tracking_id", f"{USER}.FLOW01.70000001")]


@asynccontextmanager
async def pipeline(database_url: str, amqp_url: str) -> AsyncIterator[Pipeline]:
    async with (
        open_gateway(database_url, amqp_url, wait_s=10) as gateway,
        generator_rig.rig(database_url, amqp_url) as generator,
    ):
        org_id, copy_ids = await generator_rig.shop(generator)
        [row] = await generator.rows("SELECT slug FROM orgs WHERE org_id = $1", org_id)
        await gateway.listens()
        yield Pipeline(gateway, generator, org_id, row["slug"], copy_ids, await gateway.new_key(org_id))


@pytest.fixture
async def both(database_url: str, amqp_url: str) -> AsyncIterator[Pipeline]:
    async with pipeline(database_url, amqp_url) as made, generator_rig.running(made.generator):
        yield made


@pytest.fixture
async def alone(database_url: str, amqp_url: str) -> AsyncIterator[Pipeline]:
    """The gateway without a generator."""
    async with pipeline(database_url, amqp_url) as made:
        yield made


async def test_who_waits_gets_the_copy_that_is_stored_and_written(both: Pipeline) -> None:
    status, answer, headers = await both.post(PATIENT)
    [row] = await both.generator.generations(1)
    [write] = await both.generator.writes(1)

    assert (status, headers["Preference-Applied"], headers["Cache-Control"]) == (200, "wait", "no-store")
    assert answer.keys() == {"generation_id", "copy"}
    assert answer["generation_id"] == str(row["generation_id"]) == str(write.generation_id)
    assert answer["copy"]["id"] == str(row["copy_id"])
    body = dict(zip(both.copy_ids, ("<p>A</p>", "<p>B</p>"), strict=True))[row["copy_id"]]
    assert answer["copy"]["vars"] == {"subject": "Hello Ann", "preheader": "News", "body": body}


async def test_a_repeated_webhook_gets_the_copy_of_the_first(both: Pipeline) -> None:
    first = await both.post({})
    await both.generator.generations(1)
    second, third = await asyncio.gather(both.post(PATIENT), both.post(PATIENT))

    assert first[0] == 202
    assert (second[0], third[0]) == (200, 200)
    assert second[1] == third[1]
    assert second[1]["generation_id"] == first[1]["generation_id"]
    assert len(await both.generator.generations(1)) == 1


async def test_control_is_answered_with_its_reason(both: Pipeline) -> None:
    status, answer, _ = await both.post(PATIENT, template_id="nobodys")

    assert (status, answer["copy"], answer["reason"]) == (200, None, "unknown_template")


async def test_two_hundred_who_wait_at_once_each_get_their_own(both: Pipeline) -> None:
    answers = await asyncio.gather(
        *(both.post(PATIENT, fields={"first_name": f"Ann{number}"}) for number in range(200))
    )

    assert {status for status, _, _ in answers} == {200}
    subjects = [answer["copy"]["vars"]["subject"] for _, answer, _ in answers]
    assert subjects == [f"Hello Ann{number}" for number in range(200)]


async def test_without_the_header_the_answer_is_202_and_no_reply_is_asked_for(alone: Pipeline) -> None:
    status, answer, headers = await alone.post({})
    [job] = await alone.gateway.queued()

    assert (status, answer["status"], job.reply_to, job.preview) == (202, "accepted", None, None)
    assert "Preference-Applied" not in headers


async def test_a_reply_that_never_comes_is_a_202_in_time_and_the_job_stays(alone: Pipeline) -> None:
    started = asyncio.get_running_loop().time()
    status, answer, headers = await alone.post(SHORT)
    took_s = asyncio.get_running_loop().time() - started
    [job] = await alone.gateway.queued()

    assert (status, answer) == (202, {"generation_id": str(job.generation_id), "status": "accepted"})
    assert "Preference-Applied" not in headers
    assert 0.9 <= took_s < 9  # the setting is 10


@pytest.mark.parametrize("preference", ["wait=0", "respond-async", "wait=soon", "waiting=3"])
async def test_a_preference_that_is_no_time_to_wait_is_none(alone: Pipeline, preference: str) -> None:
    status, _, _ = await alone.post({"Prefer": preference})
    [job] = await alone.gateway.queued()

    assert (status, job.reply_to) == (202, None)


async def test_replies_to_a_gateway_that_is_gone_harm_nobody(database_url: str, amqp_url: str) -> None:
    async with pipeline(database_url, amqp_url) as before:
        status, answer, _ = await before.post(SHORT)
        slug, key = before.slug, before.key
    assert status == 202

    async with (
        open_gateway_again(database_url, amqp_url) as gateway,
        generator_rig.rig(database_url, amqp_url) as generator,
        generator_rig.running(generator),
    ):
        await generator.generations(1)  # its reply went to a queue that is no more
        again_status, again, _ = await gateway.post(key, webhook(), slug=slug, headers=PATIENT)

    assert (again_status, again["generation_id"]) == (200, answer["generation_id"])
    assert again["copy"]["vars"]["subject"] == "Hello Ann"


@asynccontextmanager
async def open_gateway_again(database_url: str, amqp_url: str) -> AsyncIterator[Gateway]:
    async with open_gateway(database_url, amqp_url, orgs=False, wait_s=10) as gateway:
        await gateway.listens()
        yield gateway


async def test_a_stranger_in_the_reply_queue_answers_nobody(alone: Pipeline) -> None:
    waiting = asyncio.create_task(alone.post(SHORT))

    async def asked() -> str:
        jobs = await alone.gateway.queued()
        assert len(jobs) == 1
        assert jobs[0].reply_to is not None
        return jobs[0].reply_to

    address = await eventually(asked)
    async with connect(alone.gateway.amqp_url, "stranger") as connection:
        channel = await connection.channel()
        for correlation_id in (None, "", "another"):
            message = Message(b"{}", correlation_id=correlation_id)
            await channel.default_exchange.publish(message, address)
    status, _, _ = await waiting

    assert status == 202


async def test_nobody_reads_another_orgs_copy_through_a_wait(both: Pipeline) -> None:
    mine = await both.post(PATIENT)
    foreign_key = await both.gateway.new_key(both.gateway.acme)

    by_slug = await both.gateway.post(foreign_key, slug=both.slug, headers=PATIENT)
    by_body = await both.gateway.post(foreign_key, slug="acme", headers=PATIENT)

    assert (by_slug[0], by_slug[1]["error"]["code"]) == (403, "wrong_org")
    assert by_body[0] == 200
    assert by_body[1]["generation_id"] != mine[1]["generation_id"]
    assert (by_body[1]["copy"], by_body[1]["reason"]) == (None, "unknown_template")


async def test_get_waits_by_itself_and_takes_attrs_and_fields_from_the_query(both: Pipeline) -> None:
    given = [("attr.plan", "pro"), ("attr.tag", "a"), ("attr.tag", "b"), ("field.first_name", "Ben & Co")]
    status, answer, headers = await both.get(QUERY + given)
    [row] = await both.generator.generations(1)

    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    assert "Preference-Applied" not in headers
    assert answer["copy"]["vars"]["subject"] == "Hello Ben & Co"
    assert row["attrs"] == {"plan": "pro", "tag": ["a", "b"]}
    assert (row["decision"], len(await both.generator.writes(1))) == ("treatment", 1)


async def test_get_refuses_as_post_does(alone: Pipeline) -> None:
    twice = await alone.get([*QUERY, ("user_id", USER)])
    missing = await alone.get(QUERY[:2])
    stranger = await alone.get(QUERY, key="jai_live_nobody")

    assert (twice[0], twice[1]["error"]["code"]) == (422, "ambiguous_identity")
    assert (missing[0], missing[1]["error"]["param"]) == (422, "tracking_id")
    assert stranger[0] == 401
    assert await alone.gateway.queued() == []


async def test_get_may_prefer_not_to_wait(alone: Pipeline) -> None:
    status, _, _ = await alone.get(QUERY, headers={"Prefer": "wait=0"})

    assert status == 202
