"""`justai migrate`, `justai keyring`: before the first service starts."""

import base64
import os

import click

from cli.session import Settings, command, out
from shared.db import migrate as migrations
from shared.settings import SettingsError


@click.command()
@command
async def migrate() -> None:
    """Bring the database schema up to date. Safe to repeat, and to run from several places at once."""
    try:
        settings = Settings.read()
    except SettingsError as error:
        raise click.ClickException(f"The configuration is not usable:\n{error}") from None
    try:
        names = await migrations.migrate(settings.database_url.get_secret_value())
    except migrations.MigrationError as error:
        raise click.ClickException(str(error)) from error
    for name in names:
        out.print(f"applied {name}")
    if not names:
        out.print("The schema is up to date.")


@click.group()
def keyring() -> None:
    """Keys that seal stored secrets."""


@keyring.command("new")
@click.argument("name", default="k1")
def keyring_new(name: str) -> None:
    """Print one new 32-byte key as NAME:BASE64.

    Put it first in JUSTAI_SEAL_KEYS (keep older ones behind it, separated by commas), or use it with a number as
    NAME in JUSTAI_API_KEY_PEPPERS. It is printed once and stored nowhere.
    """
    click.echo(f"{name}:{base64.b64encode(os.urandom(32)).decode()}")
