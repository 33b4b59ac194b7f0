"""How the days of a backfill are called in the ledger of files. Pure."""

from datetime import UTC, date, datetime, timedelta

_DAY = timedelta(days=1)


def asked_name(day: date, asked_at: datetime) -> str:
    """A day that was asked for then: `2026-10-05 asked 2026-11-23T10:00:00Z`."""
    return f"{day} asked {asked_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z"


def days_of(since: date, until: date) -> list[date]:
    """Each day from `since` up to `until`."""
    return [since + number * _DAY for number in range((until - since).days)]
