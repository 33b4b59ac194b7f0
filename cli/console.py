"""`justai console`: let people into the web console, help those who cannot get in, see who is there."""

import os
from uuid import uuid4

import click

from cli.actor import acting
from cli.display import moment, show_table
from cli.session import command, session
from services.console.settings import Settings
from shared.clock import SystemClock
from shared.people import links, store
from shared.people.roles import MEANINGS, ROLES, Role
from shared.settings import SettingsError

_REAL = SystemClock()  # people live in it, whatever clock the services have

role_option = click.option(
    "--role",
    type=click.Choice(ROLES),
    required=True,
    help="; ".join(f"{role}: {MEANINGS[role]}" for role in ROLES) + ".",
)


def _email(_: click.Context, __: click.Parameter, text: str) -> str:
    try:
        return links.email_of(text)
    except links.BadEmail as error:
        raise click.BadParameter(str(error)) from None


email_argument = click.argument("email", callback=_email)


@click.group()
def console() -> None:
    """People of the web console: invitations, password resets, members.

    Links are made of JUSTAI_CONSOLE_URL, and are printed here because no mail is sent: hand them over yourself.
    """


@console.command("invite")
@click.argument("org_slug")
@email_argument
@role_option
@acting
@command
async def invite(org_slug: str, email: str, role: Role, actor: str) -> None:
    """Print a link with which EMAIL joins the org, once, within 7 days.

    The first person of all can be invited so. A new invitation of the same person takes the place of the old one.
    """
    url, token = _console_url(), links.mint(os.urandom)
    async with session() as s:
        org_id, now = await s.org_id(org_slug), _REAL.now()
        async with s.db.transaction(org_id) as connection:
            if await store.is_member(connection, org_id, email):
                raise click.ClickException(f"{email} is a member of {org_slug} already; see `justai console role`.")
            expires_at = await store.invite_anew(
                connection, uuid4(), org_id, links.digest(token), email, role, actor, now
            )
    click.echo(links.invite_url(url, token))
    click.echo(f"It works once, until {moment(expires_at)} UTC. Give it to {email}.", err=True)


@console.command("reset")
@email_argument
@click.option(
    "--second-factor", "drops_totp", is_flag=True, help="The phone is lost too: two-factor sign-in is turned off."
)
@command
async def reset(email: str, drops_totp: bool) -> None:
    """Print a link with which EMAIL sets a new password, once, within an hour. It signs them out everywhere."""
    url, token = _console_url(), links.mint(os.urandom)
    async with session() as s, s.db.transaction() as connection:
        user_id = await store.user_id_of(connection, email)
        if user_id is None:
            raise click.ClickException(f"There is no account of {email}; see `justai console list ORG`.")
        expires_at = await store.reset_anew(
            connection, links.digest(token), user_id, drops_totp=drops_totp, now=_REAL.now()
        )
    click.echo(links.reset_url(url, token))
    click.echo(f"It works once, until {moment(expires_at)} UTC. Give it to {email}.", err=True)


@console.command("list")
@click.argument("org_slug")
@command
async def list_people(org_slug: str) -> None:
    """List who works in the org, and who was invited."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            members = await store.members(connection, org_id)
            invites = await store.open_invites(connection, org_id, _REAL.now())
    rows = [
        (one.email, one.name, one.role, "on" if one.two_factor else "off", moment(one.last_signed_in_at, "never"))
        for one in members
    ]
    rows += [(one.email, "", one.role, "", f"invited until {moment(one.expires_at)}") for one in invites]
    show_table(
        ("email", "name", "role", "two-factor", "last signed in"),
        rows,
        empty=f"Nobody yet; invite somebody with `justai console invite {org_slug} EMAIL --role owner`.",
    )


@console.command("role")
@click.argument("org_slug")
@email_argument
@role_option
@command
async def change_role(org_slug: str, email: str, role: Role) -> None:
    """Give a member another role. An org keeps at least one owner."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        try:
            async with s.db.transaction(org_id) as connection:
                user_id = await store.user_id_of(connection, email)
                if user_id is None or not await store.change_role(connection, org_id, user_id, role):
                    raise _no_member(email, org_slug)
        except store.LastOwner as error:
            raise click.ClickException(f"role: {error}.") from None
    click.echo(f"{email} is {role} of {org_slug} now.")


@console.command("remove")
@click.argument("org_slug")
@email_argument
@command
async def remove(org_slug: str, email: str) -> None:
    """Take a member, or an open invitation, out of the org, at once. The account stays."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        try:
            async with s.db.transaction(org_id) as connection:
                user_id = await store.user_id_of(connection, email)
                removed = user_id is not None and await store.remove_member(connection, org_id, user_id)
                withdrawn = await store.withdraw_invite_of(connection, org_id, email)
        except store.LastOwner as error:
            raise click.ClickException(f"email: {error}.") from None
    if not removed and not withdrawn:
        raise _no_member(email, org_slug)
    click.echo(
        f"{email} does not work in {org_slug} any more." if removed else f"The invitation of {email} is withdrawn."
    )


def _no_member(email: str, org_slug: str) -> click.ClickException:
    return click.ClickException(f"{email} is no member of {org_slug}; see `justai console list {org_slug}`.")


def _console_url() -> str:
    try:
        return Settings.read().console_url
    except SettingsError as error:
        raise click.ClickException(f"The configuration is not usable:\n{error}") from None
