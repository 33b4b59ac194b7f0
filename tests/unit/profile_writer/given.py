"""Rows as tests need them; the moment NOW and a person in one message, unless said otherwise."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from services.profile_writer.intake_rules import wanted_as_pending
from services.profile_writer.rows import Held, Key, Pending, Ref, Verdict, Wanted

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
MARGIN_S = 2.0
KEY = Key("acct:A", "01GDDKASAP8TKDDA2GRZDSVP4H", "jai")
ORG = UUID(int=1)
TURN, OTHER_TURN = UUID(int=77), UUID(int=78)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def ref(number: int) -> Ref:
    return Ref(NOW.date(), UUID(int=number), ORG)


def wanted(number: int = 2, **changes: Any) -> Wanted:
    """Generation `number`, accepted a second ago, to be written within two minutes."""
    plain = Wanted(KEY, ref(number), "write", "A", NOW - seconds(1), NOW + seconds(120), NOW + seconds(1020))
    return replace(plain, **changes)


def pending(number: int = 2, **changes: Any) -> Pending:
    """Its row, waiting."""
    return replace(wanted_as_pending(wanted(number), NOW), **changes)


def taken(number: int = 2, **changes: Any) -> Pending:
    """Its row, in flight."""
    row = pending(number, taken_by=TURN, sent=ref(number), next_attempt_at=NOW + seconds(30))
    return replace(row, **changes)


def held(number: int = 1, **changes: Any) -> Held:
    """What an older generation left on the profile; nothing was decided since, unless said so."""
    at, until = NOW - seconds(600), NOW + seconds(300)
    decided = (changes.get("accepted_at", at), changes.get("clean_at", until))
    return replace(Held(KEY, ref(number), "holding", "A", (), at, until, *decided), **changes)


def endings(verdict: Verdict) -> list[tuple[int, str, str | None]]:
    """Which generations ended how, and why."""
    return [(outcome.ref.generation_id.int, outcome.ending, outcome.reason) for outcome in verdict.outcomes]
