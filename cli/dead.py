"""`justai dead`: jobs that were given up, with the reason; look, mend the cause, replay."""

import click

from cli.actor import acting
from cli.display import printable, show_table
from cli.session import command, reaching, read_settings, session
from shared.admin.queues import dead as admin_dead
from shared.messaging import dead as letters
from shared.messaging import topology
from shared.messaging.broker import connect, declare
from shared.messaging.publisher import Publisher

_NAME = "justai-cli"
_KINDS = {spec.name: spec for spec in topology.ALL}
_SHOW_LIMIT = 10_000
_HEADERS = ("kind", "letter", "died at", "attempts", "reason")
_NONE = "No dead letters."
kind_argument = click.argument("kind", type=click.Choice(sorted(_KINDS)))
org_option = click.option("--org", "org_slug", help="Only this org's, and in its audit log who replayed them.")
limit_option = click.option(
    "--limit", type=click.IntRange(1), default=1000, show_default=True, help="Look at this many, oldest first."
)


@click.group()
def dead() -> None:
    """Dead letters: jobs that no retry could cure, or that ran out of attempts.

    KIND is the queue: generate, write, ingest_file, export_hour, probe_target or probe_source. PostgreSQL is not needed
    for looking.
    """


@dead.command("list")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Of each kind, oldest first.")
@org_option
@command
async def dead_list(limit: int, org_slug: str | None) -> None:
    """List dead letters of every kind, with their reasons."""
    if org_slug is not None:
        await _list_of_org(org_slug, limit)
        return
    rows: list[tuple[object, ...]] = []
    with reaching("RabbitMQ", "JUSTAI_AMQP_URL"):
        async with connect(_amqp_url(), _NAME) as connection:
            await declare(connection, *topology.ALL)
            for spec in topology.ALL:
                rows += [
                    (spec.name, letter.letter_id, letter.dead_at, letter.attempt, letter.reason)
                    for letter in await letters.peek(connection, spec, limit=limit)
                ]
    show_table(_HEADERS, rows, empty=_NONE)


@dead.command("show")
@kind_argument
@click.argument("letter_id", metavar="LETTER")
@org_option
@command
async def dead_show(kind: admin_dead.Kind, letter_id: str, org_slug: str | None) -> None:
    """Print one dead letter whole. Its jobs hold personal values: mind where you paste it."""
    if org_slug is not None:
        async with session() as s:
            whole = await s.run(admin_dead.show, admin_dead.OneLetter(kind=kind, letter_id=letter_id), org_slug)
        _print(whole.letter.reason, whole.origin, whole.letter.dead_at, whole.body)
        return
    with reaching("RabbitMQ", "JUSTAI_AMQP_URL"):
        async with connect(_amqp_url(), _NAME) as connection:
            await declare(connection, _KINDS[kind])
            held = await letters.peek(connection, _KINDS[kind], limit=_SHOW_LIMIT)
    found = next((letter for letter in held if letter.letter_id == letter_id), None)
    if found is None:
        raise click.ClickException(f"No letter {letter_id!r} in {kind}; see `justai dead list`.")
    _print(found.reason, found.origin, found.dead_at, found.body.decode(errors="replace"))


def _print(reason: str, origin: str, dead_at: str, body: str) -> None:
    click.echo(f"reason: {printable(reason)}\norigin: {origin}\ndied:   {dead_at}\n")
    click.echo(printable(body))


@dead.command("replay")
@kind_argument
@click.option("--letter", "letter_id", help="Only this letter.")
@click.option("--because-of", metavar="TEXT", help="Only letters whose reason contains this text.")
@click.option("--reason", "earlier_name", hidden=True)  # its name before: elsewhere that is what somebody explains
@limit_option
@click.option("--dry-run", is_flag=True, help="Say what would be replayed.")
@org_option
@acting
@command
async def dead_replay(
    kind: admin_dead.Kind, letter_id: str | None, because_of: str | None, earlier_name: str | None, limit: int,
    dry_run: bool, org_slug: str | None, actor: str,
) -> None:  # fmt: skip
    """Send dead letters round again, as first attempts. Ids stay, so what was done already is done once.

    Without --letter and --because-of: all of that kind, up to --limit. Ends with status 1 when one of them finds none.
    """
    reason = because_of or earlier_name

    def wanted(letter: letters.DeadLetter) -> bool:
        return (letter_id is None or letter.letter_id == letter_id) and (reason is None or reason in letter.reason)

    if org_slug is not None:
        asked = admin_dead.Replay(kind=kind, letter_id=letter_id, reason=reason, limit=limit, dry_run=dry_run)
        async with session() as s:
            found = len((await s.run(admin_dead.replay, asked, org_slug, actor)).letters)
        _say(found, kind, reason, dry_run=dry_run)
        return
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
    _say(len(moved), kind, reason, dry_run=dry_run)


def _say(number: int, kind: str, reason: str | None, *, dry_run: bool) -> None:
    if reason is not None and not number:
        raise click.ClickException(
            f"No letter of {kind} says {reason!r}; give a part of a reason as `justai dead list` shows it."
        )
    letters_ = "1 letter" if number == 1 else f"{number} letters"
    click.echo(f"{'Would replay' if dry_run else 'Replayed'} {letters_} of {kind}.")


async def _list_of_org(org_slug: str, limit: int) -> None:
    async with session() as s:
        found = (await s.run(admin_dead.list_letters, admin_dead.AskedLetters(limit=limit), org_slug)).letters
    show_table(
        _HEADERS, ((one.kind, one.letter_id, one.dead_at, one.attempt, one.reason) for one in found), empty=_NONE
    )


def _amqp_url() -> str:
    return read_settings().amqp_url.get_secret_value()
