"""What unit tests of inference are given."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from shared.inference.strata import Day
from shared.inference.variants import Draws

A, B, C = (UUID(int=number) for number in (1, 2, 3))


def day_of(day: date, treated: int, treated_events: int, controls: int, control_events: int) -> list[Day]:
    """Both arms of one day."""
    return [Day.of_events(day, False, treated, treated_events), Day.of_events(day, True, controls, control_events)]


def draws(
    copy_id: UUID, sends: int, clicks: int, p: Sequence[float] = (0.5, 0.5), *, cell: str = "", fold: int = 0
) -> Draws:
    return Draws(fold, cell, (A, B, C)[: len(p)], tuple(p), copy_id, sends, clicks)
