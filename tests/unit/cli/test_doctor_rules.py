"""What the doctor makes of what it sees."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.doctor import of_room as room_as_seen_here
from cli.doctor_rules import (
    CONSUMERS,
    DatabaseSeen,
    Finding,
    SealedSeen,
    UrlSeen,
    of_broker,
    of_database,
    of_holders,
    of_peppers,
    of_room,
    of_secrets,
    of_url,
)
from shared.db.migrate import Migration
from shared.keyring import Holder
from shared.messaging.inspection import BrokerSeen, QueueSeen
from shared.messaging.topology import ALL

NOW = datetime(2026, 11, 26, 10, tzinfo=UTC)
FILES = [Migration("0001_a", "SELECT 1"), Migration("0002_b", "SELECT 2")]
WELL = DatabaseSeen(
    version=150_018, said="PostgreSQL 15.18", applied={"0001_a", "0002_b"}, edited=set(), role_problem=None, now=NOW,
    used=10, most=100, longest=timedelta(seconds=3), locks=13 * 240, most_locks=64 * 100,
)  # fmt: skip
NEEDED = {
    "DATABASE_URL": "postgresql://justai@127.0.0.1:1/nowhere", "AMQP_URL": "amqp://127.0.0.1:1/",
    "SEAL_KEYS": f"k1:{'A' * 43}=", "API_KEY_PEPPERS": f"1:{'A' * 43}=",
}  # fmt: skip
URL = "https://copy.example.com/api/generate/doctor"


def told(findings: Iterable[Finding]) -> list[str]:
    """What is not well, with what to do."""
    return [f"{one.tone}: {one.says} | {one.do}" for one in findings if one.tone != "ok"]


def database(**changes: object) -> list[str]:
    return told(of_database(replace(WELL, **changes), FILES, NOW, real_time=True))  # type: ignore[arg-type]  # of its own fields


def test_a_database_that_is_well_has_nothing_to_do() -> None:
    assert database() == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"version": 140_010, "said": "PostgreSQL 14.10"}, "bad: PostgreSQL 14.10 is older than 15"),
        ({"applied": {"0001_a"}}, "bad: 1 migrations are missing, the first is 0002_b | Run `justai migrate`."),
        ({"applied": {"0001_a", "0002_b", "0003_c"}}, "warn: The schema is newer than this release: 0003_c"),
        ({"edited": {"0001_a"}}, "bad: 0001_a was edited after it was applied"),
        ({"role_problem": "The role x does not exist"}, "bad: The role x does not exist"),
        ({"used": 95}, "warn: 95 of 100 connections are used"),
        ({"locks": 13 * 800}, "warn: Asking for all kept days takes 10,400 of 6,400 locks"),
        ({"longest": timedelta(hours=1)}, "warn: A transaction has been open for 60 minutes"),
        ({"now": NOW + timedelta(seconds=5)}, "warn: Its clock is 5.0 s ahead of ours"),
        ({"now": NOW - timedelta(minutes=2)}, "bad: Its clock is 120.0 s behind ours | Deadlines are wrong"),
    ],
)
def test_what_is_wrong_with_a_database_is_told(changes: dict[str, object], says: str) -> None:
    [line] = database(**changes)
    assert line.startswith(says)


def queues(**changes: QueueSeen) -> BrokerSeen:
    seen = {
        name: QueueSeen(name, spec.name, name == spec.dead, 0, 0 if name == spec.dead else 1)
        for spec in ALL
        for name in (*spec.queues, spec.dead)
    }
    return BrokerSeen("RabbitMQ 4.1", [changes.get(name, one) for name, one in seen.items()], [])


def test_queues_that_are_taken_from_are_well() -> None:
    assert told(of_broker(queues())) == []


def test_every_kind_of_job_has_somebody_who_takes_it() -> None:
    assert CONSUMERS.keys() == {spec.name for spec in ALL}


@pytest.mark.parametrize(
    ("queue", "says"),
    [
        (
            QueueSeen("write", "write", False, 7, 0),
            "bad: Nobody takes from write; 7 messages wait in write | Is profile_",
        ),
        (
            QueueSeen("write", "write", False, 20_000, 1),
            "warn: 20,000 messages wait in write | Add replicas of profile_",
        ),
        (QueueSeen("write", "write", False, None, 0), "bad: Queue write is not there | Start profile_writer"),
        (QueueSeen("write.dead", "write", True, 3, 0), "warn: 3 dead letters of write | See `justai dead list`."),
    ],
)
def test_what_is_wrong_with_a_queue_is_told(queue: QueueSeen, says: str) -> None:
    [line] = told(of_broker(queues(**{queue.name: queue})))
    assert line.startswith(says)


def test_a_queue_of_other_arguments_is_told() -> None:
    [line] = told(of_broker(replace(queues(), mismatched=["write"])))
    assert line.startswith("bad: write: declared once with other arguments")


def test_secrets_that_do_not_open_and_keys_that_are_still_needed_are_told() -> None:
    seen = [
        SealedSeen("acme", "Klaviyo key", "k1", opens=True),
        SealedSeen("acme", "S3 secret", "k0", opens=True),
        SealedSeen("bolt", "Klaviyo key", "k9", opens=False),
    ]

    assert told(of_secrets(seen, "k1")) == [
        "bad: The Klaviyo key of bolt does not open: it was sealed with k9 | Put k9 behind the others in "
        "JUSTAI_SEAL_KEYS, or store the secret again.",
        "warn: Key k0 is still needed | Run `justai kek rotate`; then it may be taken out.",
    ]
    assert told(of_secrets(seen[:1], "k1")) == []


def test_a_process_that_lacks_the_key_that_seals_is_told() -> None:
    held = [Holder("gateway", "node-1", ["k1"]), Holder("egress", "node-1", ["k1", "k2"])]

    assert told(of_holders(held, "k2")) == [
        "bad: gateway on node-1 has no key k2, which seals | Give it the same JUSTAI_SEAL_KEYS as the others."
    ]
    assert told(of_holders(held, "k1")) == []


def test_api_keys_of_a_pepper_that_is_lost_are_told() -> None:
    assert of_peppers({1, 2}, {2, 3}).says == "API keys were stored with pepper 1, which is not set"
    assert of_peppers({2}, {2, 3}).tone == "ok"


def test_little_room_is_told() -> None:
    assert told([of_room("JUSTAI_EGRESS_SPOOL_DIR", "/spool", 1 << 30)]) == [
        "warn: 1 GB are free in /spool | Files in hand lie there: make room, or set JUSTAI_EGRESS_SPOOL_DIR to another "
        "folder."
    ]
    assert of_room("JUSTAI_EGRESS_SPOOL_DIR", "/spool", 1 << 36).tone == "ok"


def test_room_is_looked_at_where_files_in_hand_lie_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(f"JUSTAI_{name}", value)

    unsaid = list(room_as_seen_here())
    monkeypatch.setenv("JUSTAI_INGEST_SPOOL_DIR", str(tmp_path / "of another container"))
    elsewhere = list(room_as_seen_here())
    monkeypatch.setenv("JUSTAI_EGRESS_SPOOL_DIR", str(tmp_path))
    here = list(room_as_seen_here())

    assert (unsaid, elsewhere) == ([], [])
    assert [(one.area, one.says.partition(" GB are free in ")[2]) for one in here] == [("disk", str(tmp_path))]


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (
            UrlSeen(URL, error="timed out"),
            "bad: https://copy.example.com/api/generate/doctor does not answer: timed out",
        ),
        (UrlSeen(URL, 301, "https://www.example.com/"), f"bad: {URL} redirects to https://www.example.com/"),
        (UrlSeen(URL, 200), f"bad: {URL} answers 200, but not as the gateway does"),
        (
            UrlSeen(URL.replace("s:", ":"), 401, is_ours=True),
            "bad: http://copy.example.com/api/generate/doctor is not h",
        ),
        (UrlSeen(URL, 401, None, None, NOW + timedelta(days=3), True), "warn: Its certificate is good for 3 days more"),
    ],
)
def test_an_address_that_klaviyo_cannot_call_is_told(seen: UrlSeen, says: str) -> None:
    [line] = told(of_url(seen, NOW))
    assert line.startswith(says)


def test_an_address_that_answers_as_the_gateway_does_is_well() -> None:
    assert told(of_url(UrlSeen(URL, 401, None, None, NOW + timedelta(days=60), True), NOW)) == []
