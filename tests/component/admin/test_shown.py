"""What emails showed, counted by quarter hours: the same as plain SQL over all facts, whatever came in which order."""

import asyncio
import random
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.ingest.counting.shown import SETTLE, Pace, StoredShownCounts
from shared.admin.outcomes import number as operations_number
from shared.admin.outcomes import shown_store
from shared.admin.outcomes.shown_spans import QUARTER, span_start
from shared.admin.person import person as operations_person
from shared.schemas.ids import generation_day
from tests.component.admin.rig import START, Rig
from tests.component.admin.shown import (
    AT_ONCE,
    INSERT_TEMPLATE,
    assert_exact,
    assert_examples,
    count,
)
from tests.support.operations import INSERT_SEND, Facts
from tests.support.waiting import eventually

PEOPLE, TEMPLATES = ("01A", "01B", "01C"), ("welcome", "winback")
DECISIONS = (
    ("treatment", "explore"), ("treatment", "explore"), ("treatment", "uniform"), ("control", "control_split"),
    ("control", "field_missing"), ("control", "unknown_template"), ("preview", "preview"),
    ("written_preview", "preview"),
)  # fmt: skip
ENDINGS = (
    ("written", None), ("written", None), ("written", "answered_late"), ("expired", "quota"), ("expired", "quota"),
    ("rejected", "profile_not_found"), ("rejected", "profile_id_invalid"), ("superseded", None), ("superseded", None),
    ("stopped", None),
    ("cleared", None), ("nothing_to_clear", None),
)  # fmt: skip
INSERT_GENERATION = """
    INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, deadline_at,
        clean_at, decision, reason, property_prefix, written_for)
    VALUES ($1, $2, $3, $4, $5, 't', $6, $7, $8, $9, $10, 'jai', $4)
"""
INSERT_OUTCOME = "INSERT INTO write_outcomes VALUES ($1, $2, $3, $4, $5, $6, 1) ON CONFLICT DO NOTHING"
SELECT_WAITING = """
    SELECT FROM pg_locks WHERE NOT granted AND relation = 'shown_counts'::regclass
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
MOVE_SEND = """
    UPDATE sends SET sent_at = $3, day = ($3::timestamptz AT TIME ZONE 'UTC')::date, generation_id = $4,
        generation_day = $5
    WHERE org_id = $1 AND transmission_id = $2
"""


class History:
    """Facts of an org that come in any order, the clock going on meanwhile."""

    def __init__(self, rig: Rig, chance: random.Random) -> None:
        self.rig, self.chance = rig, chance
        self.open: list[tuple[Any, ...]] = []  # (day, id, person, accepted_at) without an outcome
        self.made: list[tuple[Any, ...]] = []
        self.sends: list[tuple[str, str]] = []  # (transmission, person)

    async def step(self) -> None:
        [act] = self.chance.choices(
            (self.webhooks, self.outcomes, self.send, self.move_send, self.wait, self.delete), (6, 6, 4, 2, 2, 0.3)
        )
        await act()

    async def webhooks(self) -> None:
        """Some come late by minutes, some by a day."""
        for _ in range(self.chance.randint(1, 4)):
            late_s = self.chance.choice((1, 60, 1200, 8000, 90_000)) * self.chance.random()
            at = self.rig.clock.at - timedelta(seconds=late_s)
            one = (generation_day(at), uuid4(), self.chance.choice(PEOPLE), at)
            deadline = at + timedelta(seconds=self.chance.choice((120, 3600)))
            decision, decided = self.chance.choice(DECISIONS)
            await self.run("SELECT ensure_partition('generations', $1)", one[0])
            await self.run(
                INSERT_GENERATION, one[0], one[1], self.rig.org_id, self.chance.choice(TEMPLATES), one[2], at, deadline,
                deadline + timedelta(seconds=self.chance.choice((0, 7200, 90_000))), decision, decided,
            )  # fmt: skip
            self.made.append(one)
            if decided != "unknown_template" and decision != "preview":
                self.open.append(one)

    async def outcomes(self) -> None:
        self.chance.shuffle(self.open)
        for _ in range(min(len(self.open), self.chance.randint(1, 4))):
            day, generation_id, _, at = self.open.pop()
            await self.run("SELECT ensure_partition('write_outcomes', $1)", day)
            ended_at = at + timedelta(seconds=300 * self.chance.random())
            outcome = self.chance.choice(ENDINGS)
            await self.run(INSERT_OUTCOME, day, generation_id, self.rig.org_id, *outcome, ended_at)

    async def send(self) -> None:
        if self.made:
            day, generation_id, person, at = self.chance.choice(self.made)
            sent_at = at + timedelta(seconds=self.chance.choice((400, 4000)) * self.chance.random())
            transmission = str(uuid4())
            await self.run(
                INSERT_SEND.replace("'T' || $2::uuid", "$8"), self.rig.org_id, generation_id, person, sent_at,
                sent_at.date(), day, TEMPLATES[0], transmission,
            )  # fmt: skip
            self.sends.append((transmission, person))

    async def move_send(self) -> None:
        """To another moment, and perhaps another generation of the person, or none."""
        if not self.sends:
            return
        transmission, person = self.chance.choice(self.sends)
        found = [one for one in self.made if one[2] == person]
        if found and self.chance.random() < 0.8:
            day, generation_id, _, at = self.chance.choice(found)
            sent_at = at + timedelta(seconds=400 * self.chance.random())
            await self.run(MOVE_SEND, self.rig.org_id, transmission, sent_at, generation_id, day)
        else:
            await self.run(MOVE_SEND, self.rig.org_id, transmission, self.rig.clock.at, None, None)

    async def wait(self) -> None:
        self.rig.clock.at += timedelta(seconds=self.chance.choice((30, 600, 7000)) * self.chance.random())

    async def delete(self) -> None:
        person = self.chance.choice(PEOPLE)
        await self.rig.run(operations_person.delete, {"user_id": person})
        self.made = [one for one in self.made if one[2] != person]
        self.open = [one for one in self.open if one[2] != person]
        self.sends = [one for one in self.sends if one[1] != person]

    async def run(self, sql: str, *arguments: object) -> None:
        async with self.rig.database.transaction() as connection:
            await connection.execute(sql, *arguments)


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_comes_in_any_order_counted_or_not_the_answer_is_that_of_plain_sql(
    acme: Rig, counts: StoredShownCounts, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(shown_store, "LAG", timedelta(seconds=-1))  # what is behind is read from the facts
    await acme.rows(INSERT_TEMPLATE, acme.org_id, TEMPLATES[0], 3600, START)
    chance = random.Random(seed)
    history = History(acme, chance)

    for _ in range(60):
        for _ in range(chance.randint(1, 3)):
            await history.step()
        if chance.random() < 0.4:
            await count(acme, counts, chance.choice((0, 1, 2, 1000)))
        await assert_exact(acme, chance.choice((0.2, 1, 5, 26, 24 * 7)))
    await assert_examples(acme, chance.choice((1, 26, 24 * 7)))


@pytest.mark.parametrize("seed", range(100, 104))
async def test_once_all_is_counted_nothing_is_read_from_the_facts(
    acme: Rig, counts: StoredShownCounts, seed: int
) -> None:
    await acme.rows(INSERT_TEMPLATE, acme.org_id, TEMPLATES[0], 3600, START)
    history = History(acme, random.Random(seed))

    for _ in range(5):
        for _ in range(20):
            await history.step()
        await count(acme, counts)
        async with acme.database.transaction(acme.org_id) as connection:
            reading = await shown_store.reading_of(connection, acme.org_id, 24 * 7, acme.clock.at)
        assert (reading.parts.live, reading.as_of) == ([], None)
        await assert_exact(acme, 24 * 7)
    await assert_examples(acme, 24 * 7)


async def test_emails_that_showed_older_copy_are_counted_by_org_for_whoever_is_woken(
    acme: Rig, counts: StoredShownCounts, facts: Facts
) -> None:
    await facts.generation("01STALE", ago_s=5400)
    await facts.generation("01STALE", ago_s=1800, outcome="expired", reason="quota")
    await facts.generation("01CONTROL", ago_s=1800, outcome="expired", reason="quota")
    assert await counts.stale_since(START - timedelta(days=1)) == {}  # nothing is counted yet
    await counts.take_marks(acme.clock.at)
    raised_at = await counts.uncounted_since(START - timedelta(days=1))

    await count(acme, counts)

    assert await counts.stale_since(START - timedelta(days=1)) == {("acme",): 1}
    assert await counts.stale_since(START + timedelta(hours=1)) == {}
    assert raised_at == START
    assert await counts.uncounted_since(START - timedelta(days=1)) is None
    assert await counts.uncounted_since(START + timedelta(hours=1)) is None


async def quarters(rig: Rig, condition: str) -> list[datetime]:
    return [row["at"] for row in await rig.rows(f"SELECT at FROM shown_quarters WHERE {condition} ORDER BY at")]


async def right(rig: Rig) -> tuple[int, datetime | None]:
    number = await rig.run(operations_number.number, {"hours": 24}, "viewer")
    return number.right, number.as_of


async def test_webhooks_in_time_have_no_quarter_counted_anew_whose_emails_are_still_to_come(
    acme: Rig, counts: StoredShownCounts, facts: Facts
) -> None:
    await facts.generation("01LONG", ago_s=7200, delay_s=86_400, clean_s=90_000)
    await facts.generation("01LEFT", ago_s=7200)
    await count(acme, counts)

    await facts.generation("01LONG", ago_s=60, template_id="winback")
    await counts.take_marks(acme.clock.at)

    assert await quarters(acme, "counted < revision") == [span_start(START - timedelta(seconds=60), QUARTER)]


async def test_opens_and_clicks_have_nothing_counted_anew(acme: Rig, counts: StoredShownCounts, facts: Facts) -> None:
    await facts.generation(sent_s=130)
    await count(acme, counts)

    await facts.execute("UPDATE sends SET human_opens = human_opens + 1, first_open_at = sent_at")
    assert await acme.rows("SELECT * FROM shown_marks") == []

    await facts.execute("UPDATE sends SET sent_at = sent_at - interval '129 seconds'")
    await counts.take_marks(acme.clock.at)
    assert await quarters(acme, "counted < revision") == [span_start(START - timedelta(minutes=10), QUARTER)]


async def test_an_outcome_raises_the_quarters_that_wait_for_one_of_its_day(
    acme: Rig, counts: StoredShownCounts, facts: Facts
) -> None:
    await facts.generation("01OTHER", ago_s=86_400, outcome=None)
    await facts.generation("01ENDED", ago_s=7200)
    waiting = await facts.generation("01WAITS", ago_s=3600, outcome=None)
    await count(acme, counts)

    await facts.execute(INSERT_OUTCOME, START.date(), waiting, acme.org_id, "written", None, START)
    await counts.take_marks(acme.clock.at)

    assert await quarters(acme, "counted < revision") == [START - timedelta(hours=1)]


async def test_a_deadline_that_passes_has_its_quarter_counted_anew(
    acme: Rig, counts: StoredShownCounts, facts: Facts
) -> None:
    await facts.generation(ago_s=60, outcome=None)
    await count(acme, counts)
    assert await count(acme, counts) == 0

    acme.clock.at += timedelta(seconds=60)

    assert await count(acme, counts) == 1
    number = await acme.run(operations_number.number, {"hours": 1})
    assert (number.pending, [one.because for one in number.rows]) == (0, ["not_settled"])


async def test_counts_that_are_behind_say_since_when_and_are_not_used_for_long(
    acme: Rig, counts: StoredShownCounts, facts: Facts
) -> None:
    await facts.generation("01A", ago_s=3600)
    await count(acme, counts)
    counted_at = acme.clock.at
    acme.clock.at += timedelta(minutes=1)

    await facts.generation("01B", ago_s=3600)
    right_now, as_of = await right(acme)
    assert (right_now, as_of is not None and counted_at - timedelta(seconds=1) < as_of <= counted_at) == (1, True)

    await counts.take_marks(acme.clock.at)
    assert (await right(acme))[0] == 1
    acme.clock.at += shown_store.LAG
    assert await right(acme) == (2, None)  # nobody has counted it meanwhile: the facts are read


async def test_a_quarter_is_not_counted_more_often_than_it_may_be(acme: Rig, facts: Facts) -> None:
    pace = Pace(timedelta(seconds=5), timedelta(seconds=60), timedelta(seconds=300), timedelta(hours=1))
    counts = StoredShownCounts(acme.database, uuid4, pace)
    young, older = 600.0, 3 * 3600.0
    for ago_s in (young, older):
        await facts.generation("01A", ago_s=ago_s)
    assert await count(acme, counts) == 2
    for ago_s in (young, older):
        await facts.generation("01B", ago_s=ago_s)

    counted = []
    for _ in range(6):
        acme.clock.at += timedelta(seconds=61)
        counted.append(await count(acme, counts))

    assert counted == [1, 0, 0, 0, 1, 0]


async def test_a_count_whose_claim_was_lost_is_not_stored(
    acme: Rig, counts: StoredShownCounts, facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await facts.generation()
    await counts.take_marks(START)
    monkeypatch.setattr("services.ingest.counting.shown.SETTLE", f"{SETTLE} AND false")

    assert await counts.count_quarter(START) is True

    monkeypatch.undo()
    assert await acme.rows("SELECT * FROM shown_counts") == []
    assert await counts.count_quarter(START) is False  # somebody has it
    acme.clock.at += AT_ONCE.lease + timedelta(seconds=1)
    assert await count(acme, counts) == 1


async def test_what_comes_while_a_quarter_is_counted_has_it_counted_once_more(
    acme: Rig, counts: StoredShownCounts, facts: Facts
) -> None:
    await facts.generation("01A")
    await counts.take_marks(START)
    async with acme.database.transaction() as connection:  # claimed before, committed after the facts were read
        await connection.execute("LOCK TABLE shown_counts IN EXCLUSIVE MODE")
        counting = asyncio.create_task(counts.count_quarter(START))
        await eventually(lambda: waits_for_lock(acme))
        await facts.generation("01B")
        replica = StoredShownCounts(acme.database, uuid4, AT_ONCE)
        await replica.take_marks(START)
    await counting

    assert await quarters(acme, "counted < revision") == [span_start(START - timedelta(minutes=10), QUARTER)]
    assert await count(acme, counts) == 1
    assert await right(acme) == (2, None)


async def waits_for_lock(rig: Rig) -> bool:
    return bool(await rig.rows(SELECT_WAITING))


async def test_replicas_count_different_quarters_of_a_day_and_none_is_lost(acme: Rig, facts: Facts) -> None:
    replicas = [StoredShownCounts(acme.database, uuid4, AT_ONCE) for _ in range(3)]
    for number in range(24):
        await facts.generation(f"01P{number}", ago_s=number * 1800 + 60)

    async def work(counts: StoredShownCounts) -> None:
        await counts.take_marks(acme.clock.at)
        while await counts.count_quarter(acme.clock.at):
            pass

    await asyncio.gather(*map(work, replicas))
    await count(acme, replicas[0])

    assert await right(acme) == (24, None)
    await assert_exact(acme, 24 * 7)


async def test_an_org_sees_its_own_counts_alone(acme: Rig, counts: StoredShownCounts, facts: Facts) -> None:
    other = await acme.other()
    await facts.generation()
    await count(acme, counts)

    assert await right(other) == (0, None)
