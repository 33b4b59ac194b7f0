"""The handler on its own: repeated requests, neighbours of a failing job, and what is published when."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.generator.catalog import Catalog, OrgConfig, Template
from services.generator.handler import Generator, sort_out
from services.generator.records import Alias, Found, Generation, Person, Stored
from services.generator.render import Renderer
from services.generator.select import TOO_MANY_ATTRS, Snapshot
from shared.clock import FrozenClock
from shared.errors import Conflict, Outage, Permanent, Transient
from shared.schemas.copy import VariantSource, Vars
from shared.schemas.ids import window_start
from shared.schemas.jobs import Attrs, Fields, GenerateJob, Preview, WriteJob
from tests.unit.generator.given import COPIES, ORG, TEN, config, job, source, template

EDGE = window_start(TEN) + timedelta(hours=1)


class Memory:
    """Records in memory; the real ones are tested against PostgreSQL."""

    def __init__(self) -> None:
        self.generations: dict[UUID, Generation] = {}
        self.aliases: dict[UUID, Alias] = {}
        self.snapshots: list[UUID] = []
        self.overtaken_by: list[Generation] = []
        self.asked_for: list[Person] = []
        self.served = config(template(source(body="<p>{{ name | default: 'there' }}</p>")))

    async def load_orgs(self, org_ids: Sequence[UUID]) -> Mapping[UUID, OrgConfig]:
        return {ORG: self.served}

    async def find(self, days: Sequence[date], generation_ids: Sequence[UUID], people: Sequence[Person] = ()) -> Found:
        found = {}
        for asked in generation_ids:
            named = self.aliases[asked].generation_id if asked in self.aliases else asked
            if (one := self.generations.get(named)) is not None and one.day in days:
                found[asked] = Stored(
                    one.generation_id, one.day, one.accepted_at, one.write, one.template_id, one.copy_id,
                    one.variant_version,
                )  # fmt: skip
        self.asked_for += people
        got = {
            Person(one.org_id, one.template_id, one.user_id): one.copy_id
            for one in sorted(self.generations.values(), key=lambda one: one.accepted_at)
            if one.copy_id is not None
        }
        return Found(found, {person: got[person] for person in people if person in got})

    async def insert_generations_once(self, generations: Sequence[Generation]) -> set[UUID]:
        for other in self.overtaken_by:
            self.generations[other.generation_id] = other
        new = {one.generation_id: one for one in generations if one.generation_id not in self.generations}
        self.generations.update(new)
        return set(new)

    async def insert_aliases_once(self, aliases: Sequence[Alias]) -> None:
        self.aliases.update({one.alias_id: one for one in aliases})

    async def insert_uniform_once(self, org_id: UUID, template_id: str, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot.snapshot_id)


class Fragile(Renderer):
    """Meets something nobody foresaw in one person's fields."""

    def render(self, source: VariantSource, fields: Fields) -> Vars:
        if fields.get("name") == "poison":
            raise ZeroDivisionError
        return super().render(source, fields)


def generator(memory: Memory, published: list[WriteJob]) -> Generator:
    async def publish(writes: Sequence[WriteJob]) -> None:
        published.extend(writes)

    return Generator(memory, Catalog(memory, FrozenClock(), max_bytes=100_000), Fragile(), publish)


def again(one: GenerateJob, later: timedelta) -> GenerateJob:
    """The same webhook, accepted once more within its window."""
    return one.model_copy(update={"accepted_at": one.accepted_at + later})


def stored(one: GenerateJob, accepted_at: datetime | None = None) -> Stored:
    return Stored(one.generation_id, one.day, accepted_at or one.accepted_at, None)


async def test_a_batch_is_stored_once_and_its_writes_are_published() -> None:
    memory, published = Memory(), list[WriteJob]()
    jobs = [job(user_id=f"USER0{number}") for number in range(3)]

    outcomes = await generator(memory, published)(jobs)

    assert list(outcomes) == [None] * 3
    assert set(memory.generations) == {one.generation_id for one in jobs}
    assert [write.profile_id for write in published] == ["USER00", "USER01", "USER02"]
    assert len(memory.snapshots) == 1


async def test_a_repeated_delivery_changes_nothing_and_publishes_what_is_stored_again() -> None:
    memory, published = Memory(), list[WriteJob]()
    handle = generator(memory, published)
    one = job()
    await handle([one])
    before = dict(memory.generations)

    assert list(await handle([one, one])) == [None, None]

    assert memory.generations == before
    assert published[0] == published[1]
    assert len(published) == 2


async def test_a_webhook_accepted_again_later_asks_for_the_same_copy_until_its_own_email() -> None:
    memory, published = Memory(), list[WriteJob]()
    handle = generator(memory, published)
    one, wait = job(), timedelta(minutes=5)
    await handle([one])

    await handle([again(one, wait)])

    first, second = published
    assert len(memory.generations) == 1
    assert second.generation_id == first.generation_id
    assert second.deadline_at - first.deadline_at == second.accepted_at - first.accepted_at == wait


@pytest.mark.parametrize(
    ("meanwhile", "action"),
    [
        (template(source(), source(COPIES[1])), "write"),
        (template(source(), stopped=True), "write"),  # the profile writer's to end
        (template(source(COPIES[1])), "clear"),
        (template(replace(source(), version=2)), "clear"),
        (template(state="archived"), "clear"),
        (template(source(), state="archived"), "clear"),
        (None, "clear"),
    ],
)
async def test_copy_that_was_withdrawn_is_not_written_for_a_later_email(
    meanwhile: Template | None, action: str
) -> None:
    memory, published = Memory(), list[WriteJob]()
    memory.served = config(template(source()))
    handle = generator(memory, published)
    one = job()
    await handle([one])
    memory.served = config(*filter(None, [meanwhile]))

    await handle([one])
    await handle([again(one, timedelta(minutes=35))])

    first, delivered_again, later = published
    assert delivered_again == first
    assert (first.action, later.action) == ("write", action)
    assert later.generation_id == first.generation_id
    assert later.deadline_at - first.deadline_at == later.accepted_at - first.accepted_at == timedelta(minutes=35)


async def test_who_was_overtaken_publishes_what_the_faster_one_stored() -> None:
    memory, published = Memory(), list[WriteJob]()
    one = job()
    await generator(memory, [])([one])
    faster = memory.generations.pop(one.generation_id)
    memory.overtaken_by = [faster]

    await generator(memory, published)([one])

    assert published == [faster.write]


async def test_a_faster_replica_with_the_earlier_webhook_does_not_cost_the_later_email_its_copy() -> None:
    memory, published = Memory(), list[WriteJob]()
    one = job()
    await generator(memory, [])([one])
    faster = memory.generations.pop(one.generation_id)
    memory.overtaken_by = [faster]
    wait = timedelta(minutes=6)

    await generator(memory, published)([again(one, wait)])

    [write] = published
    assert faster.write is not None
    assert (write.generation_id, write.action) == (one.generation_id, "write")
    assert write.accepted_at - one.accepted_at == write.deadline_at - faster.write.deadline_at == wait


@pytest.mark.parametrize("overtaken", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3,), (2, 1), (1, 2)])
async def test_a_webhook_repeated_behind_another_one_is_the_newest_in_whatever_batches_they_come(
    sizes: tuple[int, ...], overtaken: bool
) -> None:
    memory, published = Memory(), list[WriteJob]()
    first, other = job(TEN, b'{"a":1}'), job(TEN + timedelta(minutes=3), b'{"a":2}')
    jobs = iter([first, other, again(first, timedelta(minutes=6))])
    handle = generator(memory, published)
    if overtaken:
        await generator(memory, [])([first])
        memory.overtaken_by = [memory.generations.pop(first.generation_id)]

    for size in sizes:
        assert not any(await handle([next(jobs) for _ in range(size)]))

    newest = max(published, key=lambda write: write.accepted_at)
    earliest = min(published, key=lambda write: write.accepted_at)
    assert {one.generation_id for one in published} == set(memory.generations)
    assert newest.generation_id == earliest.generation_id == first.generation_id
    assert newest.accepted_at - first.accepted_at == timedelta(minutes=6)
    assert newest.deadline_at - earliest.deadline_at == timedelta(minutes=6)


async def test_a_batch_that_holds_one_webhook_twice_asks_for_its_write_once() -> None:
    memory, published = Memory(), list[WriteJob]()
    shown = job(user_id="LOOKS1", preview=Preview())

    await generator(memory, published)([job(), job(), shown, again(shown, timedelta(minutes=6))])

    assert len(memory.generations) == 2
    assert [write.accepted_at for write in published] == [TEN]


async def test_a_job_that_nobody_foresaw_and_one_that_cannot_be_stored_do_not_stop_their_neighbours() -> None:
    memory, published = Memory(), list[WriteJob]()
    jobs = [job(user_id="GOOD01"), job(fields={"name": "poison"}), job(user_id="BAD\x00"), job(user_id="GOOD02")]

    outcomes = await generator(memory, published)(jobs)

    assert outcomes[0] is None
    assert isinstance(outcomes[1], ZeroDivisionError)
    assert isinstance(outcomes[2], Permanent)
    assert outcomes[2].reason == "unusable_user_id"
    assert outcomes[3] is None
    assert [write.profile_id for write in published] == ["GOOD01", "GOOD02"]


async def test_an_outage_while_publishing_is_healed_by_the_repeated_batch() -> None:
    memory, published = Memory(), list[WriteJob]()

    async def refuse(writes: Sequence[WriteJob]) -> None:
        raise Outage("the broker is out of reach")

    broken = Generator(memory, Catalog(memory, FrozenClock(), max_bytes=100_000), Renderer(), refuse)
    with pytest.raises(Outage):
        await broken([job()])
    await generator(memory, published)([job()])

    assert len(memory.generations) == len(published) == 1


@pytest.mark.parametrize("kind", [Transient, Conflict])  # a lock that is held, a deadlock
async def test_a_conflict_in_the_database_spends_no_attempt_of_a_job(kind: type[Transient]) -> None:
    class Locked(Memory):
        conflicts = 2

        async def insert_generations_once(self, generations: Sequence[Generation]) -> set[UUID]:
            if self.conflicts:
                self.conflicts -= 1
                raise kind("the database asks to try again", reason="database_conflict")
            return await super().insert_generations_once(generations)

    memory, published = Locked(), list[WriteJob]()
    handle = generator(memory, published)
    jobs = [job(), job(user_id="BAD\x00")]

    for _ in range(2):
        with pytest.raises(Outage) as outage:
            await handle(jobs)
        assert outage.value.reason == "database_conflict"
    outcomes = await handle(jobs)

    assert [type(outcome) for outcome in outcomes] == [type(None), Permanent]
    assert len(memory.generations) == len(published) == 1


@pytest.mark.parametrize("together", [True, False])
async def test_a_request_repeated_across_a_windows_edge_is_one_generation_with_an_alias(together: bool) -> None:
    memory, published = Memory(), list[WriteJob]()
    handle = generator(memory, published)
    first, later = job(EDGE - timedelta(minutes=10)), job(EDGE + timedelta(minutes=10))

    for jobs in [[later, first]] if together else [[first], [later]]:
        assert not any(await handle(jobs))

    assert set(memory.generations) == {first.generation_id}
    assert memory.aliases[later.generation_id].generation_id == first.generation_id
    assert [write.generation_id for write in published] == [first.generation_id] * 2
    assert [write.accepted_at for write in published] == [first.accepted_at, later.accepted_at]


async def test_a_repetition_across_the_edge_of_what_failed_is_not_forgotten() -> None:
    memory = Memory()
    first, later = (job(EDGE + timedelta(minutes=at), fields={"name": "poison"}) for at in (-10, 10))

    outcomes = await generator(memory, [])([first, later])

    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 2
    assert memory.aliases == {}


def case(**minutes: Any) -> list[GenerateJob]:
    return [job(EDGE + timedelta(minutes=at)) for at in minutes.values()]


def test_a_request_more_than_a_window_later_is_a_new_generation() -> None:
    first, later = case(first=-50, later=20)

    assert sort_out([later], {first.generation_id: stored(first)}).fresh == [later]


def test_an_alias_that_is_repeated_stays_an_alias_of_the_same_generation() -> None:
    first, alias, repeated = case(first=-30, alias=20, repeated=40)
    known = {first.generation_id: stored(first), alias.generation_id: stored(first)}

    in_memory = sort_out([alias, repeated], {first.generation_id: stored(first)})
    from_records = sort_out([repeated], known)

    assert (in_memory.fresh, len(in_memory.aliases)) == ([], 1)
    assert (from_records.fresh, from_records.aliases, len(from_records.again)) == ([], [], 1)


def test_another_body_is_another_request() -> None:
    first, other = job(TEN, b'{"a":1}'), job(TEN + timedelta(seconds=1), b'{"a":2}')

    assert sort_out([other], {first.generation_id: stored(first)}).fresh == [other]


async def test_a_person_never_gets_the_same_variant_twice_running_within_a_batch_or_across() -> None:
    memory = Memory()
    memory.served = config(template(*(source(copy_id) for copy_id in COPIES[:2])))
    handle = generator(memory, [])
    visits = [job(TEN + timedelta(hours=3 * number), user_id="SAME01") for number in range(12)]

    await handle(visits[:4])
    for visit in visits[4:]:
        await handle([visit])

    got = [memory.generations[visit.generation_id].copy_id for visit in visits]
    assert got == got[:2] * 6
    assert set(got) == set(COPIES[:2])


@pytest.mark.parametrize("rule", ["only one variant", "repeats allowed", "draft"])
async def test_nobody_asks_for_the_last_variant_where_it_does_not_matter(rule: str) -> None:
    memory = Memory()
    both = [source(copy_id) for copy_id in COPIES[:2]]
    memory.served = config(
        {
            "only one variant": template(both[0]),
            "repeats allowed": template(*both, avoids_repeats=False),
            "draft": template(state="draft"),
        }[rule]
    )

    await generator(memory, [])([job()])

    assert memory.asked_for == []


async def test_a_repeated_request_is_sticky_though_its_variant_is_the_last_one() -> None:
    memory, published = Memory(), list[WriteJob]()
    memory.served = config(template(*(source(copy_id) for copy_id in COPIES)))
    handle = generator(memory, published)
    await handle([job()])
    before = dict(memory.generations)

    await handle([job()])

    assert memory.generations == before
    assert len({write.generation_id for write in published}) == 1


async def test_garbage_attrs_cost_one_generation_its_ranking_and_never_its_send() -> None:
    memory, published = Memory(), list[WriteJob]()
    many = {f"attr{number}": "x" for number in range(10_000)}
    garbage: list[Attrs] = [
        {**many},
        {"a": ["x" * 1_000] * 10_000},
        {"a": "x" * 1_000_000},
        {"\u202e\x00&=": "a,&=\x00"},
    ]
    sound = job(user_id="SOUND1", attrs={"plan": "pro"})

    outcomes = await generator(memory, published)(
        [*(job(user_id=f"BAD{number:03}", attrs=attrs) for number, attrs in enumerate(garbage)), sound]
    )

    assert list(outcomes) == [None] * 5
    assert {write.action for write in published} == {"write"}
    cells = {one.user_id: one.cell for one in memory.generations.values()}
    assert cells["BAD000"] == cells["BAD001"] == TOO_MANY_ATTRS
    assert cells["BAD002"] == f"a={'x' * 64}"
    assert cells["SOUND1"] == "plan=pro"
