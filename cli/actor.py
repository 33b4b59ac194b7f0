"""`--as NAME`: who acts, as the history and reviews know them."""

import getpass
from collections.abc import Callable
from typing import Any

import click


def somebody() -> str:
    """The name that whoever runs this is logged in with."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "justai"


def _named(_: click.Context, __: click.Parameter, value: str | None) -> str:
    name = " ".join((value or somebody()).split())
    if not name or len(name) > 100 or not name.isprintable():
        raise click.BadParameter("give a name of 1 to 100 characters")
    return name


def acting(work: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the option; the command gets `actor`."""
    return click.option(
        "--as",
        "actor",
        metavar="NAME",
        callback=_named,
        help="Who acts, for the history and for reviews; without it, the name you are logged in with. It is believed: "
        "whoever may run this command is trusted.",
    )(work)
