"""Lengths of time as people say them, in the units of Klaviyo's Time Delay. Pure."""

from collections.abc import Mapping
from typing import Final, Literal

Unit = Literal["days", "hours", "minutes", "seconds"]

UNITS: Final[Mapping[Unit, int]] = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
"""From the longest on, in seconds."""


def said(seconds: int) -> str:
    """All of it, exactly: `2 minutes`, `1 hour 30 minutes`, `3 days`."""
    parts, left = [], seconds
    for unit, unit_s in UNITS.items():
        number, left = divmod(left, unit_s)
        if number:
            parts.append(f"{number} {unit if number != 1 else unit[:-1]}")
    return " ".join(parts) or "no time"


def in_one_unit(seconds: int) -> tuple[int, Unit]:
    """As one whole number of the longest unit that fits: `90 minutes`, never `1.5 hours`."""
    return next((seconds // unit_s, unit) for unit, unit_s in UNITS.items() if seconds % unit_s == 0)
