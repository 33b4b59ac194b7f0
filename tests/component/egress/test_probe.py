"""Trying a bucket for somebody who waits: asked by message, done by the exporter, answered once."""

from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from secrets import token_hex
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.egress.model import Target
from services.egress.s3 import S3, S3Options
from shared.errors import Transient
from shared.hosts import Hosts, PrivateHost
from shared.messaging.asking import SeldomAsker
from shared.messaging.topology import PROBE_TARGET
from shared.schemas.jobs import ProbeTargetJob
from shared.schemas.probes import Probed
from tests.component.egress.shop import HOUR, World
from tests.component.egress.test_service import running


async def tried(amqp_url: str, org_id: UUID, *, wait_s: float = 20) -> Probed | None:
    asker, probe_id = SeldomAsker(amqp_url, "test", token=partial(token_hex, 8)), uuid4()

    def job_of(reply_to: str) -> ProbeTargetJob:
        return ProbeTargetJob(org_id=org_id, probe_id=probe_id, reply_to=reply_to)

    answer = await asker.ask(PROBE_TARGET, org_id, job_of, str(probe_id), wait_s=wait_s)
    return None if answer is None else Probed.model_validate_json(answer)


async def test_a_bucket_that_can_be_used_is_left_as_it_was(world: World, amqp_url: str) -> None:
    shop = await world.shop(prefix="daily")

    async with running(world, amqp_url, now=HOUR):
        said = await tried(amqp_url, shop.org_id)

    assert said is not None
    assert [(step.name, step.ok) for step in said.steps] == [
        ("Sign in", True), ("Look for an object", True), ("Write an object", True), ("Read it back", True),
        ("Remove it", True),
    ]  # fmt: skip
    assert "daily/_probes/" in said.steps[2].says
    assert await world.objects() == {}


async def test_what_cannot_be_used_says_at_which_step_and_why(world: World, amqp_url: str) -> None:
    wrong_secret = await world.shop("wrong-secret", secret="not-the-secret", prefix="a")
    no_server = await world.shop("no-server", endpoint_url="http://127.0.0.1:1", prefix="c")

    async with running(world, amqp_url, now=HOUR):
        answers = [await tried(amqp_url, one.org_id) for one in (wrong_secret, no_server)]
        nobody = await tried(amqp_url, uuid4())

    last = [one.steps[-1] for one in answers if one is not None]
    assert [(step.name, step.ok) for step in last] == [
        ("Look for an object", False),
        ("Look for an object", False),
    ]
    assert "403" in last[0].says
    assert "Is the endpoint right" in last[1].says
    assert nobody is not None
    assert nobody.steps[0].says == "This org has no export target."
    assert "not-the-secret" not in str(answers)


async def test_who_asks_waits_no_longer_than_was_said(world: World, amqp_url: str) -> None:
    shop = await world.shop()

    assert await tried(amqp_url, shop.org_id, wait_s=0.5) is None


async def test_a_probe_reads_the_targets_of_its_org_alone(world: World, amqp_url: str) -> None:
    """The target is read under the org's role, whatever the job says beside it."""
    shop = await world.shop("mine")
    connection: asyncpg.Connection = world.admin

    async with running(world, amqp_url, now=HOUR):
        await connection.execute("DELETE FROM export_targets WHERE org_id = $1", shop.org_id)
        other = await world.shop("other", prefix="other")
        mine, theirs = await tried(amqp_url, shop.org_id), await tried(amqp_url, other.org_id)

    assert mine is not None
    assert theirs is not None
    assert (mine.steps[0].ok, theirs.steps[0].ok) == (False, True)


async def test_a_bucket_at_an_address_of_a_private_network_is_refused_unless_the_operator_allows_it() -> None:
    target = Target("bucket", "", "us-east-1", "http://127.0.0.1:1", "key", "secret")
    async with AsyncExitStack() as stack:
        refusing = S3(S3Options(attempts=1, hosts=Hosts()), stack)
        for url in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"):
            with pytest.raises(PrivateHost, match="which is not on the public internet"):
                await refusing.bucket(replace(target, endpoint_url=url))
        allowing = S3(S3Options(attempts=1, hosts=Hosts(allow_private=True)), stack)
        with pytest.raises(Transient, match="does not answer"):
            await (await allowing.bucket(target)).find("x")
