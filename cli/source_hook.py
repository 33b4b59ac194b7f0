"""`justai source hook`: where Klaviyo's system webhooks send events to."""

import click

from cli.actor import acting
from cli.display import moment
from cli.gateway_url import gateway_url
from cli.session import command, session
from shared.admin.sources import hooks
from shared.admin.sources.sources import OneSource

_HOURS = click.FloatRange(0, 24 * 30)


@click.group("hook")
def hook() -> None:
    """Klaviyo's system webhooks as a source: an address, and the secret that Klaviyo signs with.

    Only customers of Klaviyo's Advanced KDP, and its app partners, have system webhooks.
    """


@hook.command("create")
@click.argument("org_slug")
@click.argument("name")
@gateway_url
@acting
@command
async def hook_create(org_slug: str, name: str, base_url: str, actor: str) -> None:
    """Make a hook; its secret is shown this once.

    Give Klaviyo both: POST /api/webhooks with endpoint_url and secret_key, and the topics of emails
    (event:klaviyo.received_email, opened_email, clicked_email, bounced_email, …). It may take 15 minutes to start.
    """
    async with session() as s:
        made = await s.run(hooks.create, OneSource(name=name), org_slug, actor)
    _show(made, base_url)


@hook.command("rotate")
@click.argument("org_slug")
@click.argument("name")
@click.option("--keep-hours", type=_HOURS, default=hooks.KEEPS_H, show_default=True, help="The old secret works on.")
@gateway_url
@acting
@command
async def hook_rotate(org_slug: str, name: str, keep_hours: float, base_url: str, actor: str) -> None:
    """Make another secret; the old one goes on until the new one stands in Klaviyo."""
    async with session() as s:
        made = await s.run(hooks.rotate, hooks.RotateHook(name=name, keep_hours=keep_hours), org_slug, actor)
    _show(made, base_url)


@hook.command("show")
@click.argument("org_slug")
@click.argument("name")
@command
async def hook_show(org_slug: str, name: str) -> None:
    """Show a hook's address, and since when its secret is the present one."""
    async with session() as s:
        found = await s.run(hooks.show, OneSource(name=name), org_slug)
    click.echo(f"{found.path}, secret of {moment(found.changed_at)}")


def _show(made: hooks.HookMade, base_url: str) -> None:
    click.echo(f"endpoint_url  {base_url.rstrip('/')}{made.path}")
    click.echo(f"secret_key    {made.secret}")
    click.echo("The secret is not shown again.", err=True)
