"""Days of a time zone, by this machine's own list of zones: who counts days and who shows them must agree. Pure."""

from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

_DAY: Final = timedelta(days=1)


def zone_of(name: str | None) -> ZoneInfo:
    """The zone of this name; UTC without one, and for one that this machine does not know."""
    try:
        return ZoneInfo(name or "UTC")
    except (KeyError, ValueError, OSError):
        return ZoneInfo("UTC")


def has_neighbours(day: date) -> bool:
    """Whether the days around it, and its moments in other zones, are there too; a moment is a day."""
    return 1900 <= day.year < 3000


def day_in(zone: ZoneInfo, at: datetime) -> date:
    """The day that it is there."""
    return at.astimezone(zone).date()


def begin_of(day: date, zone: ZoneInfo) -> datetime:
    """The moment at which the day begins there, UTC. Where clocks leave midnight out: the moment they do."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def begins(first: date, last: date, zone: ZoneInfo) -> list[datetime]:
    """When each day from `first` to `last` begins there. A day may have 23 or 25 hours, or those of a half."""
    return [begin_of(first + number * _DAY, zone) for number in range((last - first).days + 1)]
