"""SFTP folders: keys are looked at when they are given, sealed, and files can be loaded again."""

import asyncio
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from shared.crypto import KeyRing
from shared.messaging.broker import connect, open_channel
from shared.schemas.jobs import Batch, IngestFileJob
from tests.component.cli.rig import KEY, Cli

PEM, OPENSSH = serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.OpenSSH
ours, server = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
HOST_KEY = server.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def private_text(key: Any, form: serialization.PrivateFormat = OPENSSH, passphrase: bytes | None = None) -> str:
    locked = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return str(key.private_bytes(serialization.Encoding.PEM, form, locked).decode())


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "id_ed25519"
    path.write_text(private_text(ours))
    return path


def add(key_file: Path, *more: str, host_key: str = HOST_KEY) -> tuple[str, ...]:
    return (
        "source", "add", "acme", "events", "--host", "sftp.example", "--user", "acme", "--path", "/out",
        "--host-key", host_key, "--key-file", str(key_file), *more,
    )  # fmt: skip


def source(cli: Cli) -> dict[str, Any]:
    [row] = cli.rows("SELECT * FROM sources")
    return row


def a_file(cli: Cli, path: str, state: str, error: str | None = None) -> UUID:
    row, file_id = source(cli), uuid4()
    cli.rows(
        "INSERT INTO ingest_files (file_id, org_id, source_id, path, size, mtime, state, first_seen_at, last_seen_at, "
        "rows, rejects, error) SELECT $1, $2, $3, $4, 10, created_at, $5, created_at, created_at, 7, 4, $6 FROM orgs",
        file_id, row["org_id"], row["source_id"], path, state, error,
    )  # fmt: skip
    return file_id


def test_a_source_is_stored_with_its_key_sealed_and_nowhere_else(acme: Cli, key_file: Path) -> None:
    said = acme.ok(*add(key_file, "--pattern", "*.csv", "--poll-s", "30"))

    row, text = source(acme), key_file.read_text()
    assert "justai source files acme events" in said
    assert KeyRing(KEY).open(row["sealed_key"], f"{row['org_id']}/source/{row['source_id']}") == text
    assert (row["host"], row["port"], row["path"], row["pattern"], row["poll_s"]) == (
        "sftp.example",
        22,
        "/out",
        "*.csv",
        30,
    )
    everything = acme.everything()
    assert not any(line in everything for line in text.splitlines() if not line.startswith("-----"))


@pytest.mark.parametrize("shown", ["{}", "{} server@example", "sftp.example {}", "[sftp.example]:2222 {}\n"])
def test_a_host_key_is_taken_as_the_usual_tools_show_it(acme: Cli, key_file: Path, shown: str) -> None:
    acme.ok(*add(key_file, host_key=shown.format(HOST_KEY)))

    assert source(acme)["host_key"] == HOST_KEY


@pytest.mark.parametrize(
    ("host_key", "said"),
    [
        ("", "a public host key looks like"),
        ("SHA256:abcdef", "a public host key looks like"),
        ("ssh-ed25519", "a public host key looks like"),
        ("ssh-ed25519 AAAA", "this ssh-ed25519 key is damaged"),
    ],
)
def test_a_host_key_that_is_none_is_refused_at_once(acme: Cli, key_file: Path, host_key: str, said: str) -> None:
    assert acme.line(*add(key_file, host_key=host_key)).startswith(f"--host-key: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "this is no private key"),
        (HOST_KEY, "this is a public key: give the other file"),
        (private_text(ours).replace("AAAA", "BBBB"), "this private key is damaged"),
        (private_text(rsa.generate_private_key(65537, 2048), PEM, b"canary"), "this private key has a passphrase"),
        (b"\xff\xfe\x00", "this is no text"),
    ],
    ids=["empty", "public", "damaged", "locked", "binary"],  # the keys are new in every process
)
def test_a_private_key_that_cannot_be_used_is_refused_at_once(
    acme: Cli, tmp_path: Path, text: str | bytes, said: str
) -> None:
    path = tmp_path / "key"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())

    assert acme.line(*add(path)).startswith(f"--key-file: {said}")
    assert acme.rows("SELECT * FROM sources") == []


def test_a_key_of_ssh_keygen_with_a_passphrase_is_refused_at_once(acme: Cli, tmp_path: Path) -> None:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "canary", "-f", path], check=True, timeout=30)

    assert acme.line(*add(path)).startswith("--key-file: this private key has a passphrase")


def test_an_rsa_key_in_pem_form_is_taken(acme: Cli, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(private_text(rsa.generate_private_key(65537, 2048), PEM))

    acme.ok(*add(path))


def test_a_key_is_taken_from_standard_input(acme: Cli, key_file: Path) -> None:
    acme.ok(*("-" if word == str(key_file) else word for word in add(key_file)), given=key_file.read_text())

    row = source(acme)
    opened = KeyRing(KEY).open(row["sealed_key"], f"{row['org_id']}/source/{row['source_id']}")
    assert opened == key_file.read_text()


def test_a_name_is_used_once(acme: Cli, key_file: Path) -> None:
    acme.ok(*add(key_file))

    assert acme.line(*add(key_file)) == "There is a source 'events' already; see `justai source set acme events`."


@pytest.mark.parametrize("option", [("--port", "0"), ("--port", "70000"), ("--poll-s", "0")])
def test_a_number_out_of_range_is_refused_by_its_option(acme: Cli, key_file: Path, option: tuple[str, str]) -> None:
    message = acme.error(*add(key_file, *option))

    assert f"Invalid value for '{option[0]}'" in message


def test_an_empty_value_is_refused(acme: Cli, key_file: Path) -> None:
    assert acme.line(*add(key_file, "--host", "")) == "--host: is empty."


def test_changing_one_thing_leaves_the_others_and_gives_another_try(acme: Cli, key_file: Path) -> None:
    acme.ok(*add(key_file))
    acme.rows("UPDATE sources SET refused_at = '2026-11-23'::timestamptz, last_error = 'another host key'")
    before = source(acme)
    assert "not tried again until it is changed" in acme.ok("source", "list", "acme")
    other = ed25519.Ed25519PrivateKey.generate().public_key()
    host_key = other.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()

    acme.ok("source", "set", "acme", "events", "--host-key", host_key)

    after = source(acme)
    assert after == before | {"host_key": host_key, "refused_at": None}


def test_a_mapping_is_set_and_taken_away_and_a_source_switched_off(acme: Cli, key_file: Path) -> None:
    acme.ok(*add(key_file))

    acme.ok("source", "set", "acme", "events", "--map", "profile_id=Person", "--map", "event_at=When = now", "--off")
    mapped = source(acme)
    acme.ok("source", "set", "acme", "events", "--no-map", "--on")
    plain = source(acme)

    assert mapped["mapping"] == '{"event_at": "When = now", "profile_id": "Person"}'
    assert (mapped["enabled"], plain["enabled"], plain["mapping"]) == (False, True, None)
    assert acme.line("source", "set", "acme", "events", "--map", "x").startswith("--map: 'x' is not FIELD=COLUMN")


def test_files_and_rejects_are_listed_with_what_is_wrong(acme: Cli, key_file: Path) -> None:
    acme.ok(*add(key_file))
    file_id = a_file(acme, "/out/a.csv", "held", "unknown_layout: no column for profile_id")
    acme.rows("INSERT INTO ingest_rejects SELECT org_id, $1, 3, 'no time', 'x,y\x1b[31m' FROM sources", file_id)

    listed, files = acme.ok("source", "list", "acme"), acme.ok("source", "files", "acme", "events")
    rejects = acme.ok("source", "rejects", "acme", "events", "/out/a.csv")

    assert [line.split()[-1] for line in listed.splitlines() if line.startswith("events")] == ["1"]
    assert "unknown_layout: no column for profile_id" in files
    assert "no time" in rejects
    assert "\x1b" not in rejects
    assert acme.ok("source", "rejects", "acme", "events", "/out/b.csv") == "No rejects of /out/b.csv.\n"


def test_held_and_failed_files_are_queued_again(acme: Cli, key_file: Path, amqp_url: str) -> None:
    acme = acme.with_settings(amqp_url=amqp_url)
    acme.ok(*add(key_file))
    held, failed = a_file(acme, "/out/a.csv", "held"), a_file(acme, "/out/b.csv", "failed")
    a_file(acme, "/out/c.csv", "done")

    said = acme.ok("source", "retry", "acme", "events")
    one = acme.ok("source", "retry", "acme", "events", "/out/b.csv")

    row = source(acme)
    assert (said, one) == ("Queued /out/a.csv, /out/b.csv.\n", "Queued /out/b.csv.\n")
    assert asyncio.run(queued(amqp_url)) == [
        IngestFileJob(org_id=row["org_id"], source_id=row["source_id"], file_id=file_id)
        for file_id in (held, failed, failed)
    ]
    assert acme.line("source", "retry", "acme", "events", "/out/c.csv").startswith("/out/c.csv is neither held nor")


def test_a_file_that_is_held_for_its_bad_rows_is_accepted_as_it_is(acme: Cli, key_file: Path, amqp_url: str) -> None:
    acme = acme.with_settings(amqp_url=amqp_url)
    acme.ok(*add(key_file))
    held = a_file(acme, "/out/a.csv", "held", "too_many_rejects: 4 of the 7 rows")
    a_file(acme, "/out/b.csv", "held", "unknown_layout: no column")
    a_file(acme, "/out/c.csv", "done")

    said = acme.ok("source", "accept", "acme", "events", "/out/a.csv")

    row = source(acme)
    assert said == "Queued /out/a.csv as it is: 4 of 7 rows that were read of it do not count.\n"
    assert asyncio.run(queued(amqp_url, 1)) == [
        IngestFileJob(org_id=row["org_id"], source_id=row["source_id"], file_id=held)
    ]
    assert [found["path"] for found in acme.rows("SELECT path FROM ingest_files WHERE accepted_at IS NOT NULL")] == [
        "/out/a.csv"
    ]
    assert "held for bad rows, but because it cannot be read" in acme.line(
        "source", "accept", "acme", "events", "/out/b.csv"
    )
    for path in ("/out/c.csv", "/out/none.csv"):
        assert acme.line("source", "accept", "acme", "events", path).startswith(f"{path} is not held")
    assert acme.rows("SELECT count(*) FROM audit_log WHERE operation = 'sources.accept'")[0]["count"] == 1


async def queued(amqp_url: str, count: int = 3) -> list[IngestFileJob]:
    async with connect(amqp_url, "test") as connection:
        queue = await (await open_channel(connection)).declare_queue("ingest_file", passive=True)
        bodies = [(await queue.get(no_ack=True, timeout=5)).body for _ in range(count)]
    return [job for body in bodies for job in Batch[IngestFileJob].model_validate_json(body).jobs]


def test_a_mapping_of_what_is_no_field_is_refused_with_those_that_are(acme: Cli, key_file: Path) -> None:
    acme.ok(*add(key_file))

    said = acme.line("source", "set", "acme", "events", "--map", "colour=Colour")

    assert said.startswith("--map: names unknown fields colour; known are event_id, metric,")
    assert source(acme)["mapping"] is None


def test_what_is_missing_of_a_source_that_is_not_saved_is_named_by_its_option(acme: Cli, key_file: Path) -> None:
    given = ("source", "test", "acme", "--host", "sftp.example", "--user", "acme")

    message = acme.error(*given)
    assert "--host-key: is missing; a source of kind sftp needs it" in message
    assert "--key-file: is missing; a source of kind sftp needs it" in message
    assert acme.line(*given, "--host-key", HOST_KEY).startswith("--key-file: is missing")
    assert acme.line(*given, "--host-key", "x", "--key-file", str(key_file)).startswith("--host-key: a public host key")


def test_an_unknown_source_is_one_line_that_says_where_to_look(acme: Cli) -> None:
    for command in (
        ("test", "acme", "x"),
        ("test", "acme", "x", "--port", "2222"),
        ("preview", "acme", "x"),
        ("rescan", "acme", "x"),
        ("files", "acme", "x"),
        ("set", "acme", "x", "--on"),
        ("retry", "acme", "x"),
        ("accept", "acme", "x", "f"),
        ("rejects", "acme", "x", "f"),
    ):
        assert acme.line("source", *command) == "No source 'x'; see `justai source list acme`."
