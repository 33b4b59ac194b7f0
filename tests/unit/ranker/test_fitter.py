"""The runner around fits, on templates in memory."""

from datetime import datetime
from uuid import UUID

import pytest

from services.ranker.fit import Snapshot, Task
from services.ranker.fitter import Fitter, Pace
from services.ranker.records import Claim, Paused
from shared.clock import FrozenClock
from shared.errors import Outage

CLAIM = Claim(UUID(int=1), "welcome", 1, "sign")


class OneTemplate:
    """Whose guardrail cannot be computed."""

    def __init__(self, failure: Exception) -> None:
        self.failure, self.errors = failure, list[str]()

    async def claim(self, now: datetime, lease_until: datetime) -> Claim | None:
        return CLAIM

    async def guard(self, claim: Claim, now: datetime) -> list[Paused]:
        raise self.failure

    async def task(self, claim: Claim, until: datetime) -> Task:
        raise AssertionError("its guardrail comes first")

    async def settle(
        self, claim: Claim, task: Task, made: Snapshot, now: datetime, next_fit_at: datetime
    ) -> bool | None:
        raise AssertionError("nothing was made")

    async def failed(self, claim: Claim, error: str, retry_at: datetime) -> None:
        self.errors.append(error)


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (ZeroDivisionError("a stratum of nobody"), "ZeroDivisionError: a stratum of nobody"),
        (KeyError("what somebody typed"), "KeyError"),
    ],
)
async def test_a_guardrail_that_cannot_be_computed_fails_its_template_and_not_the_service(
    failure: Exception, told: str
) -> None:
    templates = OneTemplate(failure)
    fitter = Fitter(templates, FrozenClock(), Pace(tick_s=1, refit_s=60, lease_s=60, retry_s=60))

    assert await fitter.fit_one() is True
    assert templates.errors == [told]


async def test_a_database_that_is_away_is_no_fault_of_the_template() -> None:
    templates = OneTemplate(Outage("the database is away"))
    fitter = Fitter(templates, FrozenClock(), Pace(tick_s=1, refit_s=60, lease_s=60, retry_s=60))

    with pytest.raises(Outage):
        await fitter.fit_one()
    assert templates.errors == []
