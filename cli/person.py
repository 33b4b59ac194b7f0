"""`justai person`: what is stored about one person, and deleting it."""

import click
from pydantic import SecretStr

from cli.actor import acting
from cli.display import moment
from cli.session import Session, command, session
from shared.admin.errors import NotFound
from shared.admin.person import person as admin_person
from shared.admin.person.person import Deleted, Held

profile_argument = click.argument("profile_id", metavar="PROFILE")


@click.group()
def person() -> None:
    """What is stored about one person. PROFILE is a Klaviyo profile's id."""


@person.command("show")
@click.argument("org_slug")
@profile_argument
@command
async def person_show(org_slug: str, profile_id: str) -> None:
    """Count what is stored about one person."""
    async with session() as s:
        found = await s.run(admin_person.show, admin_person.OnePerson(user_id=profile_id), org_slug)
    click.echo("\n".join(held_lines(found)))


@person.command("delete")
@click.argument("org_slug")
@profile_argument
@click.option("--yes", is_flag=True, help="Do not ask back.")
@acting
@command
async def person_delete(org_slug: str, profile_id: str, yes: bool, actor: str) -> None:
    """Delete what is stored about one person. It may be repeated; their next webhook stores them anew.

    Our properties are taken off the Klaviyo profile, and exported hours that name them are exported again. Sums,
    backups, dead letters and files on your SFTP server are not touched. The audit log keeps a proof of it, not the id.
    What files and Klaviyo's API tell of the person from before is not loaded, though nothing was stored yet.
    """
    async with session() as s:
        if not yes:
            await _ask_back(s, profile_id, org_slug)
        asked = admin_person.DeletePerson(user_id=SecretStr(profile_id))
        done = await s.run(admin_person.delete, asked, org_slug, actor)
    click.echo("\n".join(deleted_lines(done)))


async def _ask_back(s: Session, profile_id: str, org_slug: str) -> None:
    try:
        found = await s.ask(admin_person.show, admin_person.OnePerson(user_id=profile_id), org_slug)
    except NotFound as error:
        # A file that is still to come may tell of them.
        click.echo(f"{error}.", err=True)
        click.confirm("Delete the person all the same, so that files bring in nothing of before?", abort=True, err=True)
    else:
        click.echo("\n".join(held_lines(found)), err=True)
        click.confirm("Delete all of it?", abort=True, err=True)


def held_lines(found: Held) -> list[str]:
    """For people."""
    between = f", from {moment(found.first_at)} to {moment(found.last_at)}" if found.first_at else ""
    return [
        f"{found.generations:,} generations{between}",
        f"{found.sends:,} emails, {found.events:,} events, {found.conversions:,} conversions",
        f"{found.last_copies:,} last copies, {found.rejects:,} rejected rows",
        f"{found.on_profile:,} sets of properties on the Klaviyo profile, {found.export_hours:,} exported hours",
    ]


def deleted_lines(done: Deleted) -> list[str]:
    """For people."""
    if done.nothing_was_there:
        return [
            "Nothing was stored about this person; files bring in nothing of them from before now.",
            f"Proof: {done.proof}",
        ]
    return [
        f"Deleted {done.generations:,} generations, {done.sends:,} emails, {done.events:,} events, "
        f"{done.conversions:,} conversions, {done.last_copies:,} last copies and {done.rejects:,} rejected rows.",
        f"{done.clean_ups:,} sets of properties are taken off the Klaviyo profile; {done.export_hours:,} hours are "
        "exported again.",
        f"Proof: {done.proof}",
    ]
