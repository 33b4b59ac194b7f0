"""Moments as people read them: in the org's zone, with the exact UTC one behind. Pure."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

_STEPS = ((60, "second"), (3600, "minute"), (86_400, "hour"), (30 * 86_400, "day"))


def moment(at: datetime | None, zone: ZoneInfo, otherwise: str = "never") -> Markup:
    """`24 Nov 2026, 10:05`, as a `<time>`."""
    if at is None:
        return Markup('<span class="muted">{}</span>').format(otherwise)
    there = at.astimezone(zone)
    return _time(
        at, f"{there.day} {there:%b %Y, %H:%M}", f"{there:%H:%M:%S} {zone.key}; {at.astimezone(UTC):%H:%M:%S} UTC"
    )


def day(at: datetime, zone: ZoneInfo) -> str:
    """`24 Nov 2026`."""
    there = at.astimezone(zone)
    return f"{there.day} {there:%b %Y}"


def ago(at: datetime | None, now: datetime, zone: ZoneInfo, otherwise: str = "never") -> Markup:
    """`3 minutes ago`, `in 2 hours`; the day itself where that is more than a month."""
    if at is None:
        return Markup('<span class="muted">{}</span>').format(otherwise)
    seconds = (now - at).total_seconds()
    # What is still to come is rounded up: "seven days" that began a moment ago are not six.
    words = _distance(seconds if seconds >= 0 else -seconds + _grain(-seconds))
    if words is None:
        return moment(at, zone)
    there = at.astimezone(zone)
    said = "just now" if words == "" else f"{words} ago" if seconds >= 0 else f"in {words}"
    return _time(at, said, f"{there.day} {there:%b %Y, %H:%M:%S} {zone.key}")


def _grain(seconds: float) -> int:
    """Half of the unit in which so long a time is said."""
    return next((unit_s for limit, unit_s in ((60, 0), (3600, 30), (86_400, 1800)) if seconds < limit), 43_200)


def _distance(seconds: float) -> str | None:
    if seconds < 10:
        return ""
    unit_s = 1
    for limit, name in _STEPS:
        if seconds < limit:
            n = int(seconds // unit_s)
            return f"{n} {name}{'' if n == 1 else 's'}"
        unit_s = {60: 60, 3600: 3600, 86_400: 86_400}.get(limit, 86_400)
    return None


def _time(at: datetime, said: str, title: str) -> Markup:
    exact = at.astimezone(UTC).isoformat(timespec="seconds")
    return Markup(f'<time datetime="{exact}" title="{escape(title)}">{escape(said)}</time>')  # noqa: S704  # escaped
