"""One key of the ring takes the place of another: everything that is sealed, and nothing else."""

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Thread
from uuid import UUID, uuid4

import pytest

from shared.crypto import KeyRing, key_name
from shared.db import sealed
from shared.db.pool import open_database
from tests.component.cli.rig import KEY, OTHER_KEY, Cli
from tests.support.kms import ALIAS, ARN, kms_serving

OLD, NEW = KeyRing(KEY), KeyRing(OTHER_KEY)
BOTH = f"{OTHER_KEY},{KEY}"


@pytest.fixture
def stored(acme: Cli) -> Cli:
    """An org with one secret of each kind there is, each saying whose it is."""
    org_id: UUID = acme.value("SELECT org_id FROM orgs")
    source_id, hook_id, user_id, digest = uuid4(), uuid4(), uuid4(), os.urandom(32)
    now = datetime.now(UTC)

    def seal(place: str) -> str:
        return OLD.seal(f"secret of {place}", place)

    acme.rows(
        "INSERT INTO integrations (org_id, account_key, account_name, base_url, sealed_key, last4, scopes, verified_at,"
        " updated_at) VALUES ($1, 'a', 'A', 'http://x', $2, 'abcd', '{}', $3, $3)",
        org_id, seal(f"{org_id}/klaviyo"), now,
    )  # fmt: skip
    acme.rows(
        "INSERT INTO sources (source_id, org_id, name, kind, host, username, host_key, sealed_key, refused_at,"
        " last_error) VALUES ($1, $2, 'events', 'sftp', 'h', 'u', 'k', $3, $4, 'no')",
        source_id, org_id, seal(f"{org_id}/source/{source_id}"), now,
    )  # fmt: skip
    acme.rows(
        "INSERT INTO export_targets (org_id, bucket, region, access_key, sealed_secret, created_at, updated_at)"
        " VALUES ($1, 'bucket', 'eu-central-1', 'AK', $2, $3, $3)",
        org_id, seal(f"{org_id}/export"), now,
    )  # fmt: skip
    acme.rows(
        "INSERT INTO event_hooks VALUES ($1, $2, $3, $4, $5, $6, $6)",
        source_id, org_id, hook_id, seal(f"{org_id}/hook/{hook_id}"), seal(f"{org_id}/hook/{hook_id}"), now,
    )  # fmt: skip
    acme.rows(
        "INSERT INTO users (user_id, email, name, password_hash, sealed_totp, totp_since, created_at)"
        " VALUES ($1, 'ann@acme.example', 'Ann', 'x', $2, $3, $3)",
        user_id, seal(f"users/{user_id}/totp"), now,
    )  # fmt: skip
    acme.rows(
        "INSERT INTO sessions (digest, user_id, stage, created_at, seen_at, sealed_id_token)"
        " VALUES ($1, $2, 'full', $3, $3, $4)",
        digest, user_id, now, seal(f"sessions/{digest.hex()}/id_token"),
    )  # fmt: skip
    return acme


def everything(cli: Cli) -> list[dict[str, str]]:
    return cli.rows(sealed.SELECT_SEALED)


def test_no_sealed_column_of_the_schema_is_forgotten(acme: Cli) -> None:
    columns = acme.rows(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_name LIKE 'sealed%'"
    )

    assert {(one["table_name"], one["column_name"]) for one in columns} == {
        (one.table, one.column) for one in sealed.COLUMNS
    }


def test_every_secret_is_sealed_again_and_nothing_else_is_touched(stored: Cli) -> None:
    before = everything(stored)
    both = stored.with_settings(seal_keys=BOTH)
    source = stored.rows("SELECT refused_at, last_error, next_poll_at FROM sources")

    said = both.ok("kek", "rotate")

    after = everything(stored)
    assert said == f"Sealed {len(sealed.COLUMNS)} secrets again with k2.\n"
    assert {NEW.open(one["sealed"], one["place"]) for one in after} == {f"secret of {one['place']}" for one in before}
    assert stored.rows("SELECT refused_at, last_error, next_poll_at FROM sources") == source
    assert both.ok("kek", "rotate") == "Nothing was left to seal again with k2.\n"


def test_a_secret_that_does_not_open_is_named_and_the_others_are_sealed_again(stored: Cli) -> None:
    stored.rows("UPDATE export_targets SET sealed_secret = 'v1.k0.AAAA.AAAA'")

    result = stored.with_settings(seal_keys=BOTH).run("kek", "rotate")

    assert result.exit_code == 1
    assert f"Sealed {len(sealed.COLUMNS) - 1} secrets again with k2.\n" in result.stdout
    assert "S3 secret of acme: sealed with key 'k0' (v1), which is not in the ring" in result.stderr
    assert stored.value("SELECT sealed_secret FROM export_targets") == "v1.k0.AAAA.AAAA"


def test_rotating_that_was_interrupted_goes_on_where_it_ended(stored: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "BATCH", 1)

    async def begin() -> None:
        async with open_database(stored.env["JUSTAI_DATABASE_URL"], name="test") as database:
            rounds = sealed.rewrap(database, KeyRing(BOTH))
            for _ in range(3):
                await anext(rounds)
            await rounds.aclose()  # type: ignore[attr-defined]  # a generator

    asyncio.run(begin())
    assert sorted(key_name(one["sealed"]) for one in everything(stored)) == ["k1"] * 4 + ["k2"] * 3

    assert stored.with_settings(seal_keys=BOTH).ok("kek", "rotate") == "Sealed 4 secrets again with k2.\n"


def test_a_secret_that_somebody_changes_meanwhile_is_theirs(stored: Cli) -> None:
    async def work() -> None:
        async with open_database(stored.env["JUSTAI_DATABASE_URL"], name="test") as database:
            row = next(one for one in sealed.COLUMNS if one.table == "export_targets")
            async with database.transaction() as connection:
                rows = await connection.fetch(sealed._select(row), None, "k2", 10)
                await connection.execute("UPDATE export_targets SET sealed_secret = 'v1.k2.new.one'")
                done = await sealed._rewrap(connection, row, KeyRing(BOTH), rows)
                assert (done.done, done.shut) == (0, [])

    asyncio.run(work())

    assert stored.value("SELECT sealed_secret FROM export_targets") == "v1.k2.new.one"


def test_a_key_that_a_running_process_lacks_seals_nothing(stored: Cli) -> None:
    before = everything(stored)
    now = datetime.now(UTC)
    hold = "INSERT INTO ring_holders VALUES ($1, $2, 'node-1', $3, $4)"
    stored.rows(hold, uuid4(), "gateway", ["k1"], now)
    stored.rows(hold, uuid4(), "egress", ["k1", "k2"], now)
    stored.rows(hold, uuid4(), "console", ["k1"], now - timedelta(minutes=2))  # it crashed
    both = stored.with_settings(seal_keys=BOTH)

    said, listed = both.line("kek", "rotate"), both.ok("kek", "list")

    assert said.startswith("Key k2 is not known to gateway on node-1: what it seals would not open there.")
    assert everything(stored) == before
    lines = [" ".join(line.split()) for line in listed.splitlines()]
    assert f"k1 opens {len(sealed.COLUMNS)} 2 of 2" in lines
    assert "k2 seals 0 1 of 2; not gateway on node-1" in lines
    assert "gateway on node-1 seals with k1." in lines


def test_who_still_seals_with_the_old_key_is_told(stored: Cli) -> None:
    stored.rows("INSERT INTO ring_holders VALUES ($1, 'console', 'node-1', $2, $3)", uuid4(), ["k1", "k2"],
                datetime.now(UTC))  # fmt: skip

    result = stored.with_settings(seal_keys=BOTH).run("kek", "rotate")

    assert result.exit_code == 0
    assert "console on node-1 still seals with k1: put k2 first there, and run this again." in result.stderr


def test_an_org_can_be_stopped_while_the_ring_cannot_be_read_but_nothing_be_sealed(acme: Cli) -> None:
    lost = acme.with_settings(seal_keys="file:/nowhere/ring")

    assert lost.ok("org", "stop", "acme")
    assert "the key ring's file /nowhere/ring cannot be read" in lost.line("kek", "rotate")


def test_a_key_that_kms_wraps_is_printed_and_rotated_to_like_any_other(
    stored: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kms_in_a_thread() as url:
        for name, value in (("ENDPOINT_URL_KMS", url), ("ACCESS_KEY_ID", "AK"), ("SECRET_ACCESS_KEY", "s")):
            monkeypatch.setenv(f"AWS_{name}", value)
        assert stored.line("keyring", "new", "k3", "--kms", ALIAS).startswith("say the key's ARN, or set AWS_REGION")
        made = stored.ok("keyring", "new", "k3", "--kms", ARN).strip()
        wrapped = stored.with_settings(seal_keys=f"{made},{KEY}")

        assert made.startswith(f"k3:kms:{ARN}#")
        assert wrapped.ok("kek", "rotate") == f"Sealed {len(sealed.COLUMNS)} secrets again with k3.\n"
        assert "k3" in stored.with_settings(seal_keys=made).ok("kek", "list")
        alone = doctor_says(stored.with_settings(seal_keys=made))
    assert f"{len(sealed.COLUMNS)} stored secrets open" in alone
    assert "AWS KMS does not answer" in doctor_says(stored.with_settings(seal_keys=made))


def doctor_says(cli: Cli) -> str:
    return " ".join(one["says"] for one in json.loads(cli.run("doctor", "--json").stdout) if one["area"] == "keys")


@contextmanager
def kms_in_a_thread() -> Iterator[str]:
    """Commands have event loops of their own."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    serving = kms_serving()
    try:
        yield asyncio.run_coroutine_threadsafe(serving.__aenter__(), loop).result(10).url
    finally:
        asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
