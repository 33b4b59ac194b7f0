"""One account in a box, on a clock that tests advance, for every test of the simulator's API."""

from collections.abc import AsyncIterator

import pytest

from shared.clock import FrozenClock
from simulator.account import Account
from tests.contract.simulator_box import Caller, running_box


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def boxed(clock: FrozenClock) -> AsyncIterator[tuple[Caller, Account]]:
    async with running_box(clock) as made:
        yield made


@pytest.fixture
def caller(boxed: tuple[Caller, Account]) -> Caller:
    return boxed[0]


@pytest.fixture
def account(boxed: tuple[Caller, Account]) -> Account:
    return boxed[1]
