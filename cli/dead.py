"""`justai dead`: jobs that were given up, with the reason; look, mend the cause, replay."""

import click
from rich.table import Table

from cli.session import command, out, session
from shared.messaging import dead as letters
from shared.messaging import topology
from shared.messaging.broker import connect, declare
from shared.messaging.publisher import Publisher

_KINDS = {spec.name: spec for spec in topology.ALL}
kind_argument = click.argument("kind", type=click.Choice(sorted(_KINDS)))


@click.group()
def dead() -> None:
    """Dead letters: jobs that no retry could cure, or that ran out of attempts.

    KIND is the queue: generate, write, ingest_file or export_hour.
    """


@dead.command("list")
@click.option("--limit", default=20, show_default=True, help="At most this many of each kind, oldest first.")
@command
async def dead_list(limit: int) -> None:
    """List dead letters of every kind, with their reasons."""
    table = Table("kind", "letter", "died at", "attempts", "reason")
    async with session() as s, connect(s.settings.amqp_url.get_secret_value(), "justai-cli") as connection:
        await declare(connection, *topology.ALL)
        for spec in topology.ALL:
            for letter in await letters.peek(connection, spec, limit=limit):
                table.add_row(spec.name, letter.letter_id, letter.dead_at, str(letter.attempt), letter.reason)
    out.print(table if table.row_count else "No dead letters.")


@dead.command("show")
@kind_argument
@click.argument("letter_id")
@command
async def dead_show(kind: str, letter_id: str) -> None:
    """Print one dead letter whole. Its jobs hold personal values: mind where you paste it."""
    async with session() as s, connect(s.settings.amqp_url.get_secret_value(), "justai-cli") as connection:
        found = [letter for letter in await letters.peek(connection, _KINDS[kind], limit=10_000)
                 if letter.letter_id == letter_id]  # fmt: skip
    if not found:
        raise click.ClickException(f"No letter {letter_id!r} in {kind}; see `justai dead list`.")
    click.echo(f"reason: {found[0].reason}\norigin: {found[0].origin}\ndied:   {found[0].dead_at}\n")
    click.echo(found[0].body.decode(errors="replace"))


@dead.command("replay")
@kind_argument
@click.option("--letter", "letter_id", help="Only this letter.")
@click.option("--reason", help="Only letters whose reason contains this text.")
@click.option("--limit", default=1000, show_default=True, help="Look at this many, oldest first.")
@click.option("--dry-run", is_flag=True, help="Say what would be replayed.")
@command
async def dead_replay(kind: str, letter_id: str | None, reason: str | None, limit: int, dry_run: bool) -> None:
    """Send dead letters round again, as first attempts. Ids stay, so what was done already is done once."""

    def wanted(letter: letters.DeadLetter) -> bool:
        return (letter_id is None or letter.letter_id == letter_id) and (reason is None or reason in letter.reason)

    spec = _KINDS[kind]
    async with session() as s, connect(s.settings.amqp_url.get_secret_value(), "justai-cli") as connection:
        await declare(connection, spec)
        if dry_run:
            moved = [letter for letter in await letters.peek(connection, spec, limit=limit) if wanted(letter)]
        else:
            publisher = Publisher(connection, "justai-cli")
            moved = list(await letters.replay(connection, publisher, spec, wanted=wanted, limit=limit))
    out.print(f"{'Would replay' if dry_run else 'Replayed'} {len(moved)} letters of {kind}.")
