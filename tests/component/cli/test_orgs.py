"""Orgs and API keys, and what every command says when the world is not as it should be."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from devstack.isolation import fresh_name
from shared.api_keys import well_formed
from tests.component.cli.rig import KEY, PEPPER, Cli


def test_an_org_is_created_once_and_listed(cli: Cli) -> None:
    assert "No orgs yet" in cli.ok("org", "list")

    said = cli.ok("org", "create", "acme", "Acme [red]Coffee[/] :smile:")

    assert said == "Created org acme. Next: justai key create acme webhook\n"
    assert "Acme [red]Coffee[/] :smile:" in cli.ok("org", "list")
    assert cli.line("org", "create", "acme", "Other") == "There is an org 'acme' already."
    steps = cli.ok("org", "set-up", "acme")
    assert ">> Connect Klaviyo: Paste a private key" in steps
    assert "justai klaviyo connect --help" in steps
    assert steps.count("\n-- ") == 10


@pytest.mark.parametrize("slug", ["Acme", "a b", "", "-a", "a/b", "a" * 64, "é"])
def test_a_slug_that_cannot_be_part_of_the_url_is_refused_by_name(cli: Cli, slug: str) -> None:
    assert cli.line("org", "create", "--", slug, "Acme").startswith(f"slug: {slug!r} cannot be part of the URL; use")


def test_an_unknown_org_is_answered_with_the_known_ones(cli: Cli) -> None:
    assert cli.line("key", "list", "acme") == (
        "There is no org 'acme'. Orgs: none yet; create one with `justai org create`."
    )

    cli.ok("org", "create", "apex", "Apex")
    cli.ok("org", "create", "zed", "Zed")

    for command in (
        ("key", "list", "acme"), ("key", "create", "acme", "x"), ("key", "revoke", "acme", "x"),
        ("template", "list", "acme"), ("snippet", "acme", "welcome"), ("webhook", "acme", "welcome"),
        ("flows", "sync", "acme"), ("source", "list", "acme"), ("source", "files", "acme", "x"),
        ("export", "hours", "acme"), ("outcomes", "acme"),
    ):  # fmt: skip
        assert cli.line(*command) == "There is no org 'acme'. Orgs: apex, zed."


def test_a_key_is_shown_once_and_only_its_digest_is_stored(acme: Cli) -> None:
    key = acme.ok("key", "create", "acme", "webhook", "--quiet").strip()

    assert well_formed(key)
    pepper = base64.b64decode(PEPPER.partition(":")[2])
    [stored] = acme.rows("SELECT digest, pepper, shown, scopes FROM api_keys")
    assert stored["digest"] == hmac.new(pepper, key.encode(), hashlib.sha256).digest()
    assert (stored["pepper"], stored["shown"], stored["scopes"]) == (1, f"jai_live_…{key[-4:]}", ["generate"])
    assert key not in acme.everything()
    assert key not in acme.ok("key", "list", "acme")


def test_without_quiet_the_key_comes_with_a_warning(acme: Cli) -> None:
    key, blank, warning = acme.ok("key", "create", "acme", "webhook").splitlines()

    assert well_formed(key)
    assert (blank, warning) == ("", "Store it now: it is not shown again.")


def test_a_revoked_key_stays_revoked_and_its_neighbours_active(acme: Cli) -> None:
    acme.ok("key", "create", "acme", "old")
    acme.ok("key", "create", "acme", "old")
    acme.ok("key", "create", "acme", "new")

    said = acme.ok("key", "revoke", "acme", "old")

    assert said.count("jai_live_…") == 2
    assert acme.rows("SELECT name, revoked_at IS NULL AS active FROM api_keys ORDER BY name, created_at") == [
        {"name": "new", "active": True}, {"name": "old", "active": False}, {"name": "old", "active": False},
    ]  # fmt: skip
    assert acme.line("key", "revoke", "acme", "old") == "No active key 'old'; see `justai key list acme`."


def test_one_of_two_keys_of_a_name_can_be_revoked_as_it_is_shown(acme: Cli) -> None:
    acme.ok("key", "create", "acme", "webhook")
    second = acme.ok("key", "create", "acme", "webhook", "--quiet").strip()

    acme.ok("key", "revoke", "acme", f"jai_live_…{second[-4:]}")

    assert acme.value("SELECT count(*) FROM api_keys WHERE revoked_at IS NULL") == 1


def test_a_key_may_generate_and_what_it_was_given_besides(acme: Cli) -> None:
    acme.ok("key", "create", "acme", "webhook")
    acme.ok("key", "create", "acme", "desk", "--scope", "preview")

    scopes = {row["name"]: row["scopes"] for row in acme.rows("SELECT name, scopes FROM api_keys")}

    assert scopes == {"webhook": ["generate"], "desk": ["generate", "preview"]}
    assert "generate, preview" in acme.ok("key", "list", "acme")
    assert "'everything' is not one of" in acme.error("key", "create", "acme", "x", "--scope", "everything")


def test_the_list_of_keys_says_their_state(acme: Cli) -> None:
    for name in ("active", "revoked", "expiring", "expired"):
        acme.ok("key", "create", "acme", name, *(["--days", "30"] if name == "expiring" else []))
    acme.ok("key", "revoke", "acme", "revoked")
    acme.rows("UPDATE api_keys SET expires_at = $1 WHERE name = 'expired'", datetime(2020, 1, 1, tzinfo=UTC))
    acme.rows("UPDATE api_keys SET last_used_at = $1 WHERE name = 'active'", datetime(2026, 11, 23, 10, tzinfo=UTC))

    lines = {line.split()[0]: line for line in acme.ok("key", "list", "acme").splitlines() if "jai_live" in line}

    day = datetime.now(UTC) + timedelta(days=30)
    assert "never" in lines["revoked"]
    assert lines["revoked"].split()[-2:] == ["revoked", "1"]
    assert lines["expired"].split()[-2:] == ["expired", "1"]
    assert f"active until {day:%Y-%m-%d}" in lines["expiring"]
    assert "2026-11-23 10:00:00 UTC" in lines["active"]


# --- the world -------------------------------------------------------------------------------------------------------


def test_missing_settings_are_told_all_at_once() -> None:
    message = Cli({}).error("org", "list")

    head, *faults = message.splitlines()
    assert head == "Error: The configuration is not usable:"
    assert [fault.partition(":")[0] for fault in faults] == [
        "JUSTAI_DATABASE_URL", "JUSTAI_AMQP_URL", "JUSTAI_SEAL_KEYS", "JUSTAI_API_KEY_PEPPERS",
    ]  # fmt: skip


def test_wrong_settings_are_told_by_name_and_never_by_value(cli: Cli) -> None:
    wrong = cli.with_settings(
        database_url="postgresql://u:can/ary@h/db", amqp_url="canary", seal_keys="canary", api_key_peppers="x:canary",
        clock="canary-free", databse_pool="3",
    )  # fmt: skip

    faults = wrong.error("org", "list").splitlines()[1:]

    assert sorted(fault.partition(":")[0] for fault in faults) == [
        "JUSTAI_AMQP_URL", "JUSTAI_API_KEY_PEPPERS", "JUSTAI_CLOCK", "JUSTAI_DATABASE_URL", "JUSTAI_DATABSE_POOL",
        "JUSTAI_SEAL_KEYS",
    ]  # fmt: skip
    assert not any("can/ary" in fault or ("canary" in fault and "CLOCK" not in fault) for fault in faults)


def test_a_database_that_is_down_is_one_line_that_names_its_setting(cli: Cli) -> None:
    down = cli.with_settings(database_url="postgresql://justai:secret@127.0.0.1:1/justai")

    for command in (("migrate",), ("org", "list"), ("key", "create", "acme", "x")):
        message = down.line(*command)
        assert message.startswith("PostgreSQL is out of reach (JUSTAI_DATABASE_URL)")
        assert "secret" not in message


def test_a_database_that_refuses_us_is_one_line(cli: Cli) -> None:
    url = cli.env["JUSTAI_DATABASE_URL"]
    elsewhere = urlsplit(url)._replace(path="/nothing-here").geturl()

    missing = cli.with_settings(database_url=elsewhere).line("org", "list")
    role = cli.with_settings(database_role="nobody_here").line("org", "list")

    assert missing == 'PostgreSQL refuses us (JUSTAI_DATABASE_URL): database "nothing-here" does not exist'
    assert role == 'PostgreSQL refuses us (JUSTAI_DATABASE_URL): role "nobody_here" does not exist'


def test_a_schema_that_is_not_up_to_date_says_which_command_is_missing(cli: Cli) -> None:
    cli.rows("DELETE FROM schema_migrations WHERE name = (SELECT max(name) FROM schema_migrations)")

    assert cli.line("org", "list").endswith("run `justai migrate` first")


def test_migrate_says_what_it_did_and_the_second_time_that_there_is_nothing_to_do(cli: Cli) -> None:
    admin = cli.env["JUSTAI_DATABASE_URL"]
    name = fresh_name("empty")
    cli.rows(f'CREATE DATABASE "{name}"')
    empty = cli.with_settings(database_url=urlsplit(admin)._replace(path=f"/{name}").geturl())
    try:
        first, second = empty.ok("migrate"), empty.ok("migrate")
    finally:
        cli.rows(f'DROP DATABASE "{name}"')

    assert first.startswith("applied 0001_orgs\napplied 0002_")
    assert second == "The schema is up to date.\n"


def test_a_new_key_of_the_ring_fits_the_setting(cli: Cli) -> None:
    made = cli.ok("keyring", "new", "k9").strip()

    assert made.startswith("k9:")
    assert cli.with_settings(seal_keys=f"{made},{KEY}").ok("org", "list")
    assert "cannot name a key" in cli.line("keyring", "new", "a:b")


def test_to_pause_an_org_is_to_stop_it(acme: Cli) -> None:
    said = acme.ok("org", "pause", "acme", "--reason", "asked for")

    assert said == acme.ok("org", "stop", "acme", "--reason", "asked for")
    assert acme.value("SELECT stopped_reason FROM orgs") == "asked for"
    assert acme.ok("org", "resume", "acme") == "acme is served again.\n"
    assert "pause" not in acme.ok("org", "--help").partition("Commands:")[2]
