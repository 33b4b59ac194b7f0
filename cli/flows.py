"""`justai klaviyo`, `justai flows`: the org's connection to its Klaviyo account."""

import hashlib
import sys
from uuid import UUID

import aiohttp
import click

from cli.display import console, show_table
from cli.session import Session, command, read_secret, session
from shared.klaviyo.client import KlaviyoClient, Verified
from shared.klaviyo.flows import FlowMessage, read_flow_messages

UPSERT_INTEGRATION = """
    INSERT INTO integrations (org_id, account_key, account_name, base_url, sealed_key, last4, scopes,
                              verified_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
    ON CONFLICT (org_id) DO UPDATE SET
        account_key = excluded.account_key, account_name = excluded.account_name, base_url = excluded.base_url,
        sealed_key = excluded.sealed_key, last4 = excluded.last4, scopes = excluded.scopes,
        verified_at = excluded.verified_at, updated_at = excluded.updated_at
"""
SELECT_INTEGRATION = "SELECT base_url, sealed_key FROM integrations WHERE org_id = $1"
DELETE_FLOW_MESSAGES = "DELETE FROM flow_messages WHERE org_id = $1"
INSERT_FLOW_MESSAGE = """
    INSERT INTO flow_messages (org_id, flow_id, flow_name, flow_status, action_id, message_id, message_name, delay_s,
                               synced_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""

_WRITE = "profiles:write"
SCOPE_BUYS = {
    _WRITE: "needed: nothing can be written without it",
    "flows:read": "the flow and message pickers, and delays read from the flow itself",
    "campaigns:read": "campaigns beside flows",
    "metrics:read": "checking our counts against Klaviyo's own",
    "accounts:read": "the account's name, and one quota for orgs that share an account",
    "events:read": "events from Klaviyo's API instead of SFTP files",
    "lists:write": "bulk import when single writes cannot meet the deadline, with the next two",
    "lists:read": "watching bulk imports, together with profiles:read",
    "profiles:read": "watching bulk imports, and reading back what is on a profile",
    "templates:read": "checking that the snippet is in the email",
}


@click.group()
def klaviyo() -> None:
    """The connection to Klaviyo."""


@klaviyo.command("connect")
@click.argument("org_slug")
@click.option("--base-url", default="https://a.klaviyo.com", show_default=True, help="Another API host, for tests.")
@click.option("--key-stdin", is_flag=True, help="Read the private key from standard input instead of asking.")
@command
async def klaviyo_connect(org_slug: str, base_url: str, key_stdin: bool) -> None:
    """Verify a Klaviyo private key and store it sealed.

    The key is asked for, never taken from the command line, where it would stay in the shell's history. Scopes that
    the integration page asks for: Flows Read, Campaigns Read, Metrics Read, Profiles Write. A key that Klaviyo
    refuses is not stored; the one that was there stays.
    """
    if not base_url.startswith(("https://", "http://")):
        raise click.ClickException(f"--base-url: {base_url!r} must begin with https://.")
    async with session() as s, aiohttp.ClientSession() as http:
        org_id = await s.org_id(org_slug)
        private_key = sys.stdin.readline().strip() if key_stdin else read_secret("Private API key")
        with console(stderr=True).status("Asking Klaviyo what the key may do…"):
            verified = await KlaviyoClient(http, base_url, private_key, clock=s.clock).verify()
        sealed = s.ring.seal(private_key, f"{org_id}/klaviyo")
        async with s.db.transaction(org_id) as connection:
            await connection.execute(
                UPSERT_INTEGRATION, org_id, _account_key(verified, private_key), verified.name, base_url, sealed,
                private_key[-4:], sorted(verified.scopes), s.clock.now(),
            )  # fmt: skip
    click.echo(f"Connected {org_slug} to {verified.name or 'a Klaviyo account'} (key …{private_key[-4:]}).")
    show_table(
        ("scope", "seen", "what it buys"),
        ((scope, "yes" if scope in verified.scopes else "no", buys) for scope, buys in SCOPE_BUYS.items()),
        empty="",
    )
    if _WRITE not in verified.scopes:
        click.echo(
            f"This key may not write profiles ({_WRITE}): until another one is connected, every email shows the "
            "control content.",
            err=True,
        )


def _account_key(verified: Verified, private_key: str) -> str:
    """What names the quota: the account where the key may read it, else the key itself."""
    if verified.account_id:
        return f"acct:{verified.account_id}"
    return f"key:{hashlib.sha256(private_key.encode()).hexdigest()[:24]}"


@click.group()
def flows() -> None:
    """Flows and messages as last read from Klaviyo."""


@flows.command("sync")
@click.argument("org_slug")
@command
async def flows_sync(org_slug: str) -> None:
    """Refresh Klaviyo Data: read flows, their actions and messages, and the delay before each email.

    Events name flow messages, tracking ids name flow actions; this keeps the map. Needs Flows: Read.
    """
    async with session() as s, aiohttp.ClientSession() as http:
        org_id = await s.org_id(org_slug)
        client = await _client(s, http, org_id, org_slug)
        with console(stderr=True).status("Reading flows from Klaviyo…"):
            messages = await read_flow_messages(client)
        rows = [_row(org_id, found, s) for found in messages]
        async with s.db.transaction(org_id) as connection:
            await connection.execute(DELETE_FLOW_MESSAGES, org_id)
            await connection.executemany(INSERT_FLOW_MESSAGE, rows)
    show_table(
        ("flow", "flow id", "status", "message", "message id", "action", "delay before the email"),
        (
            (
                found.flow_name, found.flow_id, found.flow_status, found.message_name, found.message_id,
                found.action_id, f"{found.delay_s} s" if found.delay_s is not None else "no webhook before it",
            )
            for found in messages
        ),
        empty="The account has no flow with an email in it.",
    )  # fmt: skip


def _row(org_id: UUID, found: FlowMessage, s: Session) -> tuple[object, ...]:
    return (
        org_id, found.flow_id, found.flow_name, found.flow_status, found.action_id, found.message_id,
        found.message_name, found.delay_s, s.clock.now(),
    )  # fmt: skip


async def _client(s: Session, http: aiohttp.ClientSession, org_id: UUID, org_slug: str) -> KlaviyoClient:
    async with s.db.transaction(org_id) as connection:
        row = await connection.fetchrow(SELECT_INTEGRATION, org_id)
    if row is None:
        raise click.ClickException(f"Not connected to Klaviyo yet: justai klaviyo connect {org_slug}")
    private_key = s.ring.open(row["sealed_key"], f"{org_id}/klaviyo")
    return KlaviyoClient(http, row["base_url"], private_key, clock=s.clock)
