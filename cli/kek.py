"""`justai kek`: which keys seal what is stored, who has them, and how one takes the place of another."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.display import console, printable, show_table
from cli.session import Session, command, session
from shared.crypto import key_name
from shared.db import sealed
from shared.keyring import LIVES, Holder, holders, without

_ROUNDS = 10  # of looking for what was sealed with an old key meanwhile


@click.group()
def kek() -> None:
    """Key-encryption keys: what the keys of stored secrets are wrapped with (JUSTAI_SEAL_KEYS)."""


@kek.command("list")
@click.option("--secrets", is_flag=True, help="Each secret and the key that it is sealed with, in place of numbers.")
@command
async def kek_list(secrets: bool) -> None:
    """List the keys: how many stored secrets each seals, and which processes have it.

    The secrets themselves stay sealed. A key that seals nothing may be taken out of JUSTAI_SEAL_KEYS; keep it as long
    as you keep backups of the database.
    """
    async with session() as s:
        async with s.db.connection() as connection:
            rows = await connection.fetch(sealed.SELECT_SEALED)
        held = await holders(s.db, datetime.now(UTC))
        names = s.ring.names
    if secrets:
        show_table(
            ("of", "secret", "sealed with"),
            ((row["owner"], row["what"], key_name(row["sealed"])) for row in rows),
            empty="No secrets are stored.",
        )
        return
    used = Counter(key_name(row["sealed"]) for row in rows)
    known = (*names, *sorted(set(used) - set(names)))
    show_table(
        ("key", "here", "seals", "processes that have it"),
        ((name, _here(name, names), used[name], _share(name, held)) for name in known),
        empty="",
    )
    for one in held:
        if one.keys[:1] != list(names[:1]):
            click.echo(f"{printable(_who(one))} seals with {printable(one.keys[0])}.")


@kek.command("rotate")
@command
async def kek_rotate() -> None:
    """Wrap the key of every stored secret anew, with the first key of JUSTAI_SEAL_KEYS.

    Services go on meanwhile, and whoever is interrupted begins again where it ended. The first key must be known to
    all processes that run: put a new one behind the others first (docs/runbooks/rotate-keys.md). After that the older
    keys may be taken out.
    """
    async with session() as s:
        first = s.ring.names[0]
        _demand_known(first, await holders(s.db, datetime.now(UTC)))
        done, shut = await _rotate(s, first)
        others = [one for one in await holders(s.db, datetime.now(UTC)) if one.keys[0] != first]
    secrets = "1 secret" if done == 1 else f"{done:,} secrets"
    click.echo(f"Sealed {secrets} again with {first}." if done else f"Nothing was left to seal again with {first}.")
    for one in others:
        said = f"{_who(one)} still seals with {one.keys[0]}: put {first} first there, and run this again."
        click.echo(printable(said), err=True)
    if shut:
        raise click.ClickException(
            "These do not open, and stay as they are; put the key that each names behind the others in "
            "JUSTAI_SEAL_KEYS, or store the secret again:\n" + "\n".join(map(printable, sorted(shut)))
        )


def _demand_known(first: str, held: Sequence[Holder]) -> None:
    lacking = without(held, first)
    if lacking:
        who = ", ".join(printable(_who(one)) for one in lacking)
        raise click.ClickException(
            f"Key {first} is not known to {who}: what it seals would not open there. Put it behind the others in "
            f"JUSTAI_SEAL_KEYS there first. (One that has ended is forgotten after {LIVES.total_seconds():.0f} s.)"
        )


async def _rotate(s: Session, first: str) -> tuple[int, set[str]]:
    """How many were wrapped anew, and what does not open. Rounds until nothing but that is left."""
    columns = (TextColumn("Sealing"), BarColumn(), MofNCompleteColumn(), TextColumn("secrets"), TimeRemainingColumn())
    done, shut = 0, set[str]()
    with Progress(*columns, console=console(stderr=True)) as bar:
        task = bar.add_task("", total=None)
        for _ in range(_ROUNDS):
            left = await sealed.count_others(s.db, first)
            bar.update(task, total=done + left, completed=done)
            if left <= len(shut):
                break
            shut = set()
            async for batch in sealed.rewrap(s.db, s.ring):
                done += batch.done
                shut.update(batch.shut)
                bar.update(task, completed=done)
                await asyncio.sleep(0)
    return done, shut


def _who(one: Holder) -> str:
    return f"{one.service} on {one.host}"


def _here(name: str, names: Sequence[str]) -> str:
    if name not in names:
        return "not here"
    return "seals" if name == names[0] else "opens"


def _share(name: str, held: Sequence[Holder]) -> str:
    lacking = without(held, name)
    text = f"{len(held) - len(lacking)} of {len(held)}"
    return f"{text}; not {', '.join(_who(one) for one in lacking)}" if lacking and len(lacking) < len(held) else text
