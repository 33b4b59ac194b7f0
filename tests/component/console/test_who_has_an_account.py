"""Whether somebody has an account is not told by how long it takes to refuse them either."""

import time
from random import Random
from statistics import median

import pytest

from shared.clock import FrozenClock
from tests.component.console.browser import Browser
from tests.support.console import Stage
from tests.support.measured import say


@pytest.mark.parametrize(
    ("people", "rounds", "spread"),
    [
        (12, 1, 1.0),  # where no password is hashed, it is a tenth
        pytest.param(100, 3, 0.05, marks=[pytest.mark.long, pytest.mark.alone], id="as demanded"),
    ],
)
async def test_a_wrong_password_and_an_unknown_email_take_the_same_time(
    stage: Stage, wall: FrozenClock, people: int, rounds: int, spread: float
) -> None:
    """ASVS 5.0 V6.3.8."""
    emails = [(True, await stage.person(f"Person{number}", acme="viewer")) for number in range(people)]
    emails += [(False, f"nobody{number}@example.com") for number in range(people)]
    spreads, random = list[float](), Random(8)

    for _ in range(rounds):
        random.shuffle(emails)
        took: dict[bool, list[float]] = {True: [], False: []}
        for is_known, email in emails:
            wall.advance(20 * 60)  # what was tried from here, and for this account, is forgotten
            async with Browser(stage.url) as guesser:
                await guesser.get("/_sign-in")
                began = time.perf_counter()
                assert (await guesser.sign_in(email, "not the password at all")).status == 422
                took[is_known].append(time.perf_counter() - began)
        known_s, unknown_s = median(took[True]), median(took[False])
        spreads.append(known_s / unknown_s - 1)
        say(known_ms=round(known_s * 1e3, 2), unknown_ms=round(unknown_s * 1e3, 2), spread=round(spreads[-1], 3))

    assert min(map(abs, spreads)) < spread  # what is told by the account is told each time
