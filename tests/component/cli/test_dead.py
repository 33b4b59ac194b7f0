"""Dead letters on a real broker: look, look closer, replay what is wanted."""

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

from shared.clock import FrozenClock
from shared.messaging.broker import connect, declare
from shared.messaging.publisher import open_publisher
from shared.messaging.topology import ALL, WRITE
from shared.schemas.jobs import WriteJob, encode_batch
from tests.component.cli.rig import Cli, settings

ORG = UUID("6f1c1b1e-0000-4000-8000-000000000001")
REASONS = ("body_too_large: 96000 bytes", "profile_not_found: Klaviyo answered 404", "profile_not_found: again\x1b[2J")


@pytest.fixture
def cli(amqp_url: str) -> Cli:
    """With a broker; no database is needed for looking."""
    return Cli(settings("postgresql://justai@127.0.0.1:1/nowhere", amqp_url))


def bury(amqp_url: str, reasons: Sequence[str] = REASONS, org_id: UUID = ORG) -> list[bytes]:
    """One letter of kind `write` for each reason; their bodies."""

    async def work() -> list[bytes]:
        at = FrozenClock().now()
        bodies = []
        for reason in reasons:
            job = WriteJob(
                org_id=org_id, generation_id=uuid4(), day=at.date(), profile_id="01PERSON", prefix="jai",
                action="write", accepted_at=at, deadline_at=at,
            )  # fmt: skip
            bodies.append(encode_batch([job]))
            # A process each: their messages are counted from the same number.
            async with open_publisher(amqp_url, "writer", WRITE) as publisher:
                await publisher.bury(WRITE, bodies[-1], queue="write", attempt=2, reason=reason, at=at.isoformat())
        return bodies

    return asyncio.run(work())


def counts(amqp_url: str) -> tuple[int, int]:
    """Messages in `write` and `write.dead`."""

    async def work() -> tuple[int, int]:
        async with connect(amqp_url, "test") as connection:
            await declare(connection, WRITE)
            channel = await connection.channel()
            found = [await channel.declare_queue(name, passive=True) for name in ("write", "write.dead")]
        live, dead = (queue.declaration_result.message_count or 0 for queue in found)
        return live, dead

    return asyncio.run(work())


def letters(cli: Cli) -> dict[str, str]:
    """Letter ids by the first word of their reason's text."""
    lines = [line for line in cli.ok("dead", "list").splitlines() if line.startswith("write ")]
    return {" ".join(line.split()[4:]): line.split()[1] for line in lines}


def test_without_dead_letters_it_says_so(cli: Cli) -> None:
    assert cli.ok("dead", "list") == "No dead letters.\n"


def test_letters_are_listed_with_ids_of_their_own_and_stay(cli: Cli, amqp_url: str) -> None:
    bury(amqp_url)

    first, second = letters(cli), letters(cli)

    assert list(first) == [REASONS[0], REASONS[1], "profile_not_found: again�[2J"]
    assert len(set(first.values())) == 3
    assert second == first
    assert "2026-11-23T10:00:00+00:00" in cli.ok("dead", "list")
    assert counts(amqp_url) == (0, 3)


def test_one_letter_is_shown_whole(cli: Cli, amqp_url: str) -> None:
    bodies = bury(amqp_url)

    said = cli.ok("dead", "show", "write", letters(cli)[REASONS[1]])

    assert said.startswith(f"reason: {REASONS[1]}\norigin: write\ndied:   2026-11-23T10:00:00+00:00\n")
    assert said.rstrip().endswith(bodies[1].decode())


def test_only_the_wanted_letters_are_replayed(cli: Cli, amqp_url: str) -> None:
    bury(amqp_url)

    dry = cli.ok("dead", "replay", "write", "--because-of", "profile_not_found", "--dry-run")
    untouched = counts(amqp_url)
    wet = cli.ok("dead", "replay", "write", "--reason", "profile_not_found")  # its name before

    assert (dry, untouched) == ("Would replay 2 letters of write.\n", (0, 3))
    assert wet == "Replayed 2 letters of write.\n"
    assert counts(amqp_url) == (2, 1)
    assert list(letters(cli)) == [REASONS[0]]


@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["wet", "dry"])
def test_an_explanation_in_place_of_a_part_of_a_reason_replays_nothing_and_says_so(
    cli: Cli, amqp_url: str, more: tuple[str, ...]
) -> None:
    bury(amqp_url)

    said = cli.line("dead", "replay", "write", "--because-of", "disk full, mended", *more)

    assert said == (
        "No letter of write says 'disk full, mended'; give a part of a reason as `justai dead list` shows it."
    )
    assert counts(amqp_url) == (0, 3)


def test_one_letter_is_replayed_by_its_id_and_then_all(cli: Cli, amqp_url: str) -> None:
    bury(amqp_url)

    one = cli.ok("dead", "replay", "write", "--letter", letters(cli)[REASONS[0]])
    rest = cli.ok("dead", "replay", "write")

    assert (one, rest) == ("Replayed 1 letter of write.\n", "Replayed 2 letters of write.\n")
    assert counts(amqp_url) == (3, 0)


def test_an_org_sees_and_replays_its_own_letters_alone_and_its_log_says_who(
    database_url: str, cli: Cli, amqp_url: str
) -> None:
    acme = cli.with_settings(database_url=database_url)
    acme.ok("org", "create", "acme", "Acme Coffee")
    org_id = acme.value("SELECT org_id FROM orgs")
    bury(amqp_url, REASONS[:1])
    [mine] = bury(amqp_url, REASONS[1:2], UUID(str(org_id)))
    [theirs] = [letter for reason, letter in letters(acme).items() if reason == REASONS[0]]

    listed = acme.ok("dead", "list", "--org", "acme")
    [letter] = [line.split()[1] for line in listed.splitlines() if line.startswith("write ")]
    shown = acme.ok("dead", "show", "write", letter, "--org", "acme")
    foreign = [
        acme.line("dead", *command, "--org", "acme")
        for command in (("show", "write", theirs), ("replay", "write", "--letter", theirs))
    ]
    dry = acme.ok("dead", "replay", "write", "--org", "acme", "--dry-run")
    untouched = counts(amqp_url)
    wet = acme.ok("dead", "replay", "write", "--org", "acme", "--as", "Ada")

    assert shown.rstrip().endswith(mine.decode())
    assert foreign == [f"No letter {theirs!r} in write; see `justai dead list --org acme`."] * 2
    assert (dry, untouched) == ("Would replay 1 letter of write.\n", (0, 2))
    assert (wet, counts(amqp_url)) == ("Replayed 1 letter of write.\n", (1, 1))
    assert acme.rows("SELECT actor, target FROM audit_log WHERE operation = 'dead.replay'") == [
        {"actor": "Ada", "target": "write"}
    ]


def test_what_is_not_there_is_one_line(cli: Cli) -> None:
    for command in (("show", "write", "abc"), ("replay", "write", "--letter", "abc")):
        assert cli.line("dead", *command) == "No letter 'abc' in write; see `justai dead list`."
    unknown = cli.error("dead", "show", "nothing", "abc")
    assert all(spec.name in unknown for spec in ALL)


def test_a_broker_that_is_away_or_refuses_us_is_one_line_that_names_its_setting(cli: Cli, amqp_url: str) -> None:
    login, _, place = amqp_url.partition("@")
    wrong = {
        "down": "amqp://guest:secret@127.0.0.1:1/",
        "no login": f"{login[:-1]}x@{place}",
        "no vhost": f"{amqp_url}-nothing",
    }

    for url in wrong.values():
        message = cli.with_settings(amqp_url=url).line("dead", "list")
        assert message.startswith("RabbitMQ ")
        assert "(JUSTAI_AMQP_URL)" in message
        assert "secret" not in message
