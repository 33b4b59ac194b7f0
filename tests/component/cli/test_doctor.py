"""The doctor, on real servers that are well and then are not."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import asyncpg
import pytest

from cli.doctor import SELECT_SERVER
from shared.messaging.broker import connect, declare
from shared.messaging.topology import ALL, WRITE
from tests.component.cli.rig import OTHER_KEY, PEPPER, Cli, settings
from tests.component.cli.test_dead import bury

WAITING = (
    "INSERT INTO sources (source_id, org_id, name, kind) "
    "SELECT gen_random_uuid(), org_id, 'drop', 'folder' FROM orgs WHERE slug = 'acme'",
    "INSERT INTO ingest_files (file_id, org_id, source_id, path, size, mtime, state, first_seen_at, last_seen_at) "
    "SELECT gen_random_uuid(), org_id, source_id, 'a.csv', 1, now(), 'held', now(), now() FROM sources",
    "INSERT INTO sources (source_id, org_id, name, kind, last_error) "
    "SELECT gen_random_uuid(), org_id, 'their-server', 'folder', 'another host key' FROM orgs WHERE slug = 'bolt'",
    "INSERT INTO sources (source_id, org_id, name, kind) "
    "SELECT gen_random_uuid(), org_id, 'hourly', 'folder' FROM orgs WHERE slug = 'bolt'",
    "INSERT INTO ingest_files (file_id, org_id, source_id, path, size, mtime, state, first_seen_at, last_seen_at) "
    "SELECT gen_random_uuid(), org_id, source_id, hour || '.csv', 1, now(), 'done', "
    "now() - hour * interval '1 hour', now() FROM sources, generate_series(5, 12) AS hour WHERE name = 'hourly'",
    "INSERT INTO export_hours (org_id, table_name, hour, state, reason, due_at, error) "
    "SELECT org_id, 'generations', hour, 'blocked', 'schedule', hour, error FROM orgs, (VALUES "
    "('2026-11-23T10:00Z'::timestamptz, 's3_403: denied'), ('2026-08-23T10:00Z', 'rows_are_gone: for good')) "
    "AS two (hour, error) WHERE slug = 'acme'",
    "INSERT INTO policy_fits (org_id, template_id, epoch, error, driven_away) "
    "SELECT org_id, 'welcome', 1, 'ValueError: too few', '60 unsubscribes' FROM orgs WHERE slug = 'acme'",
    "INSERT INTO refused_webhooks (org_id, day, flow_id, code, webhooks, last_at) "
    "SELECT org_id, current_date, 'FLOW01', 'revoked_api_key', 7, now() FROM orgs WHERE slug = 'bolt'",
    "INSERT INTO shown_counts (org_id, span, at, template_id, decision, decided, shown, because, emails, seen) "
    "SELECT org_id, 60, date_trunc('hour', now(), 'UTC') - age, template, 'control', decided, 'control', '', emails, 0 "
    "FROM orgs, (VALUES (interval '0', 'welcome', 'field_missing', 30), ('0', 'welcome', 'explore', 50), "
    "('5 hours', 'winback', 'field_missing', 90), ('0', 'winback', 'unsafe_link', 5), "
    "('0', 'cart', 'field_missing', 20), ('0', 'cart', 'explore', 100), ('0', 'cart', 'control_split', 50)) "
    "AS counted (age, template, decided, emails) WHERE slug = 'acme'",
    "UPDATE variants SET state = 'paused' WHERE copy_id = (SELECT copy_id FROM variants ORDER BY name LIMIT 1)",
)
"""What stands still until somebody does something, and an hour for which nothing can be done."""


@pytest.fixture
def well(database_url: str, amqp_url: str) -> Cli:
    """Both servers, every queue declared; nobody takes from them."""

    async def work() -> None:
        async with connect(amqp_url, "test") as connection:
            await declare(connection, *ALL)

    asyncio.run(work())
    return Cli(settings(database_url, amqp_url))


def findings(cli: Cli, *arguments: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(cli.run("doctor", "--json", *arguments).stdout)
    return found


def bad(cli: Cli, area: str, *arguments: str) -> list[str]:
    return [f"{one['says']} | {one['do']}" for one in findings(cli, *arguments)
            if one["area"] == area and one["tone"] == "bad"]  # fmt: skip


async def test_a_kept_day_takes_as_many_locks_as_the_page_says(database_url: str) -> None:
    """docs/scale.md and deploy/compose.yaml count with 13."""
    connection = await asyncpg.connect(database_url)
    before = await connection.fetchrow(SELECT_SERVER)
    for table in ("generations", "write_outcomes", "events"):
        await connection.execute("SELECT ensure_partition($1, '2026-11-23')", table)
    after = await connection.fetchrow(SELECT_SERVER)
    await connection.close()

    assert before is not None
    assert after is not None
    assert after["locks"] == before["locks"] + 13
    assert after["most_locks"] >= 64 * after["most"]


def test_servers_schema_keys_and_room_are_well(well: Cli, tmp_path: Path) -> None:
    well.ok("org", "create", "acme", "Acme Coffee")
    well.ok("key", "create", "acme", "webhook")

    found = findings(well.with_settings(ingest_spool_dir=str(tmp_path)))

    assert {one["area"] for one in found} == {
        "settings",
        "database",
        "schema",
        "keys",
        "klaviyo",
        "orgs",
        "broker",
        "queues",
        "disk",
    }
    assert [one for one in found if one["tone"] == "bad" and one["area"] != "queues"] == []
    assert "RabbitMQ" in next(one["says"] for one in found if one["area"] == "broker")


def test_whoever_is_woken_learns_in_which_orgs_something_waits(well: Cli) -> None:
    well.ok("org", "create", "acme", "Acme Coffee")
    well.ok("org", "create", "bolt", "Bolt Bikes")
    well.ok("template", "import", "acme", "demo/shop/welcome.yaml")
    nobody = [one["says"] for one in findings(well) if one["area"] == "orgs"]

    for sql in WAITING:
        well.rows(sql)
    well.ok("org", "stop", "bolt", "--reason", "looking")
    well.ok("template", "stop", "acme", "welcome")

    assert nobody == ["Nothing waits for a person in any org"]
    assert [(one["tone"], one["says"]) for one in findings(well) if one["area"] == "orgs"] == [
        ("warn", "acme: 30 people of template welcome got control that nobody asked for, within two hours"),
        ("warn", "acme: 1 event files of source drop are held"),
        ("warn", "acme: the policy of template welcome cannot be fitted"),
        ("warn", "acme: 1 hours cannot be exported"),
        ("warn", "acme: more people leave by template welcome than by its control"),
        ("warn", "acme: template welcome is stopped"),
        ("warn", "acme: 1 paused in template welcome"),
        ("warn", "bolt: is stopped"),
        ("warn", "bolt: source hourly has had no new file for more than twice its usual gap"),
        ("warn", "bolt: source their-server cannot be read"),
        ("warn", "bolt: 7 webhooks of its flows were refused, the last within the hour"),
    ]


def test_queues_that_nobody_takes_from_end_it_with_status_one(well: Cli) -> None:
    result = well.run("doctor")

    assert result.exit_code == 1
    assert (
        "!! queues    Nobody takes from generate.0; 0 messages wait in generate. Is generator running?" in result.stdout
    )
    assert "ok database  PostgreSQL " in result.stdout


def test_buried_jobs_are_told(well: Cli) -> None:
    bury(well.env["JUSTAI_AMQP_URL"])

    said = [one["says"] for one in findings(well) if one["tone"] == "warn" and one["area"] == "queues"]

    assert "3 dead letters of write" in said


def test_a_queue_that_is_not_there_and_one_of_other_arguments_are_told(database_url: str, amqp_url: str) -> None:
    async def work() -> None:
        async with connect(amqp_url, "test") as connection:
            await declare(connection, *(spec for spec in ALL if spec is not WRITE))
            channel = await connection.channel()
            for name in WRITE.queues:
                await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})

    asyncio.run(work())
    cli = Cli(settings(database_url, amqp_url))
    assert any(line.startswith("write: declared once with other arguments") for line in bad(cli, "queues"))

    asyncio.run(_delete(amqp_url, WRITE.queues[3]))
    assert any(line.startswith(f"Queue {WRITE.queues[3]} is not there") for line in bad(cli, "queues"))


async def _delete(amqp_url: str, queue: str) -> None:
    async with connect(amqp_url, "test") as connection:
        await (await connection.channel()).queue_delete(queue)


def test_a_schema_that_lacks_a_migration_says_what_to_run(well: Cli) -> None:
    last = well.value("SELECT max(name) FROM schema_migrations")
    asyncio.run(_execute(well, "DELETE FROM schema_migrations WHERE name = $1", last))

    assert bad(well, "schema") == [f"1 migrations are missing, the first is {last} | Run `justai migrate`."]


async def _execute(cli: Cli, sql: str, *arguments: object) -> None:
    connection = await asyncpg.connect(cli.env["JUSTAI_DATABASE_URL"])
    try:
        await connection.execute(sql, *arguments)
    finally:
        await connection.close()


def test_secrets_and_api_keys_of_keys_that_are_gone_are_told(well: Cli) -> None:
    well.ok("org", "create", "acme", "Acme Coffee")
    well.ok("key", "create", "acme", "webhook")
    well.ok(
        "export", "target", "acme", "--bucket", "acme", "--region", "us-east-1", "--access-key", "AK", given="secret\n"
    )

    told = bad(well.with_settings(seal_keys=OTHER_KEY, api_key_peppers=PEPPER.replace("1:", "2:")), "keys")

    assert [line.split(" | ")[0] for line in told] == [
        "The S3 secret of acme does not open: it was sealed with k1",
        "API keys were stored with pepper 1, which is not set",
    ]


def test_servers_that_are_away_and_settings_that_are_wrong_are_told_together() -> None:
    nowhere = Cli(settings("postgresql://justai@127.0.0.1:1/nowhere", "amqp://127.0.0.1:1/"))
    assert bad(nowhere, "database")[0].startswith("PostgreSQL (JUSTAI_DATABASE_URL) is out of reach")
    assert bad(nowhere, "broker")[0].startswith("RabbitMQ (JUSTAI_AMQP_URL) is out of reach")

    wrong = nowhere.with_settings(ingest_attempts="none")
    assert [line.split(" | ")[0] for line in bad(wrong, "settings")] == [
        "JUSTAI_INGEST_ATTEMPTS: Input should be a valid integer, unable to parse string as an integer (ingest)"
    ]


@contextmanager
def answering(status: int, body: bytes = b"", **headers: str) -> Iterator[str]:
    """A server on loopback that says the same to everybody."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def test_an_address_that_redirects_or_is_somebody_elses_is_told(well: Cli) -> None:
    with answering(301, Location="https://www.example.com/") as url:
        assert f"{url}/api/generate/doctor redirects to https://www.example.com/" in "\n".join(
            bad(well, "address", "--url", url)
        )
    with answering(200, b"welcome") as url:
        assert f"{url}/api/generate/doctor answers 200, but not as the gateway does" in "\n".join(
            bad(well, "address", "--url", url)
        )
    assert "does not answer" in bad(well, "address", "--url", "http://127.0.0.1:1")[1]
