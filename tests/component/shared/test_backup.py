"""The drill of docs/runbooks/backup-and-restore.md: what is dumped comes back whole, walls included."""

import asyncio
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest

from devstack.isolation import fresh_name
from shared.db.pool import open_database
from tests.component.cli.rig import Cli, settings
from tests.component.cli.test_doctor import findings

PAGE = Path(__file__).parents[3] / "docs" / "runbooks" / "backup-and-restore.md"
TEMPLATE = """
template_id: welcome
name: Welcome
state: active
control: {subject: Hello, preheader: News, body: <p>Hello</p>}
variants:
  - name: Warm
    approved: true
    subject: "Hello {{ first_name | default: 'there' }}"
    preheader: News
    body: <p>Hello</p>
"""
SELECT_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
SELECT_CONTENT = "SELECT count(*) AS n, md5(string_agg(t::text, '|' ORDER BY t::text)) AS digest FROM {} t"
SELECT_UNFORCED = """
    SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
    WHERE nspname = 'public' AND relkind IN ('r', 'p') AND relname <> 'schema_migrations' AND NOT relforcerowsecurity
"""


def programs(database_url: str) -> Path:
    """Of the very server's version: an older pg_dump refuses a newer server."""

    async def folder() -> str:
        connection = await asyncpg.connect(database_url)
        try:
            return str(await connection.fetchval("SELECT setting FROM pg_config WHERE name = 'BINDIR'"))
        finally:
            await connection.close()

    found = Path(asyncio.run(folder()))
    if not (found / "pg_dump").exists():
        pytest.skip(f"the server's own pg_dump is not here: {found}")
    return found


async def content(url: str) -> dict[str, tuple[int, str | None]]:
    """Every table's rows, as a number and a digest."""
    connection = await asyncpg.connect(url)
    try:
        tables = [row["tablename"] for row in await connection.fetch(SELECT_TABLES)]
        rows = {table: await connection.fetchrow(SELECT_CONTENT.format(table)) for table in tables}
        return {table: (row["n"], row["digest"]) for table, row in rows.items() if row is not None}
    finally:
        await connection.close()


async def as_admin(database_url: str, sql: str) -> None:
    connection = await asyncpg.connect(urlsplit(database_url)._replace(path="/postgres").geturl())
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


@pytest.fixture
def restored_url(database_url: str) -> Iterator[str]:
    """An empty database beside the test's own."""
    name = fresh_name("restored")
    asyncio.run(as_admin(database_url, f'CREATE DATABASE "{name}"'))
    try:
        yield urlsplit(database_url)._replace(path=f"/{name}").geturl()
    finally:
        asyncio.run(as_admin(database_url, f'DROP DATABASE "{name}" WITH (FORCE)'))


@contextmanager
def somebody(database_url: str, made: str) -> Iterator[tuple[str, str]]:
    """The test's own database, as a role that `made` makes, and that role's name."""
    name, parts = fresh_name("backup"), urlsplit(database_url)
    asyncio.run(as_admin(database_url, made.replace("justai_backup", f'"{name}"').replace("…", "its-own")))
    try:
        yield parts._replace(netloc=f"{name}:its-own@{parts.netloc.rpartition('@')[2]}").geturl(), name
    finally:
        asyncio.run(as_admin(database_url, f'DROP ROLE "{name}"'))


@pytest.fixture(params=["superuser", "role of the page"])
def dumped_url(request: pytest.FixtureRequest, database_url: str) -> Iterator[str]:
    """The test's own database, as whoever dumps it."""
    if request.param == "superuser":
        yield database_url
        return
    [made] = re.findall(r"`(CREATE ROLE justai_backup .+?)`", PAGE.read_text())
    with somebody(database_url, made) as (url, _):
        yield url


def test_a_dump_comes_back_whole_and_what_is_restored_is_fit_for_service(
    database_url: str, dumped_url: str, restored_url: str, amqp_url: str, tmp_path: Path
) -> None:
    before = Cli(settings(database_url, amqp_url))
    for slug in ("acme", "bolt"):
        before.ok("org", "create", slug, slug.title())
        before.ok("key", "create", slug, "webhook")
        path = tmp_path / "welcome.yaml"
        path.write_text(TEMPLATE)
        before.ok("template", "import", slug, str(path))
    bins, dump = programs(database_url), tmp_path / "justai.dump"

    subprocess.run([bins / "pg_dump", "--format=custom", f"--file={dump}", dumped_url], check=True, timeout=60)
    subprocess.run([bins / "pg_restore", "--file=/dev/null", dump], check=True, timeout=60)
    subprocess.run(
        [bins / "pg_restore", "--exit-on-error", "--no-owner", f"--dbname={restored_url}", dump], check=True, timeout=60
    )

    assert asyncio.run(content(restored_url)) == asyncio.run(content(database_url))
    after = Cli(settings(restored_url, amqp_url))
    assert {one["tone"] for one in findings(after) if one["area"] in {"database", "schema", "keys"}} == {"ok"}
    assert "Welcome" in after.ok("template", "list", "acme")
    asyncio.run(walls_stand(restored_url, after.value("SELECT org_id FROM orgs WHERE slug = 'acme'")))


def run(*command: str | Path) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(command, timeout=60, capture_output=True, check=False)


def test_who_owns_the_tables_and_is_nothing_more_may_not_dump_them(database_url: str) -> None:
    def as_superuser(sql: str) -> None:
        assert run(programs(database_url) / "psql", f"--command={sql}", database_url).returncode == 0

    with somebody(database_url, "CREATE ROLE justai_backup LOGIN PASSWORD '…'") as (url, owner):
        as_superuser(f'GRANT USAGE ON SCHEMA public TO "{owner}"; ALTER TABLE orgs OWNER TO "{owner}"')
        dump = run(programs(database_url) / "pg_dump", "--format=custom", "--table=orgs", url)
        as_superuser(f'REASSIGN OWNED BY "{owner}" TO CURRENT_USER; DROP OWNED BY "{owner}"')

    assert dump.returncode == 1
    [said] = re.findall(r'"(query would be .+?)"', PAGE.read_text())
    assert said.encode() in dump.stderr


def test_a_dump_that_broke_off_is_found(database_url: str, tmp_path: Path) -> None:
    bins, dump = programs(database_url), tmp_path / "justai.dump"
    whole = run(bins / "pg_dump", "--format=custom", database_url).stdout
    dump.write_bytes(whole[:-100])

    listed, read = run(bins / "pg_restore", "--list", dump), run(bins / "pg_restore", "--file=/dev/null", dump)

    assert (listed.returncode, b"TABLE DATA" in listed.stdout) == (0, True)
    assert (read.returncode, b"end of file" in read.stderr) == (1, True)


async def walls_stand(url: str, org_id: UUID) -> None:
    """An org sees itself alone, and no table is without its rules."""
    async with open_database(url, name="test-restored") as database, database.transaction(org_id) as connection:
        assert [row["slug"] for row in await connection.fetch("SELECT slug FROM orgs")] == ["acme"]
        assert await connection.fetch(SELECT_UNFORCED) == []
