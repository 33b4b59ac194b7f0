"""Messages of every shape that was ever sent, read by what runs today; and of today's by what ran before."""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from shared.clock import FrozenClock
from shared.messaging import dead
from shared.messaging.broker import connect
from shared.messaging.consumer import Consumer
from shared.messaging.publisher import open_publisher
from shared.messaging.topology import ALL, QueueSpec, RetryPolicy
from shared.schemas.jobs import KINDS, Batch, Job, WriteJob, is_newer
from tests.support.messages import ENVELOPES, JOBS, ORG, read, recorded, schema, written
from tests.support.waiting import eventually

SETS = recorded()
NEWEST = max(SETS)
SETS_AND_KINDS = [(number, kind) for number, kinds in SETS.items() for kind in kinds]


@pytest.mark.parametrize("kind", ENVELOPES)
def test_no_message_changes_its_shape_without_a_new_set(kind: str) -> None:
    assert SETS[NEWEST].get(kind, {}).get("schema") == schema(kind), "run `python -m tests.support.messages`"


@pytest.mark.parametrize(("number", "kind"), SETS_AND_KINDS)
def test_a_recorded_message_means_what_it_meant(number: int, kind: str) -> None:
    for message in SETS[number][kind]["messages"]:
        means = read(kind, message["body"].encode())
        assert _as_it_knew(means, message["means"]) == message["means"]


@pytest.mark.parametrize(("number", "kind"), [(n, k) for n, k in SETS_AND_KINDS if n >= NEWEST - 1])
def test_what_is_written_today_is_read_by_the_release_before(number: int, kind: str) -> None:
    """Where it does not use what came since: a message that does waits for a newer reader (below)."""
    reader = Draft202012Validator(SETS[number][kind]["schema"])
    samples = SETS[number][kind]["messages"]

    for sample in samples:
        again = ENVELOPES[kind].model_validate_json(sample["body"]).model_dump(mode="json", exclude_defaults=True)
        faults = [error.message for error in reader.iter_errors({"kind": kind, **again} if "jobs" in again else again)]
        assert faults == []


def test_every_field_of_every_kind_is_in_some_recorded_message() -> None:
    for kind in ENVELOPES:
        said = "".join(message["body"] for message in SETS[NEWEST][kind]["messages"])
        properties = {
            name
            for part in (SETS[NEWEST][kind]["schema"], *SETS[NEWEST][kind]["schema"].get("$defs", {}).values())
            for name in part.get("properties", {})
        }
        assert {name for name in properties if f'"{name}"' not in said} == set()


def test_what_stands_at_its_default_is_not_written() -> None:
    [body] = [body for body in written()["probe_target"]]
    [plain, _] = written()["export_hour"]

    assert b"reason" not in plain
    assert b"table" not in plain
    assert b"probe_id" in body


async def test_todays_consumers_take_every_recorded_job_off_a_queue(amqp_url: str) -> None:
    seen: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS.values()}
    expected = {
        kind: [job for one in SETS.values() for message in one[kind]["messages"] for job in message["means"]["jobs"]]
        for kind in seen
    }
    types = {kind: job_type for job_type, kind in KINDS.items()}
    stop = asyncio.Event()
    async with (
        open_publisher(amqp_url, "test", *ALL) as publisher,
        connect(amqp_url, "test") as connection,
        asyncio.TaskGroup() as running,
    ):
        for spec in ALL:

            async def keep(jobs: Sequence[Job], kind: str = spec.name) -> Sequence[None]:
                seen[kind] += [job.model_dump(mode="json") for job in jobs]
                return [None] * len(jobs)

            consumer = Consumer(connection, publisher, spec, types[spec.name], keep, FrozenClock())
            running.create_task(consumer.run(stop))
            for one in SETS.values():
                for message in one[spec.name]["messages"]:
                    await publisher.send(spec.queue_for(ORG), message["body"].encode())

        def all_came() -> bool:
            return all(_as_they_knew(seen[kind], expected[kind]) == expected[kind] for kind in expected)

        await eventually(all_came, within_s=15)
        stop.set()


# --- from a newer release --------------------------------------------------------------------------------------------

SPEC = QueueSpec("write", policy=RetryPolicy(waits_s=(5,)))


def _write(**more: object) -> bytes:
    job = next(one for one in JOBS if isinstance(one, WriteJob))
    changed = {**job.model_dump(mode="json"), **more}
    return orjson.dumps({"kind": "write", "version": 1, "jobs": [changed]})


@pytest.mark.parametrize(
    ("body", "newer"),
    [
        (_write(because="new"), True),
        (_write(action="hold"), True),
        (_write().replace(b'"version":1', b'"version":2'), True),
        (_write().replace(b'"version":1', b'"version":2').replace(b"profile_id", b"person"), True),
        (_write().replace(b"profile_id", b"person"), False),
        (b"nonsense", False),
        (b'{"kind":"write","jobs":[]}', False),
    ],
)
def test_what_only_a_newer_release_can_read_is_told_from_what_nobody_can(body: bytes, newer: bool) -> None:
    with pytest.raises(ValidationError) as error:
        Batch[WriteJob].model_validate_json(body)

    assert is_newer(error.value) is newer


async def test_a_message_of_a_newer_release_waits_for_a_consumer_that_can_read_it(amqp_url: str) -> None:
    """As in a rolling restart: the first to take it is of the older release. Only who nobody ever reads is buried."""

    async def nothing(jobs: Sequence[WriteJob]) -> Sequence[None]:
        raise AssertionError("it cannot be read")

    stop = asyncio.Event()
    async with open_publisher(amqp_url, "test", SPEC) as publisher, connect(amqp_url, "test") as connection:
        consumer = Consumer(connection, publisher, SPEC, WriteJob, nothing, FrozenClock())
        running = asyncio.create_task(consumer.run(stop))
        await publisher.send("write", _write(because="new"))

        async def buried() -> Sequence[dead.DeadLetter]:
            return await dead.peek(connection, SPEC)

        began = asyncio.get_running_loop().time()
        [letter] = await eventually(buried, within_s=12)
        assert asyncio.get_running_loop().time() - began > SPEC.policy.waits_s[0] - 1
        stop.set()
        await running
    assert letter.reason.startswith(
        "gave up after 2 attempts: newer_release: unreadable: 1 faults, first at ('jobs', 0"
    )
    assert letter.attempt == 2


def _as_they_knew(jobs: Sequence[dict[str, Any]], older: Sequence[dict[str, Any]]) -> Sequence[Any]:
    return [_as_it_knew(job, one) for job, one in zip(jobs, older, strict=False)] if len(jobs) == len(older) else jobs


def _as_it_knew(means: Any, older: Any) -> Any:
    """Without fields that came later."""
    if isinstance(means, dict) and isinstance(older, dict):
        return {name: _as_it_knew(value, older[name]) for name, value in means.items() if name in older}
    if isinstance(means, list) and isinstance(older, list) and len(means) == len(older):
        return [_as_it_knew(one, other) for one, other in zip(means, older, strict=True)]
    return means
