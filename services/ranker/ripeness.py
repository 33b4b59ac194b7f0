"""How much a young send already says: the share of its clicks that have come by its age. Pure.

A send that was not clicked after ten minutes is no failure yet. Counting it as one favours variants whose clicks come
fast, and whichever was sent less of late; waiting for the whole window learns days late. So it counts F(age), the share
of clicks that come by then, which is estimated from the clicks themselves: those of the variant, leaning on the
template's, leaning on what is usual.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from services.ranker.facts import NO_CLICK, Fact

_MEDIAN_S, _SHAPE = 2 * 3600.0, 0.8  # what is usual: half of the clicks within two hours, the last after days
_LEAN = 30.0  # clicks that the broader distribution is worth

Curve = tuple[float, ...]
"""F at each edge of the window, from 0 at age 0 to 1 at the window's end."""


def usual(edges: Sequence[float], window_s: float) -> Curve:
    """The curve of a template of which nothing is known."""
    raw = [1 / (1 + (_MEDIAN_S / edge) ** _SHAPE) if edge else 0.0 for edge in edges if edge <= window_s]
    return tuple(value / raw[-1] for value in raw)


def curve_of(clicks: Mapping[tuple[int, int], float], broader: Curve) -> Curve:
    """The curve of clicks counted by (age, delay), leaning on a broader one.

    A click is seen only if its delay is less than its send's age, so short delays are seen too often. Going from the
    window's end down, the share of clicks that came in each bucket among those that came in it or before it is free
    of that, as long as only sends count that are older than the bucket (Lynden-Bell's estimate).
    """
    buckets = len(broader) - 1
    came = [0.0] * buckets
    seen = [0.0] * buckets
    for (age, delay), number in clicks.items():
        for bucket in range(delay, min(age, buckets)):
            seen[bucket] += number
        if delay < min(age, buckets):
            came[delay] += number
    curve = [1.0] * (buckets + 1)
    for bucket in reversed(range(buckets)):
        usual_came = _LEAN * (broader[bucket + 1] - broader[bucket])
        share = (came[bucket] + usual_came) / (seen[bucket] + _LEAN * broader[bucket + 1])
        curve[bucket] = curve[bucket + 1] * (1 - share)
    curve[0] = 0.0
    return tuple(curve)


def curves(facts: Iterable[Fact], edges: Sequence[float], window_s: float) -> Mapping[UUID, Curve]:
    """The curve of every variant that the facts name."""
    by_variant: dict[UUID, dict[tuple[int, int], float]] = {}
    of_all: dict[tuple[int, int], float] = defaultdict(float)
    for fact in facts:
        own = by_variant.setdefault(fact.copy_id, defaultdict(float))
        if fact.delay != NO_CLICK:
            own[fact.age, fact.delay] += fact.sends
            of_all[fact.age, fact.delay] += fact.sends
    template = curve_of(of_all, usual(edges, window_s))
    return {copy_id: curve_of(own, template) for copy_id, own in by_variant.items()}


def ripeness(age: int, curve: Curve) -> float:
    """F at the middle of an age bucket."""
    return 1.0 if age >= len(curve) - 1 else (curve[age] + curve[age + 1]) / 2


def decayed(age: int, edges: Sequence[float], half_life_days: float | None) -> float:
    """What a fact of this age weighs: half of it after each half-life."""
    if half_life_days is None:
        return 1.0
    beyond = edges[age + 1] if age + 1 < len(edges) else edges[age] * 1.1
    return math.pow(0.5, (edges[age] + beyond) / 2 / (half_life_days * 86_400))
