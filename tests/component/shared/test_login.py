"""The database's login owns the tables and is no superuser, as managed servers have it; on whatever server is here."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest

from devstack import postgres, start
from shared.db.migrate import MigrationError, load, migrate
from shared.db.pool import open_database

PASSWORD = "login"
PAGE = Path(__file__).parents[3] / "docs" / "runbooks" / "rotate-passwords.md"
ORG = UUID(int=1)


@pytest.fixture(params=["debian's", "the wheel's"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The superuser's address of a server on which nothing was migrated yet: what a login may do to roles depends on
    who made them, and on PostgreSQL's version."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "the wheel's":
            patch.setattr(postgres, "DEBIAN", Path("/not/installed"))
        with start(["postgres"], tmp_path, durable=False) as stack:
            yield stack.endpoints.database_url


async def login(server: str, name: str, *, rights: str = "", granted: str | None = None, owner: str = "") -> str:
    """The address of a new login with a database, its own if nobody else's."""
    admin = await asyncpg.connect(server)
    try:
        await admin.execute(f"CREATE ROLE {name} LOGIN {rights} PASSWORD '{PASSWORD}'")
        await admin.execute(f"CREATE DATABASE {name} OWNER {owner or name}")
        if granted:
            await admin.execute(f"GRANT {granted} TO {name}")
    finally:
        await admin.close()
    found = urlsplit(server)
    return found._replace(netloc=f"{name}:{PASSWORD}@{found.hostname}:{found.port}", path=f"/{name}").geturl()


async def works(url: str) -> None:
    """Migrate, and read as services do: one org's rows, and no more."""
    assert await migrate(url) == [file.name for file in load()]
    async with open_database(url, name="test") as database:
        async with database.connection() as connection:
            for number in (1, 2):
                await connection.execute(
                    "INSERT INTO orgs (org_id, slug, name, created_at) VALUES ($1, $2, $2, now())",
                    UUID(int=number), f"shop-{number}",
                )  # fmt: skip
        async with database.transaction(ORG) as connection:
            assert [row["slug"] for row in await connection.fetch("SELECT slug FROM orgs")] == ["shop-1"]
            assert await connection.fetchval("SELECT current_user") == "justai_tenant"


async def takes_turns(server: str, url: str) -> None:
    """With another login that works as this one, as docs/runbooks/rotate-passwords.md says: its own statements."""
    said = PAGE.read_text()
    made, as_the_first, none_left, gone = (
        re.search(rf"`({words}[^`]*)`", said)[1].replace("justai", "first")  # type: ignore[index]  # the page has them
        for words in (
            "CREATE ROLE justai_2",
            "ALTER ROLE justai_2 SET",
            "SELECT usename",
            "ALTER ROLE justai PASSWORD NULL",
        )
    )
    turn = url.replace(f"first:{PASSWORD}@", "first_2:NEW@")
    admin = await asyncpg.connect(server)
    try:
        await admin.execute(made)
        await admin.execute(as_the_first)
        assert await migrate(turn) == []
        async with open_database(turn, name="test") as database, database.transaction(ORG) as connection:
            assert [row["slug"] for row in await connection.fetch("SELECT slug FROM orgs")] == ["shop-1"]
            assert await connection.fetchval("SELECT current_user") == "justai_tenant"
            assert await admin.fetch(none_left) == []
        owner = await asyncpg.connect(turn)
        await owner.execute("CREATE TABLE of_a_later_migration (id int); ALTER TABLE orgs ADD COLUMN later int")
        assert (
            await owner.fetchval("SELECT tableowner FROM pg_tables WHERE tablename = 'of_a_later_migration'") == "first"
        )
        await owner.execute("DROP TABLE of_a_later_migration; ALTER TABLE orgs DROP COLUMN later")
        await owner.close()
        await admin.execute(gone)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(url)
    finally:
        await admin.close()


async def test_a_login_that_may_make_roles_migrates_and_serves(server: str) -> None:
    """Once: after that it needs them no more, and another login of the same server is given them."""
    first = await login(server, "first", rights="CREATEROLE")

    with pytest.raises(MigrationError, match=r"0001_orgs .*role; docs/install\.md"):
        await migrate(await login(server, "powerless"))
    with pytest.raises(MigrationError, match=r"schema_migrations .*public; docs/install\.md"):
        await migrate(await login(server, "guest", rights="CREATEROLE", owner="justai"))
    await works(first)
    admin = await asyncpg.connect(server)
    await admin.execute("ALTER ROLE first NOCREATEROLE")
    await admin.close()
    assert await migrate(first) == []
    await takes_turns(server, first)
    await works(await login(server, "second", rights="CREATEROLE", granted="justai_worker"))
