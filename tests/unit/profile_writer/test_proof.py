"""Whether two operations share one counter, found out against a model of both worlds, with other apps in each."""

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.profile_writer.quota.phase import MINUTE_S, Phase, phase_seen
from services.profile_writer.quota.proof import (
    EVIDENCE_LEAST,
    NOTHING_PROVED,
    Look,
    Proof,
    Reading,
    Verdict,
    looked,
    vote,
)
from services.profile_writer.rows import Road
from tests.unit.profile_writer.given import NOW, seconds

TURN_WRITES, SPACING_S, IN_FLIGHT = 25, 0.02, 10
MINUTE_MOST = 700
Pattern = Literal["steady", "one by one", "bursts"]


def moment(elapsed_s: float) -> datetime:
    return NOW + timedelta(seconds=elapsed_s)


def arrivals(pattern: Pattern, per_s: float, burst: int, until_s: float, chance: Random) -> list[float]:
    """When another app's calls come, latest first."""
    at_s, found = 0.0, []
    size = burst if pattern == "bursts" else 1
    while per_s > 0 and at_s < until_s:
        at_s += size / per_s if pattern == "steady" else chance.expovariate(per_s / size)
        found += [at_s] * size
    return found[::-1]


@dataclass
class Klaviyo:
    """One counter a minute for both operations, or one for each; requests are counted in the order of their arrival."""

    one_counter: bool
    phase_s: float
    others: dict[Road, list[float]] = field(repr=False)
    noise: int
    chance: Random
    used: Counter[tuple[str, int]] = field(default_factory=Counter)

    def minute(self, at_s: float) -> int:
        return math.floor((NOW.timestamp() + at_s - self.phase_s) / MINUTE_S)

    def reset_s(self, at_s: float) -> int:
        return math.ceil((self.minute(at_s) + 1) * MINUTE_S + self.phase_s - NOW.timestamp() - at_s)

    def count(self, road: Road, at_s: float) -> int:
        """One of ours; what the answer says is used, which is nearly right."""
        for theirs, moments in self.others.items():
            while moments and moments[-1] <= at_s:
                self._book(theirs, moments.pop())
        return max(0, self._book(road, at_s) + self.chance.randint(-self.noise, self.noise))

    def _book(self, road: Road, at_s: float) -> int:
        key = ("both" if self.one_counter else road, self.minute(at_s))
        self.used[key] += 1
        return self.used[key]


@dataclass
class Account:
    """An account under load: turn after turn, each minute's limit spent as early as possible."""

    klaviyo: Klaviyo
    latency_s: float
    proof: Proof = NOTHING_PROVED
    now_s: float = 0.0
    phase: Phase | None = None
    minutes: Counter[int] = field(default_factory=Counter)  # our PATCH
    imports: Counter[int] = field(default_factory=Counter)
    looks: int = 0

    def turn(self) -> None:
        minute = self.klaviyo.minute(self.now_s)
        if self.minutes[minute] + TURN_WRITES > MINUTE_MOST:
            self.now_s += self.klaviyo.reset_s(self.now_s)
            return
        now, ours = moment(self.now_s), 0
        plan: list[Road] = ["patch"] * TURN_WRITES
        if self.proof.carries:
            plan, ours = ["patch", "import"] * TURN_WRITES, self.minutes[minute] + self.imports[minute]
        elif self.minutes[minute] >= EVIDENCE_LEAST and self.proof.wants_look(now):
            plan[TURN_WRITES // 2] = "import"
            self.proof, self.looks = self.proof.looking(now), self.looks + 1
        readings = self._send(plan)
        self.minutes[minute] += plan.count("patch")
        self.imports[minute] += plan.count("import")
        if self.phase is not None:
            look = looked(readings["import"], readings["patch"], self.phase, now, ours)
            self.proof = self.proof.after(vote(look), moment(self.now_s)) if look else self.proof

    def _send(self, plan: list[Road]) -> dict[Road, list[Reading]]:
        sent: dict[int, tuple[float, float, float]] = {}
        ways = [[n for n, road in enumerate(plan) if road == way] for way in ("patch", "import")]
        for way in ways if self.proof.carries else [list(range(len(plan)))]:
            for place, number in enumerate(way):
                leaves_s = self.now_s if place == 0 else sent[way[place - 1]][0] + SPACING_S
                if place >= IN_FLIGHT:
                    leaves_s = max(leaves_s, sorted(sent[n][2] for n in way[:place])[place - IN_FLIGHT])
                arrives_s = leaves_s + self.latency_s * self.klaviyo.chance.random()
                sent[number] = (leaves_s, arrives_s, arrives_s + self.latency_s * self.klaviyo.chance.random())
        readings: dict[Road, list[Reading]] = {"patch": [], "import": []}
        for number, (leaves_s, arrives_s, answered_s) in sorted(sent.items(), key=lambda item: item[1][1]):
            used = self.klaviyo.count(plan[number], arrives_s)
            readings[plan[number]].append(Reading(moment(leaves_s), moment(answered_s), used))
            seen = phase_seen(self.klaviyo.reset_s(arrives_s), moment(leaves_s), moment(answered_s))
            self.phase = seen if self.phase is None else self.phase.narrowed(seen)
        self.now_s = max(answered_s for _, _, answered_s in sent.values()) + 0.02
        return readings

    def load(self, until_s: float) -> set[Verdict | None]:
        """Every verdict there was."""
        verdicts: set[Verdict | None] = set()
        while self.now_s < until_s:
            self.turn()
            verdicts.add(self.proof.verdict)
        return verdicts


@st.composite
def accounts(draw: st.DrawFn, *, one_counter: bool, imports_of_others: bool = True) -> Account:
    """With other apps that spend up to the whole quota of either operation."""
    chance = Random(draw(st.integers(0, 2**32)))
    others: dict[Road, list[float]] = {}
    for road in ("patch", "import") if imports_of_others else ("patch",):
        pattern: Pattern = draw(st.sampled_from(("steady", "one by one", "bursts")))
        per_s, burst = draw(st.just(0.0) | st.floats(0.1, 12)), draw(st.integers(2, 200))
        others[road] = arrivals(pattern, per_s, burst, 200, chance)
    klaviyo = Klaviyo(one_counter, draw(st.floats(0, 59.9)), others, draw(st.integers(0, 3)), chance)
    return Account(klaviyo, draw(st.floats(0.001, 0.4)))


@settings(max_examples=60, deadline=None)
@given(accounts(one_counter=True))
def test_one_counter_is_never_taken_for_two_whatever_others_spend(account: Account) -> None:
    assert "separate" not in account.load(180)


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(accounts(one_counter=False))
def test_two_counters_are_never_taken_for_one_whatever_others_spend(account: Account) -> None:
    assert "shared" not in account.load(180)


@settings(max_examples=30, deadline=None)
@given(accounts(one_counter=False, imports_of_others=False))
def test_two_counters_are_told_after_three_looks_within_a_minute_of_load(account: Account) -> None:
    account.load(70)

    assert account.proof.verdict == "separate"
    assert account.looks <= 4  # one may have been too near the minute's edge


@pytest.mark.parametrize("latency_s", [0.005, 0.1, 0.3])
@pytest.mark.parametrize("per_s", [0.0, 5.0])
def test_one_counter_is_told_after_a_few_looks_and_looked_at_again_after_a_day(latency_s: float, per_s: float) -> None:
    chance = Random(1)
    others: dict[Road, list[float]] = {"import": arrivals("one by one", per_s, 1, 200, chance)}
    account = Account(Klaviyo(True, 17.0, others, 0, chance), latency_s)

    account.load(130)

    assert account.proof.verdict == "shared"
    assert account.looks <= 20
    assert account.proof.since is not None
    assert not account.proof.wants_look(account.proof.since + timedelta(hours=23))
    assert account.proof.wants_look(account.proof.since + timedelta(hours=25))


@settings(max_examples=30, deadline=None)
@given(accounts(one_counter=True))
def test_a_separate_that_does_not_hold_is_withdrawn(account: Account) -> None:
    account.proof = Proof("separate", NOW)

    account.load(130)

    assert account.proof.verdict == "shared"


@pytest.mark.parametrize(
    ("look", "says"),
    [
        (Look(used=3, low=EVIDENCE_LEAST, high=60), "separate"),
        (Look(used=3, low=EVIDENCE_LEAST - 1, high=60), None),
        (Look(used=600, low=100, high=110), "separate"),
        (Look(used=600, low=100, high=None), None),
        (Look(used=105, low=100, high=110), "shared"),
        (Look(used=105, low=100, high=None), None),
        (Look(used=90, low=100, high=110), "unclear"),
        (Look(used=300, low=150, high=170, ours=300), "separate"),  # PATCH does not show what went by import
        (Look(used=300, low=150, high=310, ours=300), "shared"),
        (Look(used=160, low=150, high=170, ours=300), "separate"),
        (Look(used=12, low=10, high=14), None),
    ],
)
def test_only_what_is_far_from_the_bracket_or_in_it_says_something(look: Look, says: str | None) -> None:
    assert vote(look) == says


def test_nothing_is_read_from_answers_of_two_minutes() -> None:
    """PATCH of the minute that ends show 700, the import of the next shows one."""
    phase = Phase(NOW.timestamp() % MINUTE_S, 0.0, NOW)
    old = [Reading(NOW - seconds(2), NOW - seconds(1), 700)]
    new = [Reading(NOW + seconds(2), NOW + seconds(3), 1)]

    assert looked(new, old, phase, NOW - seconds(2)) is None
    assert looked(new, [Reading(NOW + seconds(0.5), NOW + seconds(1), 90)], phase, NOW, 0) == Look(1, 90, None)
    assert looked(new, new, None, NOW) is None


def test_what_was_ours_before_the_minute_began_does_not_count() -> None:
    phase = Phase(NOW.timestamp() % MINUTE_S, 0.0, NOW)
    patches = [Reading(NOW + seconds(0.5), NOW + seconds(1), 90)]
    imports = [Reading(NOW + seconds(2), NOW + seconds(3), 80)]

    assert looked(imports, patches, phase, NOW - seconds(1), ours=700) == Look(80, 90, None, 0)
    assert looked(imports, patches, phase, NOW + seconds(0.4), ours=170) == Look(80, 90, None, 170)


def test_looks_without_a_verdict_end_for_a_day() -> None:
    """Answers that carry no counter prove nothing."""
    proof, now = Proof(), NOW
    while proof.wants_look(now):
        proof, now = proof.looking(now), now + seconds(3)

    assert proof.looks == 30
    assert not proof.wants_look(now + timedelta(hours=23))
    assert proof.wants_look(now + timedelta(hours=25))
    assert proof.looking(now + timedelta(hours=25)).looks == 1


def test_a_vote_for_the_other_side_begins_anew() -> None:
    proof = Proof()
    for says in ("separate", "separate", "shared", "separate", "separate"):
        proof = proof.after(says, NOW)

    assert (proof.verdict, proof.separate, proof.shared) == (None, 2, 0)
    assert proof.after("separate", NOW) == Proof("separate", NOW)


def test_votes_while_it_carries_are_seconds_apart_and_keep_the_day_of_the_verdict() -> None:
    proof = Proof("separate", NOW)
    for _ in range(20):
        proof = proof.after("shared", NOW + seconds(10))
    assert (proof.verdict, proof.shared) == ("separate", 1)

    proof = replace(proof.after("separate", NOW + seconds(20)), looked_at=None)
    assert (proof.since, proof.shared) == (NOW, 0)


def test_a_refused_operation_is_left_alone_for_a_day() -> None:
    proof = Proof("separate", NOW).refused(NOW)

    assert not proof.carries
    assert not proof.wants_look(NOW + timedelta(hours=23))
    assert proof.wants_look(NOW + timedelta(hours=25))
