"""Export targets and backfills, as far as the command line goes; the exporter has tests of its own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from shared.crypto import KeyRing
from shared.schemas.ids import generation_day
from tests.component.cli.rig import KEY, Cli, settings

ROLE = "arn:aws:iam::111122223333:role/exports"
AT = datetime(2026, 11, 23, 10, 30, tzinfo=UTC)


@pytest.fixture
def cli(database_url: str, amqp_url: str) -> Cli:
    clock = f"scaled:1:{datetime.now(UTC).timestamp()}:2026-11-23T14:30:00+00:00"
    return Cli(settings(database_url, amqp_url) | {"JUSTAI_CLOCK": clock})


def a_generation(cli: Cli, at: datetime = AT) -> None:
    day = generation_day(at)
    cli.rows("SELECT ensure_partition('generations', $1)", day)
    cli.rows(
        "INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, "
        "deadline_at, clean_at, decision, reason, property_prefix, written_for) "
        "SELECT $1, $2, org_id, 't', 'u', 'u.f.a', $3, $3, $3, 'control', 'template_draft', 'jai', 't.f.a' FROM orgs",
        day, uuid4(), at,
    )  # fmt: skip


def target(cli: Cli) -> dict[str, Any]:
    [row] = cli.rows("SELECT * FROM export_targets")
    return row


@contextmanager
def exporter(cli: Cli, error: str | None = None) -> Iterator[None]:
    """Settles every hour that is asked for, in place of the service."""
    stop = threading.Event()
    settle = (
        "UPDATE export_hours SET state = 'exported', exported_seq = dirty_seq, rows = 5, bytes = 100"
        if error is None
        else f"UPDATE export_hours SET state = 'blocked', error = '{error}'"
    )

    async def work() -> None:
        connection = await asyncpg.connect(cli.env["JUSTAI_DATABASE_URL"])
        try:
            while not stop.is_set():
                await connection.execute(settle)
                await asyncio.sleep(0.02)
        finally:
            await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


def test_a_target_is_stored_with_its_secret_sealed_and_nowhere_else(acme: Cli) -> None:
    said = acme.ok(
        "export", "target", "acme", "--bucket", "records", "--prefix", "/jai/out/", "--access-key", "AKID",
        "--cadence", "hourly", given="canary-secret\n",
    )  # fmt: skip

    row = target(acme)
    assert said == "Exports of acme go to s3://records/jai/out (hourly).\n"
    assert (row["bucket"], row["prefix"], row["access_key"], row["cadence"]) == ("records", "jai/out", "AKID", "hourly")
    assert KeyRing(KEY).open(row["sealed_secret"], f"{row['org_id']}/export") == "canary-secret"
    assert "canary-secret" not in acme.everything()


def test_a_target_says_what_is_exported_beside_the_record(acme: Cli) -> None:
    acme.ok(
        "export", "target", "acme", "--bucket", "records", "--record", "analyst", "--table", "variants", "--table",
        "outcomes", "--layout", "hive", "--success-file",
    )  # fmt: skip

    row = target(acme)
    assert (row["record"], row["tables"], row["layout"]) == ("analyst", ["outcomes", "variants"], "hive")
    assert row["success_file"]


def test_a_target_said_again_is_replaced(acme: Cli) -> None:
    acme.ok("export", "target", "acme", "--bucket", "old", "--access-key", "AKID", given="s\n")

    said = acme.ok("export", "target", "acme", "--bucket", "new", "--role-arn", ROLE)

    row = target(acme)
    [org] = acme.rows("SELECT export_external_id FROM orgs")
    assert (row["bucket"], row["access_key"], row["sealed_secret"]) == ("new", None, None)
    assert (row["role_arn"], row["external_id"]) == (ROLE, None)
    assert said.endswith(f"The role {ROLE} is taken with the external id {org['export_external_id']}.\n")


def test_who_names_another_place_is_told_what_becomes_of_what_was_exported(acme: Cli) -> None:
    acme.ok("export", "target", "acme", "--bucket", "records")
    acme.rows(
        "INSERT INTO export_hours (org_id, table_name, hour, reason, due_at, exported_seq) "
        "SELECT org_id, 'generations', $1, 'schedule', $1, 1 FROM orgs", AT.replace(minute=0),
    )  # fmt: skip

    said = acme.ok("export", "target", "acme", "--bucket", "elsewhere")

    assert "This is another place, where earlier exports are made too: 1. What lies in the old one stays" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--bucket", " "), "--bucket: is empty."),
        (
            ("--bucket", "records", "--endpoint-url", "s3.example"),
            "--endpoint-url: 's3.example' must begin with https://",
        ),
        ((), "--bucket: is empty."),
        (("--bucket", "records", "--bucket-owner", "12"), "--bucket-owner: is the number of an AWS account, 12 digits"),
        (
            ("--bucket", "records", "--role-arn", "x"),
            "--role-arn: 'x' is no ARN of a role like arn:aws:iam::111122223333",
        ),
        (("--bucket", "records", "--encryption", "kms"), "--kms-key-id: names the key by its ARN"),
        (("--bucket", "records", "--kms-key-id", "k"), "--kms-key-id: belongs to the encryption kms; say that too"),
        (
            ("--bucket", "records", "--access-key", "AKID"),
            "Secret access key: it is read from standard input, which was empty.",
        ),
    ],
)
def test_a_target_that_cannot_be_used_is_refused_by_its_option(acme: Cli, options: tuple[str, ...], said: str) -> None:
    assert acme.line("export", "target", "acme", *options).startswith(said)
    assert acme.rows("SELECT * FROM export_targets") == []


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("yesterday", "2026-11-24", "--from: 'yesterday' is no moment; write 2026-11-23 or 2026-11-23T10."),
        ("2026-11-23", "2026-13-01", "--to: '2026-13-01' is no moment; write 2026-11-23 or 2026-11-23T10."),
        ("2026-11-23", "2026-11-23", "--to: 2026-11-23 is not after --from 2026-11-23; it is exclusive."),
        ("2026-11-23T10", "2026-11-23T09", "--to: 2026-11-23T09 is not after --from 2026-11-23T10; it is exclusive."),
    ],
)
def test_a_range_that_is_none_is_refused_by_its_option(acme: Cli, start: str, end: str, said: str) -> None:
    assert acme.line("export", "backfill", "acme", "--from", start, "--to", end) == said


def test_a_backfill_needs_a_target_and_something_to_export(acme: Cli) -> None:
    backfill = ("export", "backfill", "acme", "--from", "2026-11-23", "--to", "2026-11-24")

    nowhere = acme.line(*backfill)
    acme.ok("export", "target", "acme", "--bucket", "records")
    nothing = acme.line(*backfill)

    assert nowhere == "There is no export target yet: justai export target acme --bucket …"
    assert nothing == "No hour from 2026-11-23 00:00 to 2026-11-24 00:00 UTC holds anything yet."


def test_a_backfill_asks_for_the_hours_that_hold_something_and_have_begun(acme: Cli) -> None:
    acme.ok("export", "target", "acme", "--bucket", "records")
    a_generation(acme)

    said = acme.ok("export", "backfill", "acme", "--from", "2026-11-20", "--to", "2026-11-30", "--no-wait")

    hours = [row["hour"] for row in acme.rows("SELECT hour FROM export_hours ORDER BY hour")]
    assert said == "Asked for 5 hours; see `justai export hours acme`.\n"
    assert hours == [AT.replace(minute=0) + timedelta(hours=n) for n in range(5)]
    listed = acme.ok("export", "hours", "acme")
    assert listed.startswith("To s3://records, daily.\n")
    assert listed.count("pending") == 5


def test_a_backfill_waits_until_every_hour_is_exported(acme: Cli) -> None:
    acme.ok("export", "target", "acme", "--bucket", "records")
    a_generation(acme)

    with exporter(acme):
        said = acme.ok("export", "backfill", "acme", "--from", "2026-11-23T10", "--to", "2026-11-23T12:30:00+01:00")

    assert said == "2 hours exported: 10 rows, 200 bytes.\n"
    assert acme.ok("export", "hours", "acme").count("exported") >= 2


def test_a_dry_run_says_what_would_be_overwritten_and_asks_for_nothing(acme: Cli) -> None:
    acme.ok("export", "target", "acme", "--bucket", "records")
    a_generation(acme)
    backfill = ("export", "backfill", "acme", "--from", "2026-11-23T10", "--to", "2026-11-23T12")
    with exporter(acme):
        acme.ok(*backfill)

    said = acme.ok(*backfill, "--dry-run")

    assert said == "2 hours of generations: 2 exports, which overwrite 2 objects with 10 rows and 200 bytes.\n"
    assert acme.rows("SELECT 1 FROM export_hours WHERE dirty_seq > exported_seq") == []


def test_a_backfill_that_was_killed_is_resumed_without_exporting_anything_twice(acme: Cli) -> None:
    acme.ok("export", "target", "acme", "--bucket", "records")
    a_generation(acme)
    backfill = ("export", "backfill", "acme", "--from", "2026-11-23T10", "--to", "2026-11-23T14")
    acme.ok(*backfill, "--no-wait")
    acme.rows("UPDATE export_hours SET exported_seq = 1, state = 'exported', rows = 1 WHERE hour < $1", AT)

    said = acme.ok(*backfill, "--resume", "--no-wait")
    acme.rows("UPDATE export_hours SET exported_seq = 1, state = 'exported'")
    again = acme.ok(*backfill, "--resume")

    assert said == "Asked for 3 hours; see `justai export hours acme`.\n"
    assert again == "Nothing of this range waits to be exported.\n"
    assert {row["dirty_seq"] for row in acme.rows("SELECT dirty_seq FROM export_hours")} == {1}


def test_a_backfill_that_is_blocked_fails_and_says_why(acme: Cli) -> None:
    acme.ok("export", "target", "acme", "--bucket", "records")
    a_generation(acme)

    with exporter(acme, error="access_denied: the bucket refuses us"):
        result = acme.run("export", "backfill", "acme", "--from", "2026-11-23T10", "--to", "2026-11-23T11")

    assert result.exit_code == 1
    assert "2026-11-23 10 access_denied: the bucket refuses us" in result.stderr
    assert "1 hours are blocked; mend the cause above and run it again." in result.stderr


def test_without_a_target_the_hours_say_how_to_set_one(acme: Cli) -> None:
    assert acme.ok("export", "hours", "acme").splitlines() == [
        "There is no export target yet: justai export target acme --bucket …", "No hour was asked for yet.",
    ]  # fmt: skip
