"""`justai console`: let people into the web console, help those who cannot get in, see who is there."""

from uuid import uuid4

import click

from cli.actor import acting
from cli.display import moment, show_table
from cli.session import command, session
from services.console.oidc.errors import SignInRefused
from services.console.oidc.provider import look
from services.console.settings import Settings
from shared.admin.access import people, people_reset
from shared.admin.errors import Refused
from shared.admin.operation import Nothing
from shared.people import links
from shared.people.roles import MEANINGS, ROLES, Role
from shared.settings import SettingsError

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
    url = _console_url()
    async with session() as s:
        made = await s.run(people.invite, people.Invite(email=email, role=role), org_slug, actor)
    click.echo(url + made.path)
    click.echo(f"It works once, until {moment(made.expires_at)}. Give it to {email}.", err=True)


@console.command("reset")
@email_argument
@click.option(
    "--second-factor", "drops_totp", is_flag=True, help="The phone is lost too: two-factor sign-in is turned off."
)
@click.option("--org", "org_slug", help="Only if they work in this org alone, as its owners may.")
@acting
@command
async def reset(email: str, drops_totp: bool, org_slug: str | None, actor: str) -> None:
    """Print a link with which EMAIL sets a new password, once, within an hour. It signs them out everywhere."""
    url = _console_url()
    async with session() as s:
        if org_slug is not None:
            asked = people_reset.ResetMember(member=email, second_factor=drops_totp)
            link = await s.run(people_reset.reset, asked, org_slug, actor)
            path, until = link.path, link.expires_at
        else:
            made = await people.reset_password(
                s.means, actor, email, drops_totp=drops_totp, request_id=f"cli-{uuid4()}"
            )  # fmt: skip
            if made is None:
                raise _no_account(email)
            path, until = made.path, made.expires_at
    click.echo(url + path)
    click.echo(f"It works once, until {moment(until)}. Give it to {email}.", err=True)


@console.command("let-in")
@email_argument
@acting
@command
async def let_in(email: str, actor: str) -> None:
    """Print a link that signs EMAIL, an owner, in once.

    For when single sign-on lets nobody in; it works for 15 minutes. It asks for the two-factor code where the person
    has turned that on.
    """
    url = _console_url()
    async with session() as s:
        try:
            made = await people.let_in(s.means, actor, email, request_id=f"cli-{uuid4()}")
        except Refused as error:
            raise click.ClickException(f"{email} {error}") from None
    if made is None:
        raise _no_account(email)
    click.echo(url + made.path)
    click.echo(f"It works once, until {moment(made.expires_at)}. Give it to {email}.", err=True)


@console.command("unlink")
@email_argument
@acting
@command
async def unlink(email: str, actor: str) -> None:
    """Forget who EMAIL is at the single sign-on provider.

    Who next signs in there with this address is linked anew. For an address that belongs to somebody else now: remove
    them from the orgs first, or they inherit the account.
    """
    async with session() as s:
        was_linked = await people.unlink(s.means, actor, email, request_id=f"cli-{uuid4()}")
    if was_linked is None:
        raise _no_account(email)
    click.echo(f"{email} is linked to nobody now." if was_linked else f"{email} was not linked.")


@console.command("check-provider")
@command
async def check_provider() -> None:
    """Ask the single sign-on provider what it says of itself.

    Asked as the console would, and printed. Ends with status 1 where people could not sign in through it.
    """
    try:
        settings = Settings.read()
    except SettingsError as error:
        raise click.ClickException(f"The configuration is not usable:\n{error}") from None
    if settings.console_oidc_issuer is None:
        raise click.ClickException("No provider is set up: JUSTAI_CONSOLE_OIDC_ISSUER is not set.")
    try:
        said = await look(settings, settings.console_oidc_issuer)
    except SignInRefused as error:
        raise click.ClickException(f"Nobody can sign in through it: {error}") from None
    for name, value in said:
        click.echo(f"{name + ':':<18}{value}")


@console.command("list")
@click.argument("org_slug")
@command
async def list_people(org_slug: str) -> None:
    """List who works in the org, and who was invited."""
    async with session() as s:
        found = await s.run(people.list_people, Nothing(), org_slug)
    rows = [
        (
            one.email, one.name, one.role, _signs_in_with(one), "on" if one.two_factor else "off",
            moment(one.last_signed_in_at, "never"),
        )
        for one in found.members
    ]  # fmt: skip
    rows += [(one.email, "", one.role, "", "", f"invited until {moment(one.expires_at)}") for one in found.invites]
    show_table(
        ("email", "name", "role", "signs in with", "two-factor", "last signed in"),
        rows,
        empty=f"Nobody yet; invite somebody with `justai console invite {org_slug} EMAIL --role owner`.",
    )


@console.command("role")
@click.argument("org_slug")
@email_argument
@role_option
@acting
@command
async def change_role(org_slug: str, email: str, role: Role, actor: str) -> None:
    """Give a member another role. An org keeps at least one owner."""
    async with session() as s:
        await s.run(people.change_role, people.ChangeRole(member=email, role=role), org_slug, actor)
    click.echo(f"{email} is {role} of {org_slug} now.")


@console.command("remove")
@click.argument("org_slug")
@email_argument
@acting
@command
async def remove(org_slug: str, email: str, actor: str) -> None:
    """Take a member, or an open invitation, out of the org, at once. The account stays."""
    async with session() as s:
        there = await s.run(people.list_people, Nothing(), org_slug)
        invited = any(one.email == email for one in there.invites)
        if invited:
            await s.run(people.withdraw, people.OneInvitation(invite=email), org_slug, actor)
        member = any(one.email == email for one in there.members)
        if member or not invited:
            await s.run(people.remove, people.OneMember(member=email), org_slug, actor)
    click.echo(
        f"{email} does not work in {org_slug} any more." if member else f"The invitation of {email} is withdrawn."
    )


def _signs_in_with(one: people.Person) -> str:
    ways = [way for way, has in (("password", one.password), ("single sign-on", one.provider)) if has]
    return ", ".join(ways) or "nothing yet"


def _no_account(email: str) -> click.ClickException:
    return click.ClickException(f"There is no account of {email}; see `justai console list ORG`.")


def _console_url() -> str:
    try:
        return Settings.read().console_url
    except SettingsError as error:
        raise click.ClickException(f"The configuration is not usable:\n{error}") from None
