"""`justai export policy`, `role`, `lifecycle`, `off`, `on` and `rm`: the customer's side of the
bucket, the switch, and the end."""

from typing import Any, Literal

import click
import orjson

from cli.actor import acting
from cli.session import command, session
from shared.admin.exports import policies as export_policies
from shared.admin.exports import removal as export_removal
from shared.admin.exports import switch as export_switch
from shared.admin.exports.policies import AskedLifecycle, AskedPolicy
from shared.admin.operation import Nothing

_PRINCIPAL = click.option(
    "--principal", help="ARN of the identity that exports are written as; without it, JUSTAI_EXPORT_PRINCIPAL."
)


@click.command("policy")
@click.argument("org_slug")
@_PRINCIPAL
@click.option("--key", is_flag=True, help="The statement for the policy of the bucket's KMS key, in place of it.")
@command
async def export_policy(org_slug: str, principal: str | None, key: bool) -> None:
    """Print the bucket policy that lets exports in, as JSON.

    For a bucket that our own identity writes to. One with a key of KMS needs the statement of --key in the key's
    policy too.
    """
    async with session() as s:
        found = await s.run(export_policies.show_policy, AskedPolicy(principal=principal), org_slug)
    if key and found.key_statement is None:
        raise click.ClickException("--key: this bucket is not encrypted with a key of KMS.")
    if found.key_statement is not None and not key:
        click.echo("The key's policy needs a statement too: add --key.", err=True)
    _print(found.key_statement if key else found.bucket_policy)


@click.command("role")
@click.argument("org_slug")
@_PRINCIPAL
@click.option(
    "--part",
    type=click.Choice(["trust", "permissions"]),
    help="One of the two documents, as AWS takes it; without it, both and the external id.",
)
@command
async def export_role(org_slug: str, principal: str | None, part: Literal["trust", "permissions"] | None) -> None:
    """Print what a role for exports trusts and may do, as JSON.

    The external id is this org's, and never changes. The permissions are also those of a user whose access key is used.
    """
    async with session() as s:
        found = await s.run(export_policies.show_role, AskedPolicy(principal=principal), org_slug)
    if part != "permissions" and found.trust_policy is None:
        raise click.ClickException(f"--principal: {export_policies.UNKNOWN}.")
    documents = {"trust": found.trust_policy, "permissions": found.permission_policy}
    whole = {
        "external_id": found.external_id, "trust_policy": found.trust_policy,
        "permission_policy": found.permission_policy,
    }  # fmt: skip
    _print(whole if part is None else documents[part])


@click.command("lifecycle")
@click.argument("org_slug")
@click.option("--keep-days", type=int, help="Days after which exports are deleted; without it, never.")
@click.option(
    "--old-versions-days",
    type=int,
    default=30,
    show_default=True,
    help="Days for which a bucket with versions keeps what was overwritten.",
)
@command
async def export_lifecycle(org_slug: str, keep_days: int | None, old_versions_days: int) -> None:
    """Print lifecycle rules for the bucket, as JSON.

    AWS replaces all rules of a bucket at once: add these to what it has.
    """
    async with session() as s:
        asked = AskedLifecycle(keep_days=keep_days, old_versions_days=old_versions_days)
        found = await s.run(export_policies.show_lifecycle, asked, org_slug)
    _print(found.lifecycle)


@click.command("off")
@click.argument("org_slug")
@acting
@command
async def export_off(org_slug: str, actor: str) -> None:
    """Write nothing into the bucket until exports are on again.

    Nothing is lost: hours that close, late rows and people who are deleted wait. Days of generations that wait are
    kept, whatever JUSTAI_EGRESS_KEEP_DAYS says, and backfills are refused.
    """
    async with session() as s:
        found = await s.run(export_switch.switch_off, Nothing(), org_slug, actor)
    click.echo("Exports are off." if found.changed else "Exports were off already.")
    click.echo(_waiting(found))


@click.command("on")
@click.argument("org_slug")
@acting
@command
async def export_on(org_slug: str, actor: str) -> None:
    """Export again; what has become due meanwhile is written."""
    async with session() as s:
        found = await s.run(export_switch.switch_on, Nothing(), org_slug, actor)
    click.echo("Exports are on." if found.changed else "Exports were on already.")
    click.echo(_waiting(found))


@click.command("rm")
@click.argument("org_slug")
@click.option("--yes", is_flag=True, help="Do not ask.")
@acting
@command
async def export_rm(org_slug: str, yes: bool, actor: str) -> None:
    """Give exports up: forget the bucket, its key and all hours that wait.

    What is in the bucket stays, and nobody is taken out of it any more. Days of generations are no longer kept for it.
    """
    async with session() as s:
        would = await s.run(export_removal.show_removal, Nothing(), org_slug)
        if not yes:
            click.echo(_given_up(would))
            click.confirm(f"Give up exports of {org_slug} to {would.place}?", abort=True)
        done = await s.run(export_removal.remove_target, Nothing(), org_slug, actor)
    click.echo(f"There is no export to {done.place} any more. {_given_up(done)}")


def _given_up(found: export_removal.GivenUp) -> str:
    deleted = f", {found.deletions} of them with people who were deleted" if found.deletions else ""
    return f"{found.objects} objects stay there; {found.waiting} hours are never written{deleted}."


def _waiting(found: export_switch.Switched) -> str:
    deleted = f", {found.deletions} of them with people who were deleted" if found.deletions else ""
    return f"{found.waiting} hours wait to be exported{deleted}."


def _print(document: dict[str, Any] | None) -> None:
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


COMMANDS = (export_policy, export_role, export_lifecycle, export_off, export_on, export_rm)
