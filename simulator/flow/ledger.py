"""What happened in an account's flows: who entered, what the webhooks were answered, what each email showed.

It is the oracle's memory. It knows a generation from the gateway's own answer to the flow's webhook and from the
markers in profile writes, never from a service's database.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from simulator.flow.judge import Decision, Due, Outcome, Sight, judge, missing_reason


@dataclass(slots=True)
class Entry:
    """One person's way through a flow, once. `state` is the webhook's: waiting, retrying, accepted, skipped, failed."""

    id: str
    flow_id: str
    profile_id: str
    entered_at: datetime
    event: Mapping[str, Any] | None = None
    state: str = "waiting"
    attempts: int = 0
    last_status: int | None = None
    posted_at: datetime | None = None
    accepted_at: datetime | None = None
    generation_id: str | None = None
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    generation_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Seen:
    """One rendering of one email: what was seen, and which generation the profile named at that moment."""

    sight: Sight
    marker: str | None


@dataclass(frozen=True, slots=True)
class Send:
    """One email that left, with the real template's rendering and the page's literal snippet beside it."""

    transmission_id: str
    entry: Entry
    message_id: str
    sent_at: datetime
    subject: str
    newest: str | None
    older: frozenset[str]
    real: Seen
    literal: Seen


@dataclass(slots=True)
class Ledger:
    entries: list[Entry] = field(default_factory=list)
    inside: set[tuple[str, str]] = field(default_factory=set)
    accepted: dict[tuple[str, str], list[Accepted]] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    sends: list[Send] = field(default_factory=list)

    def accept(self, message_ids: list[str], profile_id: str, generation_id: str, at: datetime) -> None:
        self.known.add(generation_id)
        for message_id in message_ids:
            self.accepted.setdefault((message_id, profile_id), []).append(Accepted(generation_id, at))

    def newest(self, message_id: str, profile_id: str, since: datetime, until: datetime) -> str | None:
        """The generation that the webhook of this entry was last answered with; a duplicate may name an old one."""
        answers = self.accepted.get((message_id, profile_id), ())
        due = [answer for answer in answers if since <= answer.at <= until]
        return max(due, key=lambda answer: answer.at).generation_id if due else None

    def of_message(self, message_id: str, profile_id: str) -> frozenset[str]:
        return frozenset(answer.generation_id for answer in self.accepted.get((message_id, profile_id), ()))


def outcome(seen: Seen, send: Send, decisions: Mapping[str, Decision], written_at: Mapping[str, datetime]) -> Outcome:
    """Judge one rendering with what is known by now. Raises nothing, decides always."""
    newest = send.newest
    webhook = "no_generation" if send.entry.accepted_at and send.entry.accepted_at <= send.sent_at else "no_webhook"
    first_written_at = written_at.get(newest) if newest else None
    due = Due(
        newest=newest,
        older=send.older,
        decision=decisions.get(newest, "treatment") if newest else "treatment",
        missing=missing_reason(newest, webhook, first_written_at, send.sent_at, seen.marker),
    )
    return judge(seen.sight, due)


def rows(
    ledger: Ledger, decisions: Mapping[str, Decision], written_at: Mapping[str, datetime], flow_id: str | None
) -> Iterator[dict[str, Any]]:
    """One row per email sent, ready for JSON."""
    for send in ledger.sends:
        if flow_id is not None and send.entry.flow_id != flow_id:
            continue
        real = outcome(send.real, send, decisions, written_at)
        literal = outcome(send.literal, send, decisions, written_at)
        first_written_at = written_at.get(send.newest) if send.newest else None
        yield {
            "transmission_id": send.transmission_id,
            "flow_id": send.entry.flow_id,
            "message_id": send.message_id,
            "profile_id": send.entry.profile_id,
            "entry_id": send.entry.id,
            "entered_at": send.entry.entered_at,
            "webhook": send.entry.state,
            "webhook_status": send.entry.last_status,
            "webhook_attempts": send.entry.attempts,
            "posted_at": send.entry.posted_at,
            "accepted_at": send.entry.accepted_at,
            "generation_id": send.newest,
            "written_at": first_written_at,
            "sent_at": send.sent_at,
            "subject": send.subject,
            "outcome": real.kind,
            "reason": real.reason,
            "literal_outcome": literal.kind,
            "literal_reason": literal.reason,
        }


def summary(table: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts per outcome, with reasons, of the real and the literal snippet; waits in virtual seconds."""
    waits = sorted(
        (row["written_at"] - row["posted_at"]).total_seconds()
        for row in table
        if row["written_at"] and row["posted_at"] and row["written_at"] >= row["posted_at"]
    )
    return {
        "messages": len(table),
        "real": dict(Counter(str(row["outcome"]) for row in table)),
        "real_reasons": dict(Counter(f"{row['outcome']}: {row['reason']}" for row in table if row["reason"])),
        "literal": dict(Counter(str(row["literal_outcome"]) for row in table)),
        "literal_reasons": dict(
            Counter(f"{row['literal_outcome']}: {row['literal_reason']}" for row in table if row["literal_reason"])
        ),
        "webhook_to_profile_s": {"p50": _percentile(waits, 0.5), "p99": _percentile(waits, 0.99), "n": len(waits)},
    }


def _percentile(ordered: list[float], share: float) -> float | None:
    """Nearest rank; None of nothing."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
