"""`justai dead`: jobs that were given up, with the reason; look, mend the cause, replay."""

import click

from cli.display import printable, show_table
from cli.session import command, reaching, read_settings
from shared.messaging import dead as letters
from shared.messaging import topology
from shared.messaging.broker import connect, declare
from shared.messaging.publisher import Publisher

_NAME = "justai-cli"
_KINDS = {spec.name: spec for spec in topology.ALL}
_SHOW_LIMIT = 10_000
kind_argument = click.argument("kind", type=click.Choice(sorted(_KINDS)))
limit_option = click.option(
    "--limit", type=click.IntRange(1), default=1000, show_default=True, help="Look at this many, oldest first."
)


@click.group()
def dead() -> None:
    """Dead letters: jobs that no retry could cure, or that ran out of attempts.

    KIND is the queue: generate, write, ingest_file or export_hour. PostgreSQL is not needed for looking.
    """


@dead.command("list")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Of each kind, oldest first.")
@command
async def dead_list(limit: int) -> None:
    """List dead letters of every kind, with their reasons."""
    rows: list[tuple[object, ...]] = []
    with reaching("RabbitMQ", "JUSTAI_AMQP_URL"):
        async with connect(_amqp_url(), _NAME) as connection:
            await declare(connection, *topology.ALL)
            for spec in topology.ALL:
                rows += [
                    (spec.name, letter.letter_id, letter.dead_at, letter.attempt, letter.reason)
                    for letter in await letters.peek(connection, spec, limit=limit)
                ]
    show_table(("kind", "letter", "died at", "attempts", "reason"), rows, empty="No dead letters.")


@dead.command("show")
@kind_argument
@click.argument("letter_id", metavar="LETTER")
@command
async def dead_show(kind: str, letter_id: str) -> None:
    """Print one dead letter whole. Its jobs hold personal values: mind where you paste it."""
    with reaching("RabbitMQ", "JUSTAI_AMQP_URL"):
        async with connect(_amqp_url(), _NAME) as connection:
            await declare(connection, _KINDS[kind])
            held = await letters.peek(connection, _KINDS[kind], limit=_SHOW_LIMIT)
    found = next((letter for letter in held if letter.letter_id == letter_id), None)
    if found is None:
        raise click.ClickException(f"No letter {letter_id!r} in {kind}; see `justai dead list`.")
    click.echo(f"reason: {printable(found.reason)}\norigin: {found.origin}\ndied:   {found.dead_at}\n")
    click.echo(printable(found.body.decode(errors="replace")))


@dead.command("replay")
@kind_argument
@click.option("--letter", "letter_id", help="Only this letter.")
@click.option("--reason", help="Only letters whose reason contains this text.")
@limit_option
@click.option("--dry-run", is_flag=True, help="Say what would be replayed.")
@command
async def dead_replay(kind: str, letter_id: str | None, reason: str | None, limit: int, dry_run: bool) -> None:
    """Send dead letters round again, as first attempts. Ids stay, so what was done already is done once.

    Without --letter and --reason: all of that kind, up to --limit.
    """

    def wanted(letter: letters.DeadLetter) -> bool:
        return (letter_id is None or letter.letter_id == letter_id) and (reason is None or reason in letter.reason)

    spec = _KINDS[kind]
    with reaching("RabbitMQ", "JUSTAI_AMQP_URL"):
        async with connect(_amqp_url(), _NAME) as connection:
            await declare(connection, spec)
            if dry_run:
                moved = [letter for letter in await letters.peek(connection, spec, limit=limit) if wanted(letter)]
            else:
                publisher = Publisher(connection, _NAME)
                moved = list(await letters.replay(connection, publisher, spec, wanted=wanted, limit=limit))
    if letter_id is not None and not moved:
        raise click.ClickException(f"No letter {letter_id!r} in {kind}; see `justai dead list`.")
    letters_ = "1 letter" if len(moved) == 1 else f"{len(moved)} letters"
    click.echo(f"{'Would replay' if dry_run else 'Replayed'} {letters_} of {kind}.")


def _amqp_url() -> str:
    return read_settings().amqp_url.get_secret_value()
