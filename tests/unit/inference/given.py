"""What unit tests of inference are given."""

from datetime import date

from shared.inference.strata import Day


def day_of(day: date, treated: int, treated_events: int, controls: int, control_events: int) -> list[Day]:
    """Both arms of one day."""
    return [Day.of_events(day, False, treated, treated_events), Day.of_events(day, True, controls, control_events)]
