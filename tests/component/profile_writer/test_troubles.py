"""Klaviyo fails in all its ways at once, then always, then not at all: F11 of docs/reliability.md.

The clock runs twice as fast as ours, so that a call, which may last ten real seconds, still ends before the lease of
its turn does.
"""

import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from shared import metrics
from shared.schemas.jobs import WriteJob
from simulator.faults import Fault, FaultKind
from tests.component.profile_writer.rig import Rig, rigged, writing
from tests.support.measured import say
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(400)

FACTOR = 2.0
MIXED_S, NOTHING_S, SETTLED_AFTER_S = 120.0, 150.0, 65.0
PROBE_EVERY_S = 30.0
MOST_OF_NOTHING = 45  # calls of an account; once its rests have doubled that far, one in half a minute
WELL_WITHIN_S = 5.0  # an account beside them, 99 % of its writes
WAVE_S, COME, CROWD = 5.0, 8, 60
BEYOND_A_CALL_S = 12.0
MANY = 1_000_000

WAYS: tuple[tuple[FaultKind, int], ...] = (
    ("status", 500), ("status", 502), ("status", 503), ("status", 504), ("status", 429), ("slow", 503), ("reset", 503),
    ("slow_body", 503), ("late", 503),
)  # fmt: skip
"""Kind and status; a `slow` one lasts longer than a call may, which is a time-out, and a `late` one is applied after
it."""
ALWAYS: tuple[tuple[FaultKind, int, float], ...] = (
    ("status", 500, 1 / 5), ("status", 502, 1 / 4), ("status", 503, 1 / 3), ("status", 504, 1 / 2), ("reset", 503, 1),
)  # fmt: skip
"""One after the other, so a fifth of all calls each."""
MISSED = {("expired", "outage"), ("expired", "quota")}  # a 429 says that the quota is spent
SELECT_ENDED = "SELECT generation_id, outcome, reason FROM write_outcomes WHERE org_id = $1"

Ends = dict[str, tuple[str, str | None]]


@dataclass
class Shop:
    """One account: who came, and with which copy. `hasty` are those whose email leaves in a minute; the others have an
    hour, and come again."""

    rig: Rig
    crowd: list[str]
    hasty: list[WriteJob] = field(default_factory=list)
    patient: list[WriteJob] = field(default_factory=list)
    subjects: dict[str, str] = field(default_factory=dict)  # by generation
    ends: Ends = field(default_factory=dict)

    async def wave(self, number: int) -> None:
        again = [self.crowd[(number * COME + at) % len(self.crowd)] for at in range(COME)]
        name = f"of wave {number}"
        hasty = await self.rig.generate_many(COME, delay_s=60, name=name)
        patient = await self.rig.generate_many(again, delay_s=3600, name=name)
        self.subjects |= {str(job.generation_id): f"Hi {name}" for job in (*hasty, *patient)}
        self.hasty += hasty
        self.patient += patient
        await self.rig.send(*hasty, *patient)

    async def ended(self) -> None:
        """Return once each generation has an end."""

        async def all_ended() -> None:
            async with self.rig.db.connection() as connection:
                rows = await connection.fetch(SELECT_ENDED, self.rig.org_id)
            self.ends = {str(row["generation_id"]): (row["outcome"], row["reason"]) for row in rows}
            assert len(self.ends) == len(self.hasty) + len(self.patient)

        await eventually(all_ended, within_s=100, every_s=0.5)

    def calls(self, since: datetime, until: datetime) -> list[datetime]:
        return [patch.at for patch in self.rig.patches() if since <= patch.at < until]

    def ends_of(self, jobs: Sequence[WriteJob]) -> set[tuple[str, str | None]]:
        return {self.ends[str(job.generation_id)] for job in jobs}

    def newest(self) -> dict[str, WriteJob]:
        """The last generation of each who had an hour."""
        return {job.profile_id: job for job in self.patient}

    def wrong(self) -> list[str]:
        """The profiles with something else on them than the copy of their newest generation; of those who had but a
        minute, it may be missing."""
        due = self.newest()
        theirs = {job.profile_id: job for job in self.hasty} | due
        held = {person: self.rig.properties(person) for person in theirs}
        return [
            f"{person} holds {held[person]}"
            for person, job in theirs.items()
            if (held[person] or person in due) and not self._is(held[person], str(job.generation_id))
        ]

    def _is(self, held: dict[str, object], generation_id: str) -> bool:
        return (held.get("jai_generation"), held.get("jai_subject")) == (generation_id, self.subjects[generation_id])


@dataclass
class Story:
    """Accounts of which five of six calls fail, or one of five, and one beside them that is well; since when nothing is
    answered any more, and until when; how often each way to fail struck."""

    heavy: list[Shop]
    light: list[Shop]
    well: Shop
    nothing_at: datetime
    healed_at: datetime
    struck: dict[str, int]

    @property
    def ill(self) -> list[Shop]:
        return [*self.heavy, *self.light]

    def calls(self, after_s: float = 0) -> list[list[datetime]]:
        """Of each ill account, while nothing was answered."""
        return [shop.calls(self.nothing_at + timedelta(seconds=after_s), self.healed_at) for shop in self.ill]


@pytest.mark.long
async def test_after_all_of_klaviyos_troubles_and_minutes_of_nothing_else_all_is_written_that_has_time(
    database_url: str, amqp_url: str
) -> None:
    missed_before = _missed()
    async with rigged(database_url, amqp_url, factor=FACTOR) as rig:
        story = await _played(rig)

    ill, well, settled = story.ill, story.well, story.calls(SETTLED_AFTER_S)
    gaps_s = [(later - earlier).total_seconds() for calls in settled for earlier, later in pairwise(calls)]
    expired = [sum(outcome == "expired" for outcome, _ in shop.ends.values()) for shop in ill]
    say(struck=story.struck, calls_of_nothing=[len(calls) for calls in story.calls()], expired=expired,
        settled=[len(calls) for calls in settled], least_gap_s=round(min(gaps_s), 1),
        generations=sum(len(shop.ends) for shop in ill), well_p99_s=_p99_s(well))  # fmt: skip
    assert min(story.struck.values()) > 0
    for shop in ill:
        assert shop.ends_of(list(shop.newest().values())) == {("written", None)}
        assert shop.ends_of(shop.patient) <= {("written", None), ("superseded", None), ("superseded", "unconfirmed")}
        assert shop.ends_of(shop.hasty) <= {("written", None), ("written", "answered_late"), *MISSED}
    assert [shop.wrong() for shop in [*ill, well]] == [[]] * (len(ill) + 1)
    assert _missed() - missed_before == sum(expired) > 0
    assert max(len(calls) for calls in story.calls()) <= MOST_OF_NOTHING
    assert min(gaps_s) >= PROBE_EVERY_S
    assert well.ends_of([*well.hasty, *well.patient]) == {("written", None)}
    assert _p99_s(well) <= WELL_WITHIN_S


async def _played(rig: Rig) -> Story:
    """Two minutes of all troubles at once, minutes of nothing but trouble, and then until each generation has ended."""
    heavy, light = await _shops(rig, "heavy", 3), await _shops(rig, "light", 3)
    [well], ill, faults = await _shops(rig, "well", 1), [*heavy, *light], rig.box.world.faults
    async with writing(rig):
        faults[:] = mixed = [*_mixed(heavy, 0.2), *_mixed(light, 0.03)]
        await _come(rig, [*ill, well], 0, MIXED_S)
        faults[:], nothing_at = _always(ill), rig.clock.now()
        await _come(rig, [*ill, well], int(MIXED_S / WAVE_S), NOTHING_S)
        faults.clear()
        healed_at = rig.clock.now()
        for shop in [*ill, well]:
            await shop.ended()
    struck: Counter[str] = Counter()
    for one in mixed:
        struck[f"{one.kind} {one.status}" if one.kind == "status" else one.kind] += MANY - (one.count or 0)
    return Story(heavy, light, well, nothing_at, healed_at, dict(struck))


async def _shops(rig: Rig, name: str, count: int) -> list[Shop]:
    rigs = [await rig.neighbour(f"{name}-{number}") for number in range(count)]
    return [Shop(one, one.people(CROWD)) for one in rigs]


def _mixed(shops: Sequence[Shop], share: float) -> list[Fault]:
    """Each way strikes this share of the calls that came past the ways before it."""
    return [
        Fault(kind=kind, status=status, operation="update_profile", account_id=shop.rig.account.id,
              probability=share, delay_s=BEYOND_A_CALL_S, count=MANY)
        for shop in shops for kind, status in WAYS
    ]  # fmt: skip


def _always(shops: Sequence[Shop]) -> list[Fault]:
    return [
        Fault(kind=kind, status=status, operation="update_profile", account_id=shop.rig.account.id, probability=share)
        for shop in shops
        for kind, status, share in ALWAYS
    ]


async def _come(rig: Rig, shops: Sequence[Shop], first: int, seconds: float) -> None:
    """People come to all shops, wave after wave, for so long."""
    began = rig.clock.now()
    for number in range(int(seconds / WAVE_S)):
        for shop in shops:
            await shop.wave(first + number)
        await rig.clock.sleep((number + 1) * WAVE_S - (rig.clock.now() - began).total_seconds())


def _missed() -> float:
    """How many writes were counted as missed, because of an outage or of the quota."""
    metrics.exposition()  # what was counted of a new counter is told the next time
    told = metrics.exposition().decode()
    return sum(map(float, re.findall(r'^jai_write_missed_total{reason="(?:outage|quota)"} (\S+)$', told, re.MULTILINE)))


def _p99_s(shop: Shop) -> float:
    """From acceptance to the profile, of all that came to this shop; the clock's seconds."""
    took_at = shop.rig.account.first_written_at
    waits_s = [
        (took_at[str(job.generation_id)] - job.accepted_at).total_seconds() for job in (*shop.hasty, *shop.patient)
    ]
    return round(statistics.quantiles(waits_s, n=100)[98], 2)
