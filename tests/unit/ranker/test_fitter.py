"""The runner around fits, on templates in memory."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest

from services.ranker.fit import Snapshot, Task
from services.ranker.fitter import Fitter, Pace
from services.ranker.records import Claim, Paused
from shared.clock import FrozenClock
from shared.errors import Conflict, Outage, Transient

CLAIM = Claim(UUID(int=1), "welcome", 1, "sign")


class OneTemplate:
    """Whose guardrail cannot be computed, which takes `took_s` to find out."""

    def __init__(self, failure: Exception, clock: FrozenClock | None = None, took_s: float = 0) -> None:
        self.failure, self.errors, self.retries = failure, list[str](), list[datetime]()
        self._clock, self._took_s = clock, took_s

    async def claim(self, now: datetime, lease_until: datetime) -> Claim | None:
        return CLAIM

    async def guard(self, claim: Claim, now: datetime) -> list[Paused]:
        if self._clock is not None:
            self._clock.advance(self._took_s)
        raise self.failure

    async def task(self, claim: Claim, until: datetime) -> Task:
        raise AssertionError("its guardrail comes first")

    async def settle(
        self, claim: Claim, task: Task, made: Snapshot, now: datetime, next_fit_at: datetime
    ) -> bool | None:
        raise AssertionError("nothing was made")

    async def failed(self, claim: Claim, error: str, retry_at: datetime) -> None:
        self.errors.append(error)
        self.retries.append(retry_at)


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (ZeroDivisionError("a stratum of nobody"), "ZeroDivisionError: a stratum of nobody"),
        (KeyError("what somebody typed"), "KeyError"),
        (
            Outage("the database did not answer in time", reason="database_timeout"),
            "Outage: the database did not answer in time",
        ),
        (
            Transient("the database asks to try again", reason="database_conflict"),
            "Transient: the database asks to try again",
        ),
    ],
)
async def test_a_guardrail_that_cannot_be_computed_fails_its_template_and_not_the_service(
    failure: Exception, told: str
) -> None:
    templates = OneTemplate(failure)
    fitter = Fitter(templates, FrozenClock(), Pace(tick_s=1, refit_s=60, lease_s=60, retry_s=60))

    assert await fitter.fit_one() is True
    assert templates.errors == [told]


async def test_a_fit_that_fails_late_rests_until_others_had_nine_tenths_of_the_time() -> None:
    clock = FrozenClock()
    templates = OneTemplate(Outage("too slow", reason="database_timeout"), clock, took_s=180)
    fitter = Fitter(templates, clock, Pace(tick_s=1, refit_s=60, lease_s=60, retry_s=60))

    await fitter.fit_one()
    assert templates.retries == [clock.now() + timedelta(seconds=1800)]


@pytest.mark.parametrize(
    "failure", [Outage("the database is away", reason="database_unreachable"), Conflict("a deadlock")]
)
async def test_a_database_that_is_away_is_no_fault_of_the_template(failure: Transient) -> None:
    templates = OneTemplate(failure)
    fitter = Fitter(templates, FrozenClock(), Pace(tick_s=1, refit_s=60, lease_s=60, retry_s=60))

    with pytest.raises(type(failure)):
        await fitter.fit_one()
    assert templates.errors == []
