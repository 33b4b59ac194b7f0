"""The second road of profile writes, `POST /api/profile-import`: what it may carry, and what goes by it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

from services.profile_writer.quota.phase import Phase
from services.profile_writer.quota.proof import EVIDENCE_LEAST, NOTHING_PROVED, Proof, Reading, looked, vote
from services.profile_writer.quota.standing import Answers, Standing, after
from services.profile_writer.rows import Action, NotSent, Road
from services.profile_writer.turns.rules import Sent
from shared.errors import Failure, Transient
from shared.klaviyo.errors import Unsendable
from shared.klaviyo.limits import RateLimit

ALIKE = frozenset({"profile_not_found", "body_too_large"})
"""Reasons of Klaviyo's that say the same on either road."""


class RoadRefused(Transient):
    """Klaviyo refuses the operation, or this write by it: what PATCH would say is not known yet."""


@dataclass(frozen=True, slots=True)
class Part:
    """What of a turn goes by the second road. `looks`: one write goes by it at the pace of PATCH and is paid for on
    both, to see whether it counts apart. `ours`: requests of ours that the minute has surely counted, on both roads."""

    spacing_s: float
    in_flight_max: int
    looks: bool
    ours: int


@dataclass(frozen=True, slots=True)
class Heard:
    """What a turn's answers on the second road told, and the counters of both roads while it lasted."""

    limit: RateLimit | None
    phase: Phase | None
    imports: Sequence[Reading] = ()
    patches: Sequence[Reading] = ()


@dataclass(frozen=True, slots=True)
class SecondRoad:
    """One row of `klaviyo_roads`. `standing`: how we stand with this operation; what is the account's alone (whose
    turn it is, when to look at it) is not in it."""

    standing: Standing
    proof: Proof = NOTHING_PROVED

    def at(self, first: Standing, now: datetime) -> "SecondRoad":
        """As it stands now. A turn of the account holds both roads."""
        return replace(
            self, standing=replace(self.standing, budget=self.standing.budget.at(now), busy_until=first.busy_until)
        )

    def tokens(self, most: int, now: datetime) -> int:
        """Writes that may be paid for on it alone."""
        if not self.proof.carries or self.standing.closed_until(now) > now:
            return 0
        return min(self.standing.breaker.most(most), self.standing.budget.room(now))

    def ready_at(self, first: Standing, now: datetime) -> datetime | None:
        """When it can next carry something; None while it does not."""
        if not self.proof.carries:
            return None
        standing = self.at(first, now).standing
        return max(standing.closed_until(now), now + timedelta(seconds=standing.budget.wait_s(now)))

    def looks(self, first: Standing, sends: int, now: datetime) -> bool:
        """Whether one of a turn's `sends` goes by it to find out. A bracket needs answers before it left and requests
        after it was answered, so the turn must be longer than what is in flight."""
        window = first.budget.window(now)
        return (
            window is not None
            and sends >= 2 * first.budget.in_flight_max + 2
            and first.budget.surely_spent(window) >= EVIDENCE_LEAST
            and self.proof.wants_look(now)
            and self.standing.closed_until(now) <= now
            and self.standing.budget.room(now) > 0
        )

    def part(self, first: Standing, *, looks: bool, now: datetime) -> Part:
        """What a turn is told that sends something by it."""
        budget, window, ours = self.standing.budget, first.budget.window(now), 0
        if window is not None and not looks:
            ours = first.budget.surely_spent(window) + budget.surely_spent(window)
            if first.busy_by is not None:
                # The turn before has not ended and may give back all it paid, on each road within one second: taken
                # for requests that Klaviyo must have counted, it would make one counter look like two.
                ours = max(0, ours - max(first.budget.slots, default=0) - max(budget.slots, default=0))
        return Part(budget.spacing_s, budget.in_flight_max, looks, ours)

    def paid(self, tokens: int, *, looks: bool, now: datetime) -> "SecondRoad":
        """After a turn has paid for so many writes on it."""
        proof = self.proof.looking(now) if looks else self.proof
        return SecondRoad(replace(self.standing, budget=self.standing.budget.paid(tokens)), proof)

    def after(
        self, results: Sequence[Failure | None], part: Part, heard: Heard | None, first: Standing, paid_at: datetime,
        now: datetime, rng: Random,
    ) -> "SecondRoad":  # fmt: skip
        """After the answers of a turn, which change this road and the verdict about it. Calls that fail let it rest as
        its own breaker says; a refusal of the operation is no failure of Klaviyo's, and the verdict ends the road."""
        heard, proof = heard or Heard(None, None), self.proof
        limit = heard.limit
        if part.looks and limit is not None:
            # Were it one counter, all that PATCH spends would be taken for another app's, and end the looking.
            limit = replace(limit, remaining=None)
        judged = [result for result in results if not isinstance(result, RoadRefused)]
        standing = after(self.standing, Answers(judged, limit, heard.phase), paid_at, now, rng)
        look = looked(heard.imports, heard.patches, first.budget.phase, paid_at, part.ours)
        if look is not None:
            proof = proof.after(vote(look), now)
        if len(judged) < len(results):
            proof = proof.refused(now)
        return SecondRoad(standing, proof)


@dataclass(frozen=True, slots=True)
class Means:
    """Tokens that a turn may pay by road; of those of PATCH so many for clean-ups."""

    patch: int
    imports: int
    clean_up: int


def means(
    first: Standing, second: SecondRoad | None, writes: int, clean_up_share: float, now: datetime
) -> Means:  # fmt: skip
    """What a turn of at most so many writes on each road may pay. Each road has its own breaker: one that is left alone
    leaves the other open."""
    imports = second.tokens(writes, now) if second else 0
    if first.closed_until(now) > now:
        return Means(0, imports, 0)
    most = first.breaker.most(writes)
    return Means(min(most, first.budget.room(now)), imports, min(most, first.budget.room(now, clean_up_share)))


def by_patch(sends: Sequence[Sent], results: Sequence[Failure | None], part: Part | None) -> list[Failure | None]:
    """The results from which the account's standing follows, its budget and its breaker. A look that did not leave was
    paid for here too; one that failed says nothing about PATCH."""
    looks = part is not None and part.looks
    return [
        result
        for sent, result in zip(sends, results, strict=True)
        if sent.road == "patch" or (looks and isinstance(result, NotSent | Unsendable))
    ]


def by_import(sends: Sequence[Sent], results: Sequence[Failure | None]) -> list[Failure | None]:
    """Those from which the second road's follows."""
    return [result for sent, result in zip(sends, results, strict=True) if sent.road == "import"]


def share_out(
    actions: Sequence[Action], means: Means, first: Standing, second: SecondRoad | None, now: datetime
) -> tuple[list[Road | None], Part | None]:
    """The road of each write, in the order of sending (None: no token is left that fits), and the second one's part
    when anything goes by it."""
    if second is None:
        return ["patch"] * len(actions), None
    roads = in_order(actions, means, first.budget.spacing_s, second.standing.budget.spacing_s)
    if "import" in roads:
        return roads, second.part(first, looks=False, now=now)
    writes = [place for place, road in enumerate(roads) if road is not None and actions[place] == "write"]
    sends = sum(road is not None for road in roads)
    if not writes or not second.looks(first, sends, now):
        return roads, None
    roads[min(writes, key=lambda place: abs(place - sends // 2))] = "import"
    return roads, second.part(first, looks=True, now=now)


def in_order(
    actions: Sequence[Action], means: Means, patch_spacing_s: float, import_spacing_s: float
) -> list[Road | None]:
    """Each by the road whose next slot comes first, so that the order holds over both. Only a write goes by the
    second."""
    left: dict[Road, int] = {"patch": means.patch, "import": means.imports}
    spacing_s: dict[Road, float] = {"patch": patch_spacing_s, "import": import_spacing_s}
    slot_s: dict[Road, float] = {"patch": 0.0, "import": 0.0}
    roads: list[Road | None] = []
    for action in actions:
        fit = [road for road in left if left[road] > 0 and (road == "patch" or action == "write")]
        road = min(fit, key=slot_s.__getitem__, default=None)
        if road is not None:
            left[road] -= 1
            slot_s[road] += spacing_s[road]
        roads.append(road)
    return roads
