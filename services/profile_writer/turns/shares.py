"""How a turn's tokens are shared out between what waits. Pure.

Lanes are served in their order, but retries have a share of their own. Behind a long backlog of fresh writes they would
otherwise not be tried before their deadlines; and when there are many of them, they would otherwise eat what fresh
writes could use, for calls that have failed before. And dirty profiles that can wait let fresh writes by, whose
deadlines would otherwise pass behind a long backlog of them.
"""

from collections.abc import Iterable, Sequence
from math import floor

from services.profile_writer.rows import Key

RETRY_SHARE = 0.2
"""Of a turn's tokens: at least that when so many retries wait, at most that while others wait too. Of 25 tokens 5."""


def crowded_out(dirty: Sequence[Key], fresh: Sequence[Key], tokens: int) -> bool:
    """Whether fresh writes get less than half of a turn because dirty profiles go first."""
    return min(len(fresh), tokens // 2 + tokens % 2) > max(0, tokens - len(dirty))


def side_by_side(dirty: Sequence[Key], fresh: Sequence[Key], tokens: int, chance: float) -> tuple[Key, ...]:
    """Both lanes in one order in which each has half of a turn, where so many wait; `chance` rounds it."""
    half = tokens // 2 + (tokens % 2 == 1 and chance < 0.5)
    let_by = fresh[:half]
    first = dirty[: tokens - len(let_by)]
    return (*evenly(first, let_by), *dirty[len(first) :], *fresh[len(let_by) :])


def shared_out(
    fresh: Sequence[Key], retries: Sequence[Key], last: Sequence[Key], tokens: int, chance: float
) -> tuple[Key, ...]:
    """What a turn with so many tokens sends, in the order of sending, each profile once.

    `fresh` are lanes 0 and 1, each argument in the order in which it is to be served. `chance`, drawn evenly from
    [0, 1), rounds the share: a turn of one token serves retries one time in five. What one side leaves goes to the
    other, and the rest to what can wait: clean-ups, and writes that are put off.
    """
    seen: set[str] = set()
    fresh, retries, last = _new(fresh, seen), _new(retries, seen), _new(last, seen)
    whole = floor(tokens * RETRY_SHARE)
    # Compared, not added: a chance of almost 1 on top of a whole number is rounded to the next one.
    share = whole + (chance < round(tokens * RETRY_SHARE - whole, 9))
    retries = retries[: max(share, tokens - len(fresh))]
    fresh = fresh[: tokens - len(retries)]
    return (*evenly(fresh, retries), *last)[:tokens]


def _new(keys: Iterable[Key], seen: set[str]) -> list[Key]:
    """Without the profiles seen before."""
    found = []
    for key in keys:
        if key.profile_id not in seen:
            seen.add(key.profile_id)
            found.append(key)
    return found


def evenly(some: Sequence[Key], others: Sequence[Key]) -> list[Key]:
    """Both in their order, each spread over the whole: a turn that is cut short cuts both."""
    placed = [((at + 0.5) / len(keys), key) for keys in (some, others) for at, key in enumerate(keys)]
    return [key for _, key in sorted(placed, key=lambda one: one[0])]
