"""The batch consumer on a real broker: what becomes of a job, and that nothing is lost on the way."""

from typing import Any

import pytest

from shared.errors import Outage, Permanent, Transient
from shared.messaging import consumer as consumer_module
from shared.messaging import dead
from shared.messaging.broker import connect
from shared.messaging.consumer import Outcome
from shared.messaging.publisher import Publisher, open_publisher
from shared.schemas.jobs import GenerateJob
from tests.component.shared.consuming import ORG, SPEC, Recorder, consuming, job, letters, paused
from tests.support.waiting import eventually


async def test_a_bad_job_is_buried_with_its_reason_and_its_neighbours_are_done(amqp_url: str) -> None:
    handler = Recorder(lambda j, _: Permanent("no", reason="bad_copy") if j.template_id == "bad" else None)

    async with consuming(amqp_url, handler) as (publisher, _):
        await publisher.send_jobs(SPEC, ORG, [job("a"), job("bad"), job("b")])
        [letter] = await letters(amqp_url, 1)

    assert handler.done == ["a", "b"]
    assert letter.reason == "bad_copy: no"
    assert letter.origin == SPEC.queue_for(ORG)
    assert b'"bad"' in letter.body
    assert b'"a"' not in letter.body


async def test_a_message_that_cannot_be_read_is_buried_and_the_next_one_is_done(amqp_url: str) -> None:
    handler = Recorder(lambda *_: None)

    async with consuming(amqp_url, handler) as (publisher, _):
        await publisher.send(SPEC.queue_for(ORG), b"\x00 nonsense")
        await publisher.send_jobs(SPEC, ORG, [job("a")])
        [letter] = await letters(amqp_url, 1)

        await eventually(lambda: "a" in handler.done)
    assert letter.reason.startswith("unreadable")


async def test_a_transient_failure_comes_back_after_its_wait_and_then_gives_up(amqp_url: str) -> None:
    handler = Recorder(lambda j, n: Transient("again") if j.template_id == "never" or n == 1 else None)

    async with consuming(amqp_url, handler) as (publisher, _):
        await publisher.send_jobs(SPEC, ORG, [job("heals"), job("never")])
        await eventually(lambda: "heals" in handler.done, within_s=15)
        [letter] = await letters(amqp_url, 1)

    assert handler.tries.count("never") == 2
    assert "gave up after 2 attempts" in letter.reason


async def test_an_exception_in_a_batch_blames_only_the_job_that_raises_it(amqp_url: str) -> None:
    def answer(given: GenerateJob, _: int) -> Outcome:
        if given.template_id == "poison":
            raise ValueError("ann@example.com")
        return None

    handler = Recorder(answer)

    async with consuming(amqp_url, handler) as (publisher, _):
        await publisher.send_jobs(SPEC, ORG, [job("a"), job("poison"), job("b")])
        await eventually(lambda: "b" in handler.done)
        [letter] = await letters(amqp_url, 1)

    assert {"a", "b"} <= set(handler.done)
    assert "ValueError" in letter.reason
    assert "ann@example.com" not in letter.reason


async def test_an_outage_holds_the_batch_and_spends_no_attempt(amqp_url: str) -> None:
    down = True

    def answer(_: GenerateJob, __: int) -> Outcome:
        if down:
            raise Outage("the database is away")
        return None

    handler = Recorder(answer)

    async with consuming(amqp_url, handler) as (publisher, _):
        await publisher.send_jobs(SPEC, ORG, [job("a")])
        await eventually(lambda: len(handler.tries) >= 3)
        down = False
        await eventually(lambda: "a" in handler.done)

    await letters(amqp_url, 0)


async def test_jobs_in_hand_at_an_outage_go_back_untouched_when_we_stop(amqp_url: str) -> None:
    def answer(_: GenerateJob, __: int) -> Outcome:
        raise Outage("the database is away")

    handler, later = Recorder(answer), Recorder(lambda *_: None)
    async with consuming(amqp_url, handler) as (publisher, _):
        await publisher.send_jobs(SPEC, ORG, [job("a")])
        await eventually(lambda: len(handler.tries) >= 1)

    async with consuming(amqp_url, later):
        await eventually(lambda: "a" in later.done)


class Unwilling(Publisher):
    """Its broker takes no letter for a while."""

    refusals = 0

    async def bury(self, *args: Any, **more: Any) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Outage("the broker is out of reach")
        await super().bury(*args, **more)


async def test_a_broker_that_is_away_for_long_gets_back_what_was_to_be_moved_and_ends_no_consumer(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "_OUTAGE_WAITS_S", (0.01,))
    handler = Recorder(lambda *_: Permanent("no such thing", reason="unknown"))
    async with connect(amqp_url, "unwilling") as connection:
        unwilling = Unwilling(connection, "unwilling", SPEC)
        unwilling.refusals = 2
        async with consuming(amqp_url, handler, unwilling) as (publisher, _):
            await publisher.send_jobs(SPEC, ORG, [job("a")])
            [letter] = await letters(amqp_url, 1)

    assert handler.tries == ["a", "a"]
    assert (unwilling.refusals, letter.attempt) == (0, 1)


async def test_a_mostly_failing_queue_pauses_instead_of_emptying_into_the_dead_letters(amqp_url: str) -> None:
    handler = Recorder(lambda *_: Permanent("all wrong"))

    async with consuming(amqp_url, handler) as (publisher, consumer):
        for _ in range(24):
            await publisher.send_jobs(SPEC, ORG, [job("bad") for _ in range(25)])
        await eventually(lambda: paused(consumer))

        assert len(handler.tries) < 24 * 25


async def test_a_replayed_letter_is_a_first_attempt_again(amqp_url: str) -> None:
    broken = True
    handler = Recorder(lambda *_: Permanent("broken") if broken else None)

    async with consuming(amqp_url, handler) as (publisher, _):
        await publisher.send_jobs(SPEC, ORG, [job("a")])
        await letters(amqp_url, 1)
        broken = False
        async with connect(amqp_url, "replay") as connection:
            moved = await dead.replay(connection, publisher, SPEC, wanted=lambda letter: "broken" in letter.reason)
        await eventually(lambda: "a" in handler.done)

    assert len(moved) == 1
    await letters(amqp_url, 0)


async def test_publishing_to_a_queue_that_is_not_there_is_never_a_success(amqp_url: str) -> None:
    async with open_publisher(amqp_url, "test", SPEC) as publisher:
        with pytest.raises(Outage) as refused:
            await publisher.send("nowhere", b"{}")

    assert refused.value.reason == "publish_refused"


async def test_the_oldest_letters_are_looked_at_and_stay(amqp_url: str) -> None:
    handler = Recorder(lambda _, __: Permanent("no", reason="bad_copy"))
    async with consuming(amqp_url, handler) as (publisher, _):
        for name in ("a", "b", "c"):
            await publisher.send_jobs(SPEC, ORG, [job(name)])
        whole = await letters(amqp_url, 3)

    async with connect(amqp_url, "look") as connection:
        oldest = await dead.peek(connection, SPEC, limit=2)
        again = await dead.peek(connection, SPEC)

    assert [one.letter_id for one in oldest] == [one.letter_id for one in whole[:2]]
    assert {one.letter_id for one in again} == {one.letter_id for one in whole}  # the broker puts them back its own way
