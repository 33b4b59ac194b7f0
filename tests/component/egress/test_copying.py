"""Rows come out of PostgreSQL by COPY as a query would give them, and a COPY that nobody wants any more ends."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from services.egress import rows
from services.egress.copying import CopyOut, columns_of
from services.egress.handler import export_hour
from services.egress.layout import object_key
from services.egress.model import Lease
from shared.db.pool import Connection, Database, open_database
from shared.errors import Transient
from tests.component.egress.shop import HOUR, World, job, people
from tests.support.waiting import eventually

VALUES = """
    VALUES (1::bigint, 'Ann', '\\x00ff'::bytea), (-1, '', ''), (NULL, 'Zoë 😀', '\\xffff'),
           (9223372036854775807, NULL, NULL)
"""
MANY = "SELECT n, repeat('x', n % 700) FROM generate_series(1, $1::int) n"


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, name="copying", max_size=1) as database:
        yield database


def copying(connection: Connection, statement: str, *values: object) -> CopyOut:
    return CopyOut(connection, statement, *values, timeout_s=60)


async def test_fields_are_the_bytes_that_they_were(db: Database) -> None:
    async with db.connection() as connection, copying(connection, VALUES) as copied:
        numbers, texts, bytes_ = columns_of(await copied.fetch(1 << 20, 60), 3)
        rest = await copied.fetch(1, 60)

    assert [None if one is None else int.from_bytes(one, signed=True) for one in numbers] == [1, -1, None, 2**63 - 1]
    assert [None if one is None else one.decode() for one in texts] == ["Ann", "", "Zoë 😀", None]
    assert bytes_ == [b"\x00\xff", b"", b"\xff\xff", None]
    assert columns_of(rest, 3)[0] == []


@pytest.mark.parametrize("count", [0, 20_000])
async def test_pieces_hold_whole_rows_and_together_all_of_them(db: Database, count: int) -> None:
    found, fetches = list[tuple[int, int]](), 0
    async with db.connection() as connection, copying(connection, MANY, count) as copied:
        while piece := await copied.fetch(64 << 10, 60):
            fetches += 1
            numbers, texts = columns_of(piece, 2)
            found += [(int.from_bytes(one or b""), len(text or b"")) for one, text in zip(numbers, texts, strict=True)]

    assert found == [(n, n % 700) for n in range(1, count + 1)]
    assert fetches > 10 if count else fetches == 1


async def all_of(copied: CopyOut) -> None:
    while await copied.fetch(1 << 10, 60):
        pass


async def test_a_statement_that_fails_half_way_says_so_where_rows_are_waited_for(db: Database) -> None:
    async with db.connection() as connection:
        async with copying(connection, "SELECT 1 / (50000 - n) FROM generate_series(1, 60000) n") as copied:
            with pytest.raises(asyncpg.DivisionByZeroError):
                await all_of(copied)
        assert await connection.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("statement", ["SELECT generate_series(1, 1000000000)", "SELECT pg_sleep(600)"])
async def test_who_leaves_early_ends_the_statement_and_the_next_one_finds_a_connection(
    db: Database, statement: str
) -> None:
    async with db.connection() as connection, copying(connection, statement) as copied:
        if "series" in statement:
            await copied.fetch(1, 60)
        else:
            with pytest.raises(TimeoutError):
                await copied.fetch(1, 0.2)

    async def ended() -> bool:
        async with db.connection() as again:
            return not await again.fetchval(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND query LIKE 'COPY%' AND state = 'active'"
            )

    await eventually(ended, within_s=20)


async def give_up_half_way(world: World, lease: Lease) -> None:
    async with world.deps.reader.hour(lease, "page") as found:
        assert len(await found.fetch()) < 3000
        raise Transient("no space", reason="folder_is_full")


async def test_an_export_that_fails_while_rows_come_says_its_own_reason_and_the_next_one_succeeds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_FETCH_BYTES", 64 << 10)
    shop = await world.shop()
    await world.say(shop, people(3000))
    lease = Lease(shop.org_id, "generations", HOUR, 1, 1, False, world.clock.now())

    with pytest.raises(Transient, match="no space"):
        await give_up_half_way(world, lease)

    await export_hour(job(shop), world.deps)
    assert len(await world.rows(object_key("", HOUR))) == 3000
