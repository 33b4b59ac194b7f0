"""How commands show things: tables that neither cut nor interpret what is in them."""

import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime

import click
from rich import box
from rich.console import Console
from rich.table import Table

_PIPED_COLUMNS = 200  # nobody is there to widen the window
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def console(*, stderr: bool = False) -> Console:
    """A console on the stream as it is now. What is shown comes from files and strangers: no markup, no emoji codes."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPED_COLUMNS
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def show_table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table, or the sentence `empty` when there is nothing to show."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(printable(str(cell)) if cell is not None else "" for cell in row))
    if table.row_count:
        console().print(table)
    else:
        click.echo(empty)


def moment(at: datetime | None, otherwise: str = "") -> str:
    """`2026-11-23 14:30:00 UTC`."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else otherwise


def printable(text: str) -> str:
    """Without control characters, with which a stranger's text could rewrite what the terminal shows."""
    return _CONTROLS.sub("�", text)
