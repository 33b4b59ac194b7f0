"""Sources of other kinds than SFTP: what belongs together is demanded, secrets are sealed, a removed one is gone."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cli.source_progress import how_far, size
from shared.admin.sources.files import SourceFile
from shared.crypto import KeyRing
from tests.component.cli.rig import KEY, Cli

NOW = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("canary-secret\n")
    return path


def bucket(secret_file: Path) -> tuple[str, ...]:
    return (
        "source", "add", "acme", "lake", "--kind", "s3", "--bucket", "acme-events", "--path", "klaviyo",
        "--region", "eu-central-1", "--access-key", "AKIA1", "--secret-key-file", str(secret_file),
    )  # fmt: skip


def source(cli: Cli) -> dict[str, Any]:
    [row] = cli.rows("SELECT * FROM sources")
    return row


def test_a_bucket_is_stored_with_its_secret_sealed_and_nowhere_else(acme: Cli, secret_file: Path) -> None:
    acme.ok(*bucket(secret_file))

    row = source(acme)
    assert (row["kind"], row["bucket"], row["region"], row["access_key"], row["endpoint_url"], row["host"]) == (
        "s3", "acme-events", "eu-central-1", "AKIA1", "", "",
    )  # fmt: skip
    assert KeyRing(KEY).open(row["sealed_key"], f"{row['org_id']}/source/{row['source_id']}") == "canary-secret"
    assert "canary" not in acme.everything()
    assert "s3://acme-events/klaviyo" in acme.ok("source", "list", "acme")


def test_a_folder_needs_nothing_but_its_name(acme: Cli) -> None:
    acme.ok("source", "add", "acme", "drop", "--kind", "folder", "--path", "in")

    row = source(acme)
    assert (row["kind"], row["path"], row["sealed_key"], row["host"]) == ("folder", "in", "", "")
    assert "acme/in" in acme.ok("source", "list", "acme")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--kind", "folder", "--host", "x"), "--host: belongs to sources of kind sftp; this one is of kind folder."),
        (("--kind", "s3"), "--bucket: is missing; a source of kind s3 needs it."),
        (("--kind", "s3", "--bucket", "b!"), "--bucket: is no bucket's name: 3 to 63 lower-case letters"),
        (("--kind", "s3", "--bucket", "abc", "--region", "x/y"), "--region: is no region like eu-central-1."),
        (("--kind", "s3", "--bucket", "abc", "--endpoint-url", "ftp://x"), "--endpoint-url: is no URL like https://s3"),
        (("--kind", "s3", "--bucket", "abc", "--access-key", "k"), "--secret-key-file: is missing; it belongs to the"),
        (("--kind", "s3", "--bucket", "abc", "--host-key", "k"), "--host-key: belongs to sources of kind sftp"),
    ],
)
def test_what_does_not_make_a_source_of_its_kind_is_named_by_its_option(
    acme: Cli, options: tuple[str, ...], said: str
) -> None:
    assert acme.line("source", "add", "acme", "x", *options).startswith(said)
    assert acme.rows("SELECT * FROM sources") == []


def test_a_bucket_is_changed_in_part_and_another_key_needs_its_secret(acme: Cli, secret_file: Path) -> None:
    acme.ok(*bucket(secret_file))
    before = source(acme)

    acme.ok("source", "set", "acme", "lake", "--endpoint-url", "https://s3.example.com/", "--path", "in")
    moved = source(acme)
    refused = acme.line("source", "set", "acme", "lake", "--access-key", "AKIA2")
    strange = acme.line("source", "set", "acme", "lake", "--host", "x")
    acme.ok("source", "set", "acme", "lake", "--access-key", "AKIA2", "--secret-key-file", str(secret_file))
    keyed = source(acme)
    acme.ok("source", "set", "acme", "lake", "--access-key", "")
    own = source(acme)

    assert moved == before | {"endpoint_url": "https://s3.example.com", "path": "in"}
    assert refused == "--secret-key-file: is missing; another access key has another secret."
    assert strange == "--host: belongs to sources of kind sftp; this one is of kind s3."
    assert (keyed["access_key"], keyed["sealed_key"] != before["sealed_key"]) == ("AKIA2", True)
    assert (own["access_key"], own["sealed_key"]) == ("", "")


def test_a_source_that_brought_nothing_is_removed_and_one_that_did_keeps_its_row_without_its_keys(
    acme: Cli, secret_file: Path
) -> None:
    acme.ok(*bucket(secret_file))
    acme.ok("source", "rm", "acme", "lake", "--yes")
    gone = acme.rows("SELECT * FROM sources")
    acme.ok(*bucket(secret_file))
    for state in ("done", "listed"):
        acme.rows(
            "INSERT INTO ingest_files (file_id, org_id, source_id, path, size, mtime, state, first_seen_at,"
            " last_seen_at) SELECT $1, org_id, source_id, $2, 1, now(), $2, now(), now() FROM sources",
            uuid4(), state,
        )  # fmt: skip
    asked = acme.run("source", "rm", "acme", "lake", given="n\n").output
    acme.ok("source", "rm", "acme", "lake", given="y\n")

    row = source(acme)
    assert gone == []
    assert "Aborted" in asked
    assert (row["enabled"], row["sealed_key"], row["access_key"]) == (False, "", "")
    assert row["name"].startswith("lake (removed ")
    assert [file["path"] for file in acme.rows("SELECT path FROM ingest_files")] == ["done"]
    assert acme.ok("source", "list", "acme") == "No sources yet; add one with `justai source add`.\n"
    assert acme.line("source", "files", "acme", "lake").startswith("No source 'lake'")
    acme.ok(*bucket(secret_file))


def test_reading_all_again_says_how_much_it_is_before_it_is_asked_for(acme: Cli, secret_file: Path) -> None:
    acme.ok(*bucket(secret_file))
    for number, (path, state) in enumerate((("a.csv", "done"), ("a.csv", "done"), ("b.csv", "held"), ("c", "listed"))):
        acme.rows(
            "INSERT INTO ingest_files (file_id, org_id, source_id, path, size, mtime, state, first_seen_at,"
            " last_seen_at) SELECT $1, org_id, source_id, $2, 1000 + $4::int, now(), $3, now() + $4 * interval '1 s',"
            " now() FROM sources",
            uuid4(), path, state, number,
        )  # fmt: skip

    said = acme.run("source", "rescan", "acme", "lake", "--all", given="n\n").output
    nothing = source(acme)["reread_at"]
    assert acme.run("source", "rescan", "acme", "lake", "--all", "--yes", "--wait-s", "0").exit_code == 1

    assert "At most 2 files with 2.0 KB are read again" in said
    assert nothing is None
    assert source(acme)["reread_at"] is not None
    audited = acme.rows("SELECT operation FROM audit_log WHERE operation = 'sources.rescan'")
    assert len(audited) == 1


def test_how_far_a_file_is_is_said_with_its_rate() -> None:
    file = SourceFile(
        file_id=uuid4(), path="a.csv", state="loading", size=10_000_000, rows=0, rejects=0, fresh=0, error=None,
        first_seen_at=NOW, last_seen_at=NOW + timedelta(minutes=1), got_bytes=4_500_000, got_rows=0, per_s=1_500_000.0,
    )  # fmt: skip

    assert how_far(file) == "loading: 45 % fetched, 1.5 MB/s"
    assert how_far(file.model_copy(update={"got_rows": 20_000, "per_s": 18_000.4})) == (
        "loading: 20,000 rows, 18,000/s"
    )  # fmt: skip
    assert how_far(file.model_copy(update={"got_bytes": None, "got_rows": None, "state": "done"})) == "done"
    assert [size(n) for n in (0, 999, 1000, 123_456, 2_500_000_000)] == [
        "0 bytes", "999 bytes", "1.0 KB", "123 KB", "2.5 GB",
    ]  # fmt: skip


def test_a_login_at_our_own_server_is_a_file_of_public_keys_that_is_shown_and_taken_away(
    acme: Cli, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    for name in ("one", "two"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True, timeout=30)
    at = ("source", "drop-key", "acme", "--keys-dir", str(keys))

    none = acme.ok(*at)
    both = acme.ok(*at, "--key-file", str(tmp_path / "one.pub"), "--key-file", str(tmp_path / "two.pub"))
    written = (keys / "acme").read_text()
    first = both.split()[0]
    one_left = acme.ok(*at, "--rm", first)
    again = acme.line(*at, "--rm", first)
    private = acme.line(*at, "--key-file", str(tmp_path / "one"))
    stranger = acme.error("source", "drop-key", "nobody", "--keys-dir", str(keys))
    gone = acme.ok(*at, "--rm", one_left.split()[0])

    assert none == gone == "acme has no login.\n"
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", tmp_path / "one.pub"], check=True, timeout=30, capture_output=True, text=True
    ).stdout
    assert shown.split()[1] == first
    assert [line.split()[:2] for line in written.splitlines()] == [["restrict", "ssh-ed25519"]] * 2
    assert len(one_left.splitlines()) == 1
    assert again == f"--rm: acme has no key {first}."
    assert private.endswith("is a private key; give the .pub file beside it.")
    assert "nobody" in stranger
    assert list(keys.iterdir()) == []
