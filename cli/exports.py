"""`justai export`: where an org's records go, and sending a range of hours there again."""

import asyncio
from datetime import UTC, datetime

import click
from pydantic import SecretStr
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli import export_access
from cli.actor import acting
from cli.display import console, moment, printable, show_table
from cli.session import Session, command, read_secret, session
from shared.admin.exports import exported_hours, exports, loading
from shared.admin.operation import Nothing
from shared.export_access import Encryption
from shared.exports import Layout, Record
from shared.loaders.recipe import ENGINES, Engine
from shared.messaging.topology import EXPORT_HOUR

_POLL_S = 0.5  # real seconds between looks at a running backfill
_STALL_S = 600.0


@click.group()
def export() -> None:
    """The export to the org's S3 bucket: one Parquet object per UTC hour."""


@export.command("target")
@click.argument("org_slug")
@click.option("--bucket", help="Left out: the folder of the installation, for an org that has it.", default="")
@click.option("--prefix", default="", help="In front of YYYY/MM/DD/HH; empty: the bucket's root.")
@click.option("--endpoint-url", help="Any S3 server; without it, AWS.")
@click.option("--region", default="us-east-1", show_default=True)
@click.option("--access-key", help="With the secret on standard input; without it, the exporter's own identity.")
@click.option("--role-arn", help="A role to assume in the customer's account; see `justai export role`.")
@click.option("--bucket-owner", help="The AWS account that the bucket must belong to; without it, the role's.")
@click.option(
    "--encryption",
    type=click.Choice(["bucket", "s3", "kms"]),
    default="bucket",
    show_default=True,
    help="At rest: as the bucket says, with keys of S3, or with one of KMS.",
)
@click.option("--kms-key-id", help="ARN of that key.")
@click.option("--cadence", type=click.Choice(["daily", "hourly"]), default="daily", show_default=True)
@click.option(
    "--record",
    type=click.Choice(["page", "analyst"]),
    default="page",
    show_default=True,
    help="analyst: also ids, propensity, decision and outcome, and control decisions.",
)
@click.option(
    "--table",
    "tables",
    type=click.Choice(["variants", "outcomes"]),
    multiple=True,
    help="Exported beside the record; may be repeated.",
)
@click.option(
    "--layout",
    type=click.Choice(["plain", "hive"]),
    default="plain",
    show_default=True,
    help="hive: year=2026/month=11/day=23/hour=10 in place of 2026/11/23/10.",
)
@click.option("--success-file", is_flag=True, help="Put an empty _SUCCESS into each hour's folder.")
@acting
@command
async def export_target(
    org_slug: str, bucket: str, prefix: str, endpoint_url: str | None, region: str, access_key: str | None,
    role_arn: str | None, bucket_owner: str | None, encryption: Encryption, kms_key_id: str | None,
    cadence: exports.Cadence, record: Record, tables: tuple[exports.MoreTable, ...], layout: Layout,
    success_file: bool, actor: str,
) -> None:  # fmt: skip
    """Say where the records go; what was said before is replaced.

    With --access-key, the secret key is asked for, or read from standard input; it is stored sealed. Another record or
    layout is that of hours exported from now on; a backfill brings it to those that are there. To another bucket,
    prefix or endpoint all hours are exported that we still have; what lies in the old place stays there.
    """
    if access_key is not None and not bucket.strip():  # before the secret is asked for
        raise click.ClickException("--bucket: is empty.")
    async with session() as s:
        await s.org_id(org_slug)
        secret = SecretStr(read_secret("Secret access key")) if access_key is not None else None
        asked = exports.SetTarget(
            bucket=bucket, prefix=prefix, endpoint_url=endpoint_url, region=region, access_key=access_key,
            secret_key=secret, role_arn=role_arn, bucket_owner=bucket_owner, encryption=encryption,
            kms_key_id=kms_key_id, cadence=cadence, record=record, tables=list(tables), layout=layout,
            success_file=success_file,
        )  # fmt: skip
        found = await s.run(exports.set_target, asked, org_slug, actor)
    click.echo(f"Exports of {org_slug} go to {found.place} ({found.cadence}).")
    if found.anew:
        click.echo(
            f"This is another place, where earlier exports are made too: {found.anew:,}. What lies in the old one "
            "stays there, and nobody who is deleted is taken out of it any more."
        )
    if found.role_arn is not None:
        click.echo(f"The role {found.role_arn} is taken with the external id {found.external_id}.")


@export.command("test")
@click.argument("org_slug")
@command
async def export_test(org_slug: str) -> None:
    """Have the exporter try the bucket now.

    It writes, reads, overwrites and removes a small object, and says step by step what happened, and which right is
    missing where."""
    async with session() as s:
        found = await s.run(exports.try_target, Nothing(), org_slug)
    if not found.heard:
        raise click.ClickException(f"No exporter answered within {exports.PROBE_WAIT_S:g} s. Is it running?")
    for step in found.steps:
        click.echo(f"{'ok' if step.ok else 'FAILED':>6}  {step.name}: {printable(step.says)}")
    if not found.works:
        raise click.ClickException("The bucket cannot be used yet.")


@export.command("loader")
@click.argument("engine", type=click.Choice(list(ENGINES)))
@click.argument("org_slug")
@click.option(
    "--month", help="Like 2026-11: statements load it alone, else all hours; scripts are told when they are run."
)
@click.option("--folder", help="A folder that holds what lies below the prefix, like a copy of the bucket.")
@command
async def export_loader(engine: Engine, org_slug: str, month: str | None, folder: str | None) -> None:
    """Print what loads the export into a warehouse.

    A script or statements for this org's bucket and tables, without any secret. They may be run as often as you like:
    what was overwritten since the last run is deleted and loaded again.
    """
    async with session() as s:
        asked = loading.AskedLoader(engine=engine, month=month, folder=folder)
        made = await s.run(loading.loader, asked, org_slug)
    click.echo(made.text, nl=False)


@export.command("hours")
@click.argument("org_slug")
@click.option("--limit", type=click.IntRange(1, 5000), default=24, show_default=True)
@command
async def export_hours(org_slug: str, limit: int) -> None:
    """List the newest hours: what was exported, and what went wrong."""
    async with session() as s:
        found = await s.run(exported_hours.list_hours, exported_hours.AskedHours(limit=limit), org_slug)
    if found.target is None:
        click.echo(f"There is no export target yet: justai export target {org_slug} --bucket …")
    else:
        switched_off = "" if found.target.enabled else f", switched off {moment(found.target.switched_at)}".rstrip()
        click.echo(f"To {found.target.place}, {found.target.cadence}{switched_off}.")
    show_table(
        ("hour (UTC)", "state", "because of", "rows", "bytes", "revision", "exported", "due", "trouble"),
        (
            (
                f"{one.hour:%Y-%m-%d %H}", one.state, one.reason, one.rows, one.bytes, one.revision,
                moment(one.exported_at), "" if one.state == "exported" else moment(one.due_at, "now"), one.error,
            )
            for one in found.hours
        ),
        empty="No hour was asked for yet.",
    )  # fmt: skip


@export.command("backfill")
@click.argument("org_slug")
@click.option("--from", "start", required=True, help="UTC, like 2026-11-23 or 2026-11-23T10.")
@click.option("--to", "end", required=True, help="UTC, exclusive.")
@click.option("--dry-run", is_flag=True, help="Say what would be exported and overwritten, and do nothing.")
@click.option("--resume", is_flag=True, help="Only what still waits of an earlier backfill.")
@click.option("--no-wait", is_flag=True, help="Ask for the hours and return.")
@acting
@command
async def export_backfill(
    org_slug: str, start: str, end: str, dry_run: bool, resume: bool, no_wait: bool, actor: str
) -> None:
    """Export every hour of a range again; what is there is overwritten.

    Killed half way, the hours stay asked for: they are exported all the same, and --resume watches the rest. The same
    bytes are not uploaded twice, so loaders see only hours that changed.
    """
    first, last = _moment("--from", start), _moment("--to", end)
    if last <= first:
        raise click.ClickException(f"--to: {end} is not after --from {start}; it is exclusive.")
    wanted = exported_hours.Range(start=first, end=last)
    if dry_run:
        async with session() as s:
            click.echo(_previewed(await s.run(exported_hours.preview, wanted, org_slug)))
        return
    async with session() as s, s.publisher(EXPORT_HOUR) as publisher:
        if not resume:
            click.echo(_previewed(await s.run(exported_hours.preview, wanted, org_slug)), err=True)
        asked = exported_hours.AskedBackfill(start=first, end=last, resume=resume)
        done = await s.run(exported_hours.backfill, asked, org_slug, actor, publisher=publisher)
        if not done.exports:
            click.echo("Nothing of this range waits to be exported.")
            return
        if no_wait:
            click.echo(f"Asked for {len(done.hours)} hours; see `justai export hours {org_slug}`.")
            return
        reached = await _watch(s, org_slug, wanted)
    what = "hours" if done.tables == ["generations"] else "objects"
    click.echo(f"{reached.exported} {what} exported: {reached.rows} rows, {reached.bytes} bytes.")
    for hour, error in reached.errors.items():
        click.echo(f"{hour:%Y-%m-%d %H} {printable(error)}", err=True)
    if reached.blocked:
        raise click.ClickException(f"{reached.blocked} hours are blocked; mend the cause above and run it again.")


def _previewed(found: exported_hours.Preview) -> str:
    said = f"{found.hours} hours of {' and '.join(found.tables)}: {found.exports} exports"
    said += f", which overwrite {found.objects} objects with {found.rows} rows and {found.bytes} bytes"
    if found.gone:
        said += f"; {found.gone} stay as they are, for their rows are no longer kept"
    if found.waiting:
        said += f"; {found.waiting} are asked for already"
    return f"{said}."


async def _watch(s: Session, org_slug: str, wanted: exported_hours.Range) -> exported_hours.Progress:
    """A progress bar until every hour is exported or blocked."""
    columns = (TextColumn("Exporting"), BarColumn(), MofNCompleteColumn(), TextColumn("hours"), TimeRemainingColumn())
    bar = Progress(*columns, console=console(stderr=True))
    now = asyncio.get_running_loop().time
    moved_at, settled = now(), -1
    with bar:
        task = bar.add_task("", total=None)
        while True:
            reached = await s.run(exported_hours.progress, wanted, org_slug)
            if reached.exported + reached.blocked != settled:
                moved_at, settled = now(), reached.exported + reached.blocked
            bar.update(task, completed=settled, total=reached.asked)
            if settled >= reached.asked:
                return reached
            if now() - moved_at > _STALL_S:
                raise click.ClickException(
                    f"No hour was finished within {_STALL_S:g} s. They stay asked for: is the exporter running? "
                    f"See `justai export hours {org_slug}`."
                )
            await asyncio.sleep(_POLL_S)


def _moment(option: str, text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise click.ClickException(f"{option}: {text!r} is no moment; write 2026-11-23 or 2026-11-23T10.") from None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


for _one in export_access.COMMANDS:
    export.add_command(_one)
