"""Is the split what was planned, and does what is delivered keep it? Of people, by their first decision. Pure."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date

from shared.admin.results.store import Firsts
from shared.inference.ratio import SampleRatio, sample_ratio


def ratios_of(
    firsts: Sequence[Firsts], control_share: float | None, *, external: bool
) -> tuple[SampleRatio | None, SampleRatio | None]:
    """Of people assigned, where a share was planned; and of people delivered to. `external`: the control branch never
    calls us, so what was sent stands for who was assigned."""
    of_days = _assigned(firsts, external=external)
    controls, people = (sum(counts[at] for counts in of_days.values()) for at in (0, 1))
    split = sample_ratio(controls, people - controls, control_share) if control_share else None
    planned = _planned(firsts, of_days)
    if planned is None:
        return split, None
    controls, treated = (sum(one.delivered for one in firsts if one.control is arm) for arm in (True, False))
    return split, sample_ratio(controls, treated, planned)


def _planned(firsts: Iterable[Firsts], of_days: dict[date, tuple[int, int]]) -> float | None:
    """Control's share that is to be expected among people delivered to: its share among the assigned of each day, which
    counts as often as the day was delivered to. The newest are still on their way, and once the template is shipped few
    of them are control: over all days together they would make those delivered to look like too many of control.
    None where there are no two arms to be told apart."""
    expected: list[float] = []
    delivered = 0
    for one in firsts:
        controls, people = of_days[one.day]
        delivered += one.delivered
        if one.delivered:
            expected.append(one.delivered * controls / people)
    planned = math.fsum(expected) / delivered if delivered else 0.0
    return planned if 0 < planned < 1 else None


def _assigned(firsts: Iterable[Firsts], *, external: bool) -> dict[date, tuple[int, int]]:
    """Of each day: how many of control, and of both arms."""
    of_days: dict[date, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for one in firsts:
        assigned = one.sent if external else one.people
        controls, people = of_days[one.day]
        of_days[one.day] = controls + assigned * one.control, people + assigned
    return of_days
