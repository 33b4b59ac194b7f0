"""`justai klaviyo`, `justai flows`: the org's connection to its Klaviyo account."""

import sys

import aiohttp
import click
from pydantic import SecretStr

from cli.actor import acting
from cli.display import console, moment, show_table
from cli.session import command, read_secret, session
from shared.admin.operation import Nothing
from shared.admin.orgs import flows as admin_flows
from shared.admin.orgs import klaviyo as admin_klaviyo
from shared.admin.orgs.klaviyo import WRITE, Connection

_ASKING = "Asking Klaviyo what the key may do…"


@click.group()
def klaviyo() -> None:
    """The connection to Klaviyo."""


@klaviyo.command("connect")
@click.argument("org_slug")
@click.option("--anyway", is_flag=True, help="Also a key of another account than the one whose profiles hold our copy.")
@click.option("--base-url", default="https://a.klaviyo.com", show_default=True, help="Another API host, for tests.")
@click.option("--key-stdin", is_flag=True, help="Read the private key from standard input instead of asking.")
@acting
@command
async def klaviyo_connect(org_slug: str, anyway: bool, base_url: str, key_stdin: bool, actor: str) -> None:
    """Verify a Klaviyo private key and store it sealed.

    The key is asked for, never taken from the command line, where it would stay in the shell's history. Scopes that
    the integration page asks for: Flows Read, Campaigns Read, Metrics Read, Profiles Write. A key that Klaviyo
    refuses is not stored, nor one of another account than that whose profiles hold our copy; the one that was there
    stays.
    """
    async with session() as s, aiohttp.ClientSession() as http:
        await s.org_id(org_slug)
        asked = admin_klaviyo.KeyToStore(private_key=_private_key(key_stdin), base_url=base_url, anyway=anyway)
        with console(stderr=True).status(_ASKING):
            found = await s.run(admin_klaviyo.connect, asked, org_slug, actor, http=http)
    click.echo(f"Connected {org_slug} to {found.account_name or 'a Klaviyo account'} (key …{found.last4}).")
    _show_scopes(found)


@klaviyo.command("rotate")
@click.argument("org_slug")
@click.option("--anyway", is_flag=True, help="Also a key of another account, or with fewer scopes than the old one.")
@click.option("--base-url", default="https://a.klaviyo.com", show_default=True, help="Another API host, for tests.")
@click.option("--key-stdin", is_flag=True, help="Read the private key from standard input instead of asking.")
@acting
@command
async def klaviyo_rotate(org_slug: str, anyway: bool, base_url: str, key_stdin: bool, actor: str) -> None:
    """Replace the stored key by another one of the same account.

    Writes that are under way end with the old key: delete it in Klaviyo a minute later, not before. A new key that may
    less than the old one, or is of another account, is refused.
    """
    async with session() as s, aiohttp.ClientSession() as http:
        await s.org_id(org_slug)
        private_key = _private_key(key_stdin)
        asked = admin_klaviyo.KeyToStore(private_key=private_key, base_url=base_url, anyway=anyway)
        with console(stderr=True).status(_ASKING):
            found = await s.run(admin_klaviyo.rotate, asked, org_slug, actor, http=http)
    click.echo(f"{org_slug} uses the key …{found.last4} now; delete the old one in Klaviyo in a minute.")
    _show_scopes(found)


@klaviyo.command("verify")
@click.argument("org_slug")
@click.option("--new", is_flag=True, help="Another key than the stored one; it is asked for and not stored.")
@click.option("--base-url", help="Another API host for it, for tests.")
@click.option("--key-stdin", is_flag=True, help="Read it from standard input instead of asking.")
@command
async def klaviyo_verify(org_slug: str, new: bool, base_url: str | None, key_stdin: bool) -> None:
    """Ask Klaviyo what the stored key may do, and say what each missing scope costs."""
    async with session() as s, aiohttp.ClientSession() as http:
        await s.org_id(org_slug)
        private_key = _private_key(key_stdin) if new or key_stdin else None
        asked = admin_klaviyo.PerhapsGivenKey(private_key=private_key, base_url=base_url)
        with console(stderr=True).status(_ASKING):
            found = await s.run(admin_klaviyo.verify, asked, org_slug, http=http)
    click.echo(f"The key …{found.last4} is accepted by {found.account_name or 'a Klaviyo account'}.")
    _show_scopes(found)


@klaviyo.command("show")
@click.argument("org_slug")
@command
async def klaviyo_show(org_slug: str) -> None:
    """Show the stored connection, without asking Klaviyo."""
    async with session() as s:
        found = await s.run(admin_klaviyo.show, Nothing(), org_slug)
    click.echo(
        f"{org_slug} is connected to {found.account_name or 'a Klaviyo account'} (key …{found.last4}), verified "
        f"{moment(found.verified_at, 'never')}."
    )
    _show_scopes(found)


def _private_key(from_stdin: bool) -> SecretStr:
    return SecretStr(sys.stdin.readline().strip() if from_stdin else read_secret("Private API key"))


def _show_scopes(found: Connection) -> None:
    show_table(
        ("scope", "seen", "what it buys"),
        ((one.scope, "yes" if one.has else "no", one.buys) for one in found.scopes),
        empty="",
    )
    if not found.may_write:
        click.echo(
            f"This key may not write profiles ({WRITE}): until another one is connected, every email shows the "
            "control content.",
            err=True,
        )


@click.group()
def flows() -> None:
    """Flows and messages as last read from Klaviyo."""


@flows.command("sync")
@click.argument("org_slug")
@acting
@command
async def flows_sync(org_slug: str, actor: str) -> None:
    """Refresh Klaviyo Data: read flows, their messages and delays, and campaigns.

    Events name messages, tracking ids name flow actions; this keeps the map. Needs Flows: Read, and Campaigns: Read for
    campaigns, which is said where it is missing.
    """
    async with session() as s, aiohttp.ClientSession() as http:
        with console(stderr=True).status("Reading flows and campaigns from Klaviyo…"):
            found = await s.run(admin_flows.sync, Nothing(), org_slug, actor, http=http)
    _show_steps(found, "The account has no flow with an email in it.")
    _show_campaigns(found)


@flows.command("list")
@click.argument("org_slug")
@command
async def flows_list(org_slug: str) -> None:
    """List the emails of all flows and campaigns as they were last read."""
    async with session() as s:
        found = await s.run(admin_flows.list_flows, Nothing(), org_slug)
    _show_steps(found, f"Nothing was read yet: justai flows sync {org_slug}")
    _show_campaigns(found)


def _show_steps(found: admin_flows.Flows, empty: str) -> None:
    show_table(
        ("flow", "flow id", "status", "message", "message id", "action", "delay before the email"),
        (
            (
                one.flow_name, one.flow_id, one.flow_status, one.message_name, one.message_id, one.action_id,
                _waits(one),
            )
            for one in found.steps
        ),
        empty=empty,
    )  # fmt: skip


def _waits(step: admin_flows.EmailStep) -> str:
    if step.delay_s is None:
        return "no webhook before it"
    if step.latest_s == step.delay_s:
        return f"{step.delay_s} s"
    return f"{step.delay_s} s or more" if step.latest_s is None else f"{step.delay_s} to {step.latest_s} s"


def _show_campaigns(found: admin_flows.Flows) -> None:
    if found.campaigns:
        click.echo()
        show_table(
            ("campaign", "campaign id", "status", "message", "message id"),
            (
                (one.campaign_name, one.campaign_id, one.campaign_status, one.message_name, one.message_id)
                for one in found.campaigns
            ),
            empty="",
        )
    if found.campaigns_problem is not None:
        click.echo(f"Campaigns could not be read: {found.campaigns_problem}.", err=True)
