"""`justai org`, `justai key`: tenants and their API keys."""

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import uuid4

import asyncpg
import click

from cli import stops
from cli.attributes import attributes
from cli.display import moment, show_table
from cli.session import command, session
from shared import api_keys

SCOPES = ("generate", "preview")
INSERT_ORG = "INSERT INTO orgs (org_id, slug, name, created_at) VALUES ($1, $2, $3, $4)"
SELECT_ORGS = "SELECT slug, name, created_at, stopped_at, stopped_reason FROM orgs ORDER BY slug"
INSERT_KEY = """
    INSERT INTO api_keys (key_id, org_id, name, shown, digest, pepper, created_at, expires_at, scopes)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
SELECT_KEYS = """
    SELECT name, shown, scopes, pepper, created_at, last_used_at, expires_at, revoked_at FROM api_keys
    WHERE org_id = $1 ORDER BY created_at
"""
REVOKE_KEYS = """
    UPDATE api_keys SET revoked_at = $3
    WHERE org_id = $1 AND revoked_at IS NULL AND (name = $2 OR shown = $2) RETURNING shown
"""


@click.group()
def org() -> None:
    """Tenants."""


@org.command("create")
@click.argument("slug")
@click.argument("name")
@command
async def org_create(slug: str, name: str) -> None:
    """Create an org. SLUG is lower-case and part of the webhook URL: /api/generate/SLUG."""
    if not name.strip():
        raise click.ClickException("name: an org needs one.")
    async with session() as s:
        try:
            async with s.db.transaction() as connection:
                await connection.execute(INSERT_ORG, uuid4(), slug, name.strip(), s.clock.now())
        except asyncpg.UniqueViolationError:
            raise click.ClickException(f"There is an org {slug!r} already.") from None
        except asyncpg.CheckViolationError:
            raise click.ClickException(
                f"slug: {slug!r} cannot be part of the URL; use lower-case letters, digits, - and _, at most 63, "
                "beginning with a letter or digit."
            ) from None
    click.echo(f"Created org {slug}. Next: justai key create {slug} webhook")


@org.command("list")
@command
async def org_list() -> None:
    """List the orgs."""
    async with session() as s, s.db.connection() as connection:
        rows = await connection.fetch(SELECT_ORGS)
    show_table(
        ("slug", "name", "created", "stopped since"),
        ((row["slug"], row["name"], moment(row["created_at"]), stops.shown(row)) for row in rows),
        empty="No orgs yet; create one with `justai org create`.",
    )


@org.command("stop")
@click.argument("org_slug")
@click.option("--reason", help="Why, for whoever looks at it next.")
@command
async def org_stop(org_slug: str, reason: str | None) -> None:
    """Let no copy of any of the org's templates reach a profile any more, until it is resumed.

    What waits ends as `stopped`. Copy that is on profiles is taken away first of all, that whose email leaves soonest
    before the rest. New webhooks are answered and decided for the control content.
    """
    async with session() as s:
        org_id = await s.org_id(org_slug)
        await stops.stop(s, org_id, None, reason)
        await stops.say_stops(s, org_id, org_slug)


@org.command("resume")
@click.argument("org_slug")
@command
async def org_resume(org_slug: str) -> None:
    """End the stop of an org. What it has ended stays ended; new webhooks are served again."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        ended = await stops.resume(s, org_id, None)
        click.echo(f"{org_slug} is served again." if ended else f"{org_slug} was not stopped.")
        await stops.say_stops(s, org_id, org_slug)


org.add_command(attributes)


@click.group()
def key() -> None:
    """API keys of an org, sent by the webhook as X-Api-Key."""


@key.command("create")
@click.argument("org_slug")
@click.argument("name")
@click.option("--days", type=click.IntRange(1, 3650), help="Expires after so many days; without it, never.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="What the key may do besides `generate`; `preview`: force a variant, and requests that count nowhere. Not "
    "for the webhook of a flow.",
)
@click.option("--quiet", is_flag=True, help="Print the key alone, for scripts.")
@command
async def key_create(org_slug: str, name: str, days: int | None, scopes: Sequence[str], quiet: bool) -> None:
    """Create a key called NAME and print it. It is shown this once; only its digest is stored."""
    if not name.strip():
        raise click.ClickException("name: a key needs one, by which it can be revoked.")
    new = api_keys.mint(os.urandom)
    async with session() as s:
        pepper, digest = api_keys.Peppers(s.settings.api_key_peppers.get_secret_value()).digest(new)
        org_id = await s.org_id(org_slug)
        now = s.clock.now()
        expires_at = now + timedelta(days=days) if days else None
        async with s.db.transaction(org_id) as connection:
            await connection.execute(
                INSERT_KEY,
                uuid4(),
                org_id,
                name.strip(),
                api_keys.shown(new),
                digest,
                pepper,
                now,
                expires_at,
                sorted({"generate", *scopes}),
            )
    click.echo(new if quiet else f"{new}\n\nStore it now: it is not shown again.")


@key.command("list")
@click.argument("org_slug")
@command
async def key_list(org_slug: str) -> None:
    """List an org's keys."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        now = s.clock.now()
        async with s.db.transaction(org_id) as connection:
            rows = await connection.fetch(SELECT_KEYS, org_id)
    show_table(
        ("name", "key", "may", "created", "last used", "state", "pepper"),
        (
            (
                row["name"], row["shown"], ", ".join(row["scopes"]), moment(row["created_at"]),
                moment(row["last_used_at"], "never"),
                "revoked" if row["revoked_at"] else _until(row["expires_at"], now), row["pepper"],
            )
            for row in rows
        ),
        empty=f"No keys yet; create one with `justai key create {org_slug} webhook`.",
    )  # fmt: skip


def _until(expires_at: datetime | None, now: datetime) -> str:
    if expires_at is None:
        return "active"
    return "expired" if expires_at <= now else f"active until {expires_at:%Y-%m-%d}"


@key.command("revoke")
@click.argument("org_slug")
@click.argument("key_name", metavar="KEY")
@command
async def key_revoke(org_slug: str, key_name: str) -> None:
    """Revoke every active key of that name, or the one that `justai key list` shows so.

    Gateways refuse it within 5 seconds.
    """
    async with session() as s:
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            rows = await connection.fetch(REVOKE_KEYS, org_id, key_name, s.clock.now())
    if not rows:
        raise click.ClickException(f"No active key {key_name!r}; see `justai key list {org_slug}`.")
    click.echo(f"Revoked {', '.join(row['shown'] for row in rows)}.")
