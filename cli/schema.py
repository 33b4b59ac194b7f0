"""`justai migrate`, `justai keyring`: before the first service starts, and when keys are changed."""

import base64
import os
import re

import click

from cli.display import show_table
from cli.session import command, reaching, read_settings, session
from shared.db import migrate as migrations

# An empty one is still to be set: what a configuration file says of it stands here without its secret.
SELECT_SEALED = """
    SELECT 'Klaviyo key' AS what, o.slug, i.org_id, i.sealed_key AS sealed, i.org_id || '/klaviyo' AS place
    FROM integrations i JOIN orgs o USING (org_id)
    UNION ALL
    SELECT 'SFTP key of source ' || s.name, o.slug, s.org_id, s.sealed_key, s.org_id || '/source/' || s.source_id
    FROM sources s JOIN orgs o USING (org_id) WHERE s.sealed_key <> ''
    UNION ALL
    SELECT 'S3 secret', o.slug, t.org_id, t.sealed_secret, t.org_id || '/export'
    FROM export_targets t JOIN orgs o USING (org_id) WHERE t.sealed_secret <> ''
    ORDER BY slug, what
"""
# By the old sealed text, so that a secret that was changed meanwhile is left alone. `updated_at` stays: it is the same
# secret, and a key that Klaviyo refused is refused still.
UPDATE_SEALED = (
    "UPDATE integrations SET sealed_key = $3 WHERE org_id = $1 AND sealed_key = $2",
    "UPDATE sources SET sealed_key = $3 WHERE org_id = $1 AND sealed_key = $2",
    "UPDATE export_targets SET sealed_secret = $3 WHERE org_id = $1 AND sealed_secret = $2",
)


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
    """Keys that seal stored secrets."""


@keyring.command("new")
@click.argument("name", default="k1")
def keyring_new(name: str) -> None:
    """Print one new 32-byte key as NAME:BASE64.

    Put it first in JUSTAI_SEAL_KEYS (keep older ones behind it, separated by commas), or use it with a number as
    NAME in JUSTAI_API_KEY_PEPPERS. It is printed once and stored nowhere.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise click.ClickException(f"{name!r} cannot name a key; use letters, digits, - and _.")
    click.echo(f"{name}:{base64.b64encode(os.urandom(32)).decode()}")


@keyring.command("list")
@command
async def keyring_list() -> None:
    """List the stored secrets and the key that each is sealed with; the secrets themselves stay sealed."""
    async with session() as s, s.db.transaction() as connection:
        rows = await connection.fetch(SELECT_SEALED)
    show_table(
        ("org", "secret", "sealed with"),
        ((row["slug"], row["what"], key_name(row["sealed"])) for row in rows),
        empty="No secrets are stored.",
    )


@keyring.command("reseal")
@command
async def keyring_reseal() -> None:
    """Seal every stored secret again with the first key of JUSTAI_SEAL_KEYS.

    After that the older keys may be taken out. All or nothing: if one secret does not open, none is changed.
    """
    async with session() as s:
        first = s.settings.seal_keys.get_secret_value().strip().partition(":")[0]
        async with s.db.transaction() as connection:
            rows = [row for row in await connection.fetch(SELECT_SEALED) if key_name(row["sealed"]) != first]
            for row in rows:
                again = s.ring.seal(s.ring.open(row["sealed"], row["place"]), row["place"])
                for statement in UPDATE_SEALED:
                    await connection.execute(statement, row["org_id"], row["sealed"], again)
    secrets = "1 secret" if len(rows) == 1 else f"{len(rows)} secrets"
    click.echo(f"Sealed {secrets} again with {first}." if rows else f"Every secret is sealed with {first} already.")


def key_name(sealed: str) -> str:
    """A sealed text names its key: `v1.<name>.…`."""
    return sealed.split(".")[1] if sealed.count(".") == 3 else "?"
