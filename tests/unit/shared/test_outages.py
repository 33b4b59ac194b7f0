"""Which troubles of PostgreSQL are an outage, that work waits for, and not a fault of what was asked."""

from contextlib import nullcontext
from typing import Any, cast

import asyncpg
import pytest

from shared.db.pool import Database
from shared.errors import Conflict, Failure, Outage, Permanent, Transient, as_outage


class OneConnection:
    """A pool of which only taking and giving back is used."""

    async def acquire(self) -> "OneConnection":
        return self

    async def release(self, connection: Any, *, timeout: float) -> None:
        pass

    def transaction(self) -> nullcontext[None]:
        return nullcontext()

    async def execute(self, statement: str) -> None:
        self.said = statement


@pytest.mark.parametrize(
    "sqlstate",
    ["53000", "53100", "53200", "53300", "57P01", "57P02", "57P03", "58000", "58030", "58P01", "58P02"],
)
async def test_regression_a_server_in_trouble_is_an_outage_and_ends_no_service(sqlstate: str) -> None:
    database = Database(cast("asyncpg.Pool[asyncpg.Record]", OneConnection()))

    with pytest.raises(Outage) as outage:
        async with database.connection():
            raise asyncpg.PostgresError.new({"C": sqlstate, "M": "out of shared memory"})

    assert outage.value.reason == "database_unreachable"


@pytest.mark.parametrize("sqlstate", ["22P02", "23505", "42601", "53400", "XX000"])
async def test_a_statement_that_is_wrong_is_our_own_fault(sqlstate: str) -> None:
    database = Database(cast("asyncpg.Pool[asyncpg.Record]", OneConnection()))

    with pytest.raises(asyncpg.PostgresError):
        async with database.connection():
            raise asyncpg.PostgresError.new({"C": sqlstate, "M": "is wrong"})


async def test_the_server_gives_a_long_statement_up_before_we_call_it_silent() -> None:
    one = OneConnection()

    async with Database(cast("asyncpg.Pool[asyncpg.Record]", one)).transaction(timeout_s=600, long=True):
        pass

    assert one.said == "SET LOCAL statement_timeout = '585s'"


@pytest.mark.parametrize(
    ("kind", "trouble", "raised"),
    [
        (Transient, Transient("held", reason="r"), Outage),
        (Transient, Conflict("deadlock", reason="r"), Outage),
        (Transient, Permanent("wrong", reason="r"), Permanent),
        (Conflict, Conflict("deadlock", reason="r"), Outage),
        (Conflict, Transient("held", reason="r"), Transient),
        (Conflict, Outage("away", reason="r"), Outage),
    ],
)
def test_what_is_no_fault_of_a_job_is_an_outage_with_its_own_reason(
    kind: type[Transient], trouble: Failure, raised: type[Failure]
) -> None:
    with pytest.raises(Failure) as failure, as_outage(kind):
        raise trouble

    assert type(failure.value) is raised
    assert (str(failure.value), failure.value.reason) == (str(trouble), "r")
