"""`justai org`, `justai key`: tenants and their API keys."""

import os
from uuid import uuid4

import asyncpg
import click
from rich.table import Table

from cli.session import command, out, session
from shared import api_keys

INSERT_ORG = "INSERT INTO orgs (org_id, slug, name, created_at) VALUES ($1, $2, $3, $4)"
SELECT_ORGS = "SELECT slug, name, created_at FROM orgs ORDER BY slug"
INSERT_KEY = """
    INSERT INTO api_keys (key_id, org_id, name, shown, digest, pepper, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
SELECT_KEYS = """
    SELECT name, shown, created_at, last_used_at, expires_at, revoked_at FROM api_keys ORDER BY created_at
"""
REVOKE_KEYS = "UPDATE api_keys SET revoked_at = $2 WHERE name = $1 AND revoked_at IS NULL RETURNING shown"


@click.group()
def org() -> None:
    """Tenants."""


@org.command("create")
@click.argument("slug")
@click.argument("name")
@command
async def org_create(slug: str, name: str) -> None:
    """Create an org. SLUG is lower-case and part of the webhook URL: /api/generate/SLUG."""
    async with session() as s:
        try:
            async with s.db.transaction() as connection:
                await connection.execute(INSERT_ORG, uuid4(), slug, name, s.clock.now())
        except asyncpg.UniqueViolationError:
            raise click.ClickException(f"There is an org {slug!r} already.") from None
        except asyncpg.CheckViolationError:
            raise click.ClickException(
                f"slug: {slug!r} cannot be part of a URL; use lower-case letters, digits, - and _, at most 63."
            ) from None
    out.print(f"Created org [bold]{slug}[/]. Next: justai key create {slug} webhook")


@org.command("list")
@command
async def org_list() -> None:
    """List the orgs."""
    table = Table("slug", "name", "created")
    async with session() as s, s.db.connection() as connection:
        for row in await connection.fetch(SELECT_ORGS):
            table.add_row(row["slug"], row["name"], f"{row['created_at']:%Y-%m-%d %H:%M}")
    out.print(table)


@click.group()
def key() -> None:
    """API keys of an org, sent by the webhook as X-Api-Key."""


@key.command("create")
@click.argument("org_slug")
@click.argument("name")
@click.option("--quiet", is_flag=True, help="Print the key alone, for scripts.")
@command
async def key_create(org_slug: str, name: str, quiet: bool) -> None:
    """Create a key called NAME and print it. It is shown this once; only its digest is stored."""
    new = api_keys.mint(os.urandom)
    async with session() as s:
        pepper, digest = api_keys.Peppers(s.settings.api_key_peppers.get_secret_value()).digest(new)
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            await connection.execute(
                INSERT_KEY, uuid4(), org_id, name, api_keys.shown(new), digest, pepper, s.clock.now()
            )
    click.echo(new if quiet else f"{new}\n\nStore it now: it is not shown again.")


@key.command("list")
@click.argument("org_slug")
@command
async def key_list(org_slug: str) -> None:
    """List an org's keys."""
    table = Table("name", "key", "created", "last used", "state")
    async with session() as s:
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            for row in await connection.fetch(SELECT_KEYS):
                used = f"{row['last_used_at']:%Y-%m-%d %H:%M}" if row["last_used_at"] else "never"
                expired = row["expires_at"] is not None and row["expires_at"] <= s.clock.now()
                state = "revoked" if row["revoked_at"] else "expired" if expired else "active"
                table.add_row(row["name"], row["shown"], f"{row['created_at']:%Y-%m-%d %H:%M}", used, state)
    out.print(table)


@key.command("revoke")
@click.argument("org_slug")
@click.argument("name")
@command
async def key_revoke(org_slug: str, name: str) -> None:
    """Revoke every active key called NAME. Gateways refuse it within 5 seconds."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            rows = await connection.fetch(REVOKE_KEYS, name, s.clock.now())
    if not rows:
        raise click.ClickException(f"No active key called {name!r}; see `justai key list {org_slug}`.")
    out.print(f"Revoked {', '.join(row['shown'] for row in rows)}.")
