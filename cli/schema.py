"""`justai migrate`, `justai keyring`: before the first service starts, and when keys are changed."""

import base64
import os
import re

import click

from cli.session import command, reaching, read_settings
from shared.crypto import KEY_BYTES
from shared.db import migrate as migrations


@click.command()
@command
async def migrate() -> None:
    """Bring the database schema up to date. Safe to repeat, and to run from several places at once."""
    settings = read_settings()
    with reaching("PostgreSQL", "JUSTAI_DATABASE_URL"):
        names = await migrations.migrate(settings.database_url.get_secret_value())
    for name in names:
        click.echo(f"applied {name}")
    if not names:
        click.echo("The schema is up to date.")


@click.group()
def keyring() -> None:
    """Make keys. What is sealed with which, and how to change them: `justai kek`."""


@keyring.command("new")
@click.argument("name", default="k1")
@click.option(
    "--kms", "kms_key", metavar="KEY",
    help="Have AWS KMS make it, wrapped by this key of yours (id, alias or ARN): what is printed opens nothing without "
    "KMS. For JUSTAI_SEAL_KEYS.",
)  # fmt: skip
@command
async def keyring_new(name: str, kms_key: str | None) -> None:
    """Print one new 32-byte key as NAME:BASE64.

    Put it into JUSTAI_SEAL_KEYS, behind the others until every process has it (`justai kek list`), or use it with a
    number as NAME in JUSTAI_API_KEY_PEPPERS. It is printed once and stored nowhere.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise click.ClickException(f"{name!r} cannot name a key; use letters, digits, - and _.")
    if kms_key is None:
        click.echo(f"{name}:{base64.b64encode(os.urandom(KEY_BYTES)).decode()}")
        return
    from shared import kms  # its libraries are large

    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    click.echo(f"{name}:{await kms.new_key(name, kms_key, region)}")
