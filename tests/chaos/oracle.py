"""Nothing lost, nothing wrong, nothing twice: four ledgers compared. Pure.

What the client saw accepted, what PostgreSQL says of generations and how their writes ended, what the box took and what
its emails showed, and the rows that were exported. Each violation names one generation; `story` tells it from all four.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Kind = Literal[
    "lost", "unasked", "unfinished", "missed", "unwritten", "unknown_write", "older_over_newer", "not_the_newest",
    "superseded_by_nothing", "not_exported", "exported_twice", "exported_unknown", "wrong_email", "missed_email",
]  # fmt: skip
"""
| kind | what is wrong |
|---|---|
| lost | the client saw 2xx, and there is no generation |
| unasked | a generation of a person and flow step for which nobody sent a webhook |
| unfinished | a generation whose write has no end |
| missed | a write that ended as expired or rejected |
| unwritten | a write that ended as written, and the box took none |
| unknown_write | the box took a write of a generation that is not stored |
| older_over_newer | the box took an older generation after a newer one |
| not_the_newest | the last write of a profile is not its newest generation |
| superseded_by_nothing | a write that ended as superseded, and there is no newer one |
| not_exported, exported_twice, exported_unknown | its rows in the bucket are none, several, or of no generation |
| wrong_email | an email showed something that nobody decided for this person |
| missed_email | an email showed control although the write had landed |
"""

_WRONG = {"blank", "stale", "foreign", "broken"}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to one attempt at a webhook. `status` 0: no answer; `generation_id` only with a 2xx."""

    org: str
    profile_id: str
    tracking_id: str
    at_s: float  # real, since the load began
    took_s: float
    status: int
    generation_id: str | None = None
    error: str = ""
    at: datetime | None = None  # by the clock of the generations
    retry_after: str = ""  # what the header said

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Stored:
    """A row of `generations` beside the one of `write_outcomes`; `outcome` None: there is none."""

    generation_id: str
    org: str
    profile_id: str
    tracking_id: str
    accepted_at: datetime
    decision: str
    outcome: str | None
    reason: str | None = None
    prefix: str = "jai"


@dataclass(frozen=True, slots=True)
class Write:
    """A write that the box took, in its order; `generation_id` None: what was there was taken away."""

    at: datetime
    account: str
    profile_id: str
    generation_id: str | None
    prefix: str = "jai"


@dataclass(frozen=True, slots=True)
class Email:
    """An email that left."""

    at: datetime
    profile_id: str
    generation_id: str | None
    outcome: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Exported:
    """One row in the bucket."""

    generation_id: str
    key: str


@dataclass(frozen=True, slots=True)
class Ledgers:
    """All four. `aliases`: other ids that name a stored generation. `exported_until`: what was accepted before then
    must be exported; None: nothing need be yet."""

    answers: Sequence[Answer]
    stored: Sequence[Stored]
    writes: Sequence[Write]
    emails: Sequence[Email] = ()
    exports: Sequence[Exported] = ()
    exported_until: datetime | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)

    def named(self, generation_id: str) -> str:
        """The id that is stored."""
        return self.aliases.get(generation_id, generation_id)


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with one generation."""

    kind: Kind
    generation_id: str
    what: str = ""


def violations(ledgers: Ledgers) -> list[Violation]:
    """Everything that is wrong, each generation once per kind, in a fixed order."""
    found = [
        *_accepted(ledgers), *_ended(ledgers), *_written(ledgers), *_exported(ledgers), *_shown(ledgers)
    ]  # fmt: skip
    return sorted(dict.fromkeys(found), key=lambda one: (one.kind, one.generation_id))


def written_again(ledgers: Ledgers) -> int:
    """Writes of one generation beyond its first."""
    written = Counter(one.generation_id for one in ledgers.writes if one.generation_id is not None)
    return sum(count - 1 for count in written.values())


def _accepted(ledgers: Ledgers) -> Iterator[Violation]:
    stored = {one.generation_id for one in ledgers.stored}
    for answer in ledgers.answers:
        if answer.accepted:
            assert answer.generation_id is not None
            if ledgers.named(answer.generation_id) not in stored:
                yield Violation("lost", answer.generation_id, f"accepted with {answer.status}")
    asked = {(answer.org, answer.profile_id, answer.tracking_id) for answer in ledgers.answers}
    for one in ledgers.stored:
        if (one.org, one.profile_id, one.tracking_id) not in asked:
            yield Violation("unasked", one.generation_id)


def _ended(ledgers: Ledgers) -> Iterator[Violation]:
    latest = _accepted_last(ledgers)
    same: dict[tuple[str, str, str], list[Stored]] = defaultdict(list)
    for one in ledgers.stored:
        same[one.org, one.profile_id, one.prefix].append(one)
    for one in ledgers.stored:
        if one.outcome is None:
            yield Violation("unfinished", one.generation_id)
        elif one.outcome in ("expired", "rejected"):
            yield Violation("missed", one.generation_id, f"{one.outcome}: {one.reason}")
        elif one.outcome == "superseded":
            others = (other for other in same[one.org, one.profile_id, one.prefix] if other is not one)
            if all(latest[other.generation_id] <= one.accepted_at for other in others):
                yield Violation("superseded_by_nothing", one.generation_id)


def _written(ledgers: Ledgers) -> Iterator[Violation]:
    stored = {one.generation_id: one for one in ledgers.stored}
    latest = _accepted_last(ledgers)
    order: dict[tuple[str, str, str], list[Stored]] = defaultdict(list)
    seen: set[str] = set()
    for write in ledgers.writes:
        if write.generation_id is None:
            continue
        seen.add(write.generation_id)
        if (one := stored.get(write.generation_id)) is None:
            yield Violation("unknown_write", write.generation_id)
            continue
        before = order[write.account, write.profile_id, write.prefix]
        if before and before[-1].accepted_at > latest[one.generation_id]:
            yield Violation("older_over_newer", one.generation_id, f"after {before[-1].generation_id}")
        before.append(one)
    newest: dict[tuple[str, str], Stored] = {}
    for one in ledgers.stored:
        if one.outcome == "written":
            if one.generation_id not in seen:
                yield Violation("unwritten", one.generation_id)
            before_it = newest.get((one.org, one.profile_id))
            if before_it is None or before_it.accepted_at < one.accepted_at:
                newest[one.org, one.profile_id] = one
    for took in order.values():
        wanted = newest.get((took[-1].org, took[-1].profile_id))
        if wanted is not None and wanted.accepted_at > latest[took[-1].generation_id]:
            yield Violation("not_the_newest", wanted.generation_id, f"the last write was {took[-1].generation_id}")


def _accepted_last(ledgers: Ledgers) -> dict[str, datetime]:
    """When each generation was accepted last, as far as the client knows: a repetition brings its copy back, for its
    email comes later than the first one's would have."""
    latest = {one.generation_id: one.accepted_at for one in ledgers.stored}
    for answer in ledgers.answers:
        if answer.accepted and answer.at is not None and answer.generation_id is not None:
            the_id = ledgers.named(answer.generation_id)
            latest[the_id] = max(latest.get(the_id, answer.at), answer.at)
    return latest


def _exported(ledgers: Ledgers) -> Iterator[Violation]:
    rows = Counter(one.generation_id for one in ledgers.exports)
    stored = {one.generation_id: one for one in ledgers.stored if one.decision == "treatment"}
    until = ledgers.exported_until
    for one in stored.values():
        if until is not None and one.accepted_at < until and not rows[one.generation_id]:
            yield Violation("not_exported", one.generation_id)
    for generation_id, count in rows.items():
        if generation_id not in stored:
            yield Violation("exported_unknown", generation_id)
        elif count > 1:
            yield Violation("exported_twice", generation_id, f"{count} rows")


def _shown(ledgers: Ledgers) -> Iterator[Violation]:
    for email in ledgers.emails:
        the_id = email.generation_id or f"of {email.profile_id}"
        if email.outcome in _WRONG:
            yield Violation("wrong_email", the_id, f"{email.outcome} {email.reason}")
        elif email.outcome == "control_missed" and email.generation_id is not None:
            yield Violation("missed_email", the_id, email.reason)


def story(ledgers: Ledgers, generation_id: str) -> str:
    """One generation from all four ledgers."""
    the_id = ledgers.named(generation_id)
    stored = [one for one in ledgers.stored if one.generation_id == the_id]
    people = {one.profile_id for one in stored} | {
        one.profile_id for one in ledgers.answers if one.generation_id in (generation_id, the_id)
    }
    lines = [
        f"generation {the_id}" + (f" (asked as {generation_id})" if the_id != generation_id else ""),
        *_part("client", (one for one in ledgers.answers if one.profile_id in people)),
        *_part("stored", (one for one in ledgers.stored if one.profile_id in people)),
        *_part("box took", (one for one in ledgers.writes if one.profile_id in people or one.generation_id == the_id)),
        *_part("emails", (one for one in ledgers.emails if one.profile_id in people)),
        *_part("exported", (one for one in ledgers.exports if one.generation_id == the_id)),
    ]
    return "\n".join(lines)


def _part(name: str, rows: Iterable[object]) -> list[str]:
    return [f"  {name:<9} {row}" for row in rows] or [f"  {name:<9} nothing"]


def report(ledgers: Ledgers, found: Sequence[Violation], *, stories: int = 3) -> str:
    """The kinds with their counts, and the first ones' stories."""
    counts = Counter(one.kind for one in found)
    told = [f"{one.kind} {one.what}\n{story(ledgers, one.generation_id)}" for one in found[:stories]]
    return "\n".join([f"{len(found)} violations: {dict(counts)}", *told])
