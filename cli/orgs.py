"""`justai org`, `justai key`: tenants and their API keys."""

from datetime import datetime
from typing import get_args

import click

from cli import stops
from cli.actor import acting
from cli.attributes import attributes
from cli.display import moment, printable, show_table
from cli.operations import COMMANDS
from cli.recount import recount
from cli.session import command, session
from shared.admin import stops as admin_stops
from shared.admin.access import keys
from shared.admin.operation import Nothing
from shared.admin.orgs import orgs, setting_up


class _Org(click.Group):
    """What other systems call to pause is here to stop, the word of all places; who types the other finds it."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, "stop" if cmd_name == "pause" else cmd_name)


@click.group(cls=_Org)
def org() -> None:
    """Tenants."""


@org.command("create")
@click.argument("slug")
@click.argument("name")
@acting
@command
async def org_create(slug: str, name: str, actor: str) -> None:
    """Create an org. SLUG is lower-case and part of the webhook URL: /api/generate/SLUG."""
    async with session() as s:
        await s.create(orgs.create, orgs.CreateOrg(slug=slug, name=name), slug, actor)
    click.echo(f"Created org {slug}. Next: justai key create {slug} webhook")


@org.command("set-up")
@click.argument("slug")
@command
async def org_set_up(slug: str) -> None:
    """Show what is set up of an org, and what is next, until its first email shows our copy."""
    async with session() as s:
        found = await s.run(setting_up.show, Nothing(), slug)
    for step in found.steps:
        mark = "ok" if step.done else ">>" if step.name == found.next else "--"
        click.echo(f"{mark} {step.title}: {printable(step.says)}")
        if step.name == found.next:
            click.echo(f"   justai {COMMANDS[step.see]} --help")


@org.command("list")
@command
async def org_list() -> None:
    """List the orgs."""
    async with session() as s, s.db.connection() as connection:
        rows = await orgs.read_orgs(connection)
    show_table(
        ("slug", "name", "created", "stopped since"),
        (
            (
                row["slug"], row["name"], moment(row["created_at"]),
                stops.shown(row["stopped_at"], row["stopped_reason"]),
            )
            for row in rows
        ),
        empty="No orgs yet; create one with `justai org create`.",
    )  # fmt: skip


@org.command("show")
@click.argument("org_slug")
@command
async def org_show(org_slug: str) -> None:
    """Show an org, and what of it is stopped."""
    async with session() as s:
        found = await s.run(orgs.show, Nothing(), org_slug)
        click.echo(f"{found.slug}: {printable(found.name)}, created {moment(found.created_at)}.")
        click.echo(
            f"Time zone: {found.time_zone or 'UTC'}. Reviews are {'' if found.review_required else 'not '}required."
        )
        await stops.say_stops(s, org_slug)


@org.command("rename")
@click.argument("org_slug")
@click.argument("name")
@acting
@command
async def org_rename(org_slug: str, name: str, actor: str) -> None:
    """Give an org another NAME. Its slug stays."""
    async with session() as s:
        found = await s.run(orgs.rename, orgs.Rename(name=name), org_slug, actor)
    click.echo(f"{org_slug} is called {printable(found.name)}.")


@org.command("zone")
@click.argument("org_slug")
@click.argument("time_zone")
@acting
@command
async def org_zone(org_slug: str, time_zone: str, actor: str) -> None:
    """Set an org's TIME_ZONE, like Europe/Berlin.

    Its date attributes are read in it, and people are shown times in it.
    """
    async with session() as s:
        found = await s.run(orgs.set_zone, orgs.SetZone(time_zone=time_zone), org_slug, actor)
    click.echo(f"{org_slug} lives in {found.time_zone}.")


@org.command("stop")
@click.argument("org_slug")
@click.option("--reason", help="Why, for whoever looks at it next.")
@acting
@command
async def org_stop(org_slug: str, reason: str | None, actor: str) -> None:
    """Let no copy of any of the org's templates reach a profile any more, until it is resumed.

    What waits ends as `stopped`. Copy that is on profiles is taken away first of all, that whose email leaves soonest
    before the rest. New webhooks are answered and decided for the control content. `justai org pause` is the same.
    """
    async with session() as s:
        found = await s.run(admin_stops.stop_org, admin_stops.StopOrg(reason=reason), org_slug, actor)
    stops.told(org_slug, found.stops)


@org.command("resume")
@click.argument("org_slug")
@acting
@command
async def org_resume(org_slug: str, actor: str) -> None:
    """End the stop of an org. What it has ended stays ended; new webhooks are served again."""
    async with session() as s:
        found = await s.run(admin_stops.resume_org, Nothing(), org_slug, actor)
    click.echo(f"{org_slug} is served again." if found.ended else f"{org_slug} was not stopped.")
    stops.told(org_slug, found.stops)


org.add_command(attributes)
org.add_command(recount)


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
    type=click.Choice(get_args(keys.Scope)[1:]),
    help="What the key may do besides `generate`. `preview`: force a variant, and requests that count nowhere; not "
    "for the webhook of a flow. `admin`: everything that `justai` may do to this org, over HTTP, and nothing else.",
)
@click.option("--quiet", is_flag=True, help="Print the key alone, for scripts.")
@acting
@command
async def key_create(
    org_slug: str, name: str, days: int | None, scopes: tuple[keys.Scope, ...], quiet: bool, actor: str
) -> None:
    """Create a key called NAME and print it. It is shown this once; only its digest is stored."""
    async with session() as s:
        made = await s.run(keys.create, keys.CreateKey(name=name, days=days, scopes=scopes), org_slug, actor)
    click.echo(made.key if quiet else f"{made.key}\n\nStore it now: it is not shown again.")


@key.command("list")
@click.argument("org_slug")
@command
async def key_list(org_slug: str) -> None:
    """List an org's keys."""
    async with session() as s:
        found = await s.run(keys.list_keys, Nothing(), org_slug)
        now = s.clock.now()
    show_table(
        ("name", "key", "may", "created", "last used", "state", "pepper"),
        (
            (
                one.name, one.shown, ", ".join(one.scopes), moment(one.created_at), moment(one.last_used_at, "never"),
                "revoked" if one.revoked_at else _until(one.expires_at, now), one.pepper,
            )
            for one in found.keys
        ),
        empty=f"No keys yet; create one with `justai key create {org_slug} webhook`.",
    )  # fmt: skip


def _until(expires_at: datetime | None, now: datetime) -> str:
    if expires_at is None:
        return "active"
    return "expired" if expires_at <= now else f"active until {expires_at:%Y-%m-%d}"


@key.command("rotate")
@click.argument("org_slug")
@click.argument("key", metavar="KEY")
@click.option(
    "--keep-hours",
    type=click.FloatRange(0, 24 * 90),
    default=keys.KEEPS_H,
    show_default=True,
    help="How long the old key goes on. Klaviyo repeats a webhook for a day, perhaps with the headers it had, and "
    "skips the person for ever when a key is refused.",
)
@click.option("--quiet", is_flag=True, help="Print the key alone, for scripts.")
@acting
@command
async def key_rotate(org_slug: str, key: str, keep_hours: float, quiet: bool, actor: str) -> None:
    """Create a key of the same name and scopes as KEY, and print it; the old one expires a while later."""
    async with session() as s:
        made = await s.run(keys.rotate, keys.RotateKey(key=key, keep_hours=keep_hours), org_slug, actor)
    if quiet:
        click.echo(made.key)
        return
    click.echo(f"{made.key}\n\nStore it now: it is not shown again.")
    click.echo(f"{made.old_shown} works until {moment(made.old_expires_at)}: change over before.")


@key.command("revoke")
@click.argument("org_slug")
@click.argument("key", metavar="KEY")
@acting
@command
async def key_revoke(org_slug: str, key: str, actor: str) -> None:
    """Revoke every active key of that name, or the one that `justai key list` shows so.

    It is refused everywhere within 5 seconds.
    """
    async with session() as s:
        done = await s.run(keys.revoke, keys.NamedKey(key=key), org_slug, actor)
    click.echo(f"Revoked {', '.join(done.revoked)}.")
