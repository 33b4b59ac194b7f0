"""`justai export`: where an org's records go, and sending a range of hours there again."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.display import console, moment, printable, show_table
from cli.session import command, reaching, read_secret, session
from shared.exports import HOUR, ExportLedger, publish_backfill
from shared.exports import Progress as Reached
from shared.messaging.publisher import open_publisher
from shared.messaging.topology import EXPORT_HOUR

UPSERT_TARGET = """
    INSERT INTO export_targets (org_id, bucket, prefix, endpoint_url, region, access_key, sealed_secret, role_arn,
                                external_id, cadence, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
    ON CONFLICT (org_id) DO UPDATE SET
        bucket = excluded.bucket, prefix = excluded.prefix, endpoint_url = excluded.endpoint_url,
        region = excluded.region, access_key = excluded.access_key, sealed_secret = excluded.sealed_secret,
        role_arn = excluded.role_arn, external_id = excluded.external_id, cadence = excluded.cadence,
        updated_at = excluded.updated_at
"""
SELECT_TARGET = "SELECT bucket, prefix, cadence, enabled FROM export_targets WHERE org_id = $1"
SELECT_HOURS = """
    SELECT hour, CASE WHEN dirty_seq > exported_seq AND state = 'exported' THEN 'pending' ELSE state END AS state,
           reason, rows, bytes, revision, exported_at, due_at, error
    FROM export_hours WHERE org_id = $1 AND table_name = 'generations' ORDER BY hour DESC LIMIT $2
"""
_POLL_S = 0.5  # real seconds between looks at a running backfill
_STALL_S = 600.0


@click.group()
def export() -> None:
    """The export to the org's S3 bucket: one Parquet object per UTC hour."""


@export.command("target")
@click.argument("org_slug")
@click.option("--bucket", required=True)
@click.option("--prefix", default="", help="In front of YYYY/MM/DD/HH; empty: the bucket's root.")
@click.option("--endpoint-url", help="Any S3 server; without it, AWS.")
@click.option("--region", default="us-east-1", show_default=True)
@click.option("--access-key", help="With the secret on standard input; without it, the exporter's own identity.")
@click.option("--role-arn", help="A role to assume in the customer's account.")
@click.option("--external-id", help="That role's external id.")
@click.option("--cadence", type=click.Choice(["daily", "hourly"]), default="daily", show_default=True)
@command
async def export_target(
    org_slug: str, bucket: str, prefix: str, endpoint_url: str | None, region: str, access_key: str | None,
    role_arn: str | None, external_id: str | None, cadence: str,
) -> None:  # fmt: skip
    """Say where the records go; what was said before is replaced.

    With --access-key, the secret key is asked for, or read from standard input; it is stored sealed.
    """
    if not bucket.strip():
        raise click.ClickException("--bucket: is empty.")
    if endpoint_url and not endpoint_url.startswith(("https://", "http://")):
        raise click.ClickException(f"--endpoint-url: {endpoint_url!r} must begin with https:// or http://.")
    if external_id and not role_arn:
        raise click.ClickException("--external-id: belongs to a role; give --role-arn too.")
    prefix = prefix.strip("/")
    async with session() as s:
        org_id = await s.org_id(org_slug)
        sealed = None
        if access_key is not None:
            sealed = s.ring.seal(read_secret("Secret access key"), f"{org_id}/export")
        async with s.db.transaction(org_id) as connection:
            await connection.execute(
                UPSERT_TARGET, org_id, bucket.strip(), prefix, endpoint_url, region, access_key, sealed, role_arn,
                external_id, cadence, s.clock.now(),
            )  # fmt: skip
    click.echo(f"Exports of {org_slug} go to s3://{'/'.join(filter(None, (bucket.strip(), prefix)))} ({cadence}).")


@export.command("hours")
@click.argument("org_slug")
@click.option("--limit", type=click.IntRange(1), default=24, show_default=True)
@command
async def export_hours(org_slug: str, limit: int) -> None:
    """List the newest hours: what was exported, and what went wrong."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            target = await connection.fetchrow(SELECT_TARGET, org_id)
            rows = await connection.fetch(SELECT_HOURS, org_id, limit)
    if target is None:
        click.echo(f"There is no export target yet: justai export target {org_slug} --bucket …")
    else:
        place = "/".join(filter(None, (target["bucket"], target["prefix"])))
        click.echo(f"To s3://{place}, {target['cadence']}{'' if target['enabled'] else ', switched off'}.")
    show_table(
        ("hour (UTC)", "state", "because of", "rows", "bytes", "revision", "exported", "due", "trouble"),
        (
            (
                f"{row['hour']:%Y-%m-%d %H}", row["state"], row["reason"], row["rows"], row["bytes"], row["revision"],
                moment(row["exported_at"]), "" if row["state"] == "exported" else _due(row["due_at"]), row["error"],
            )
            for row in rows
        ),
        empty="No hour was asked for yet.",
    )  # fmt: skip


def _due(at: datetime) -> str:
    return "now" if at.year <= 1 else moment(at)  # -infinity


@export.command("backfill")
@click.argument("org_slug")
@click.option("--from", "start", required=True, help="UTC, like 2026-11-23 or 2026-11-23T10.")
@click.option("--to", "end", required=True, help="UTC, exclusive.")
@click.option("--no-wait", is_flag=True, help="Ask for the hours and return.")
@command
async def export_backfill(org_slug: str, start: str, end: str, no_wait: bool) -> None:
    """Export every hour of a range again; what is there is overwritten. It may be repeated after a kill.

    The same bytes are not uploaded twice, so loaders see only hours that changed.
    """
    first, last = _moment("--from", start), _moment("--to", end)
    if last <= first:
        raise click.ClickException(f"--to: {end} is not after --from {start}; it is exclusive.")
    async with session() as s:
        org_id = await s.org_id(org_slug)
        ledger = ExportLedger(s.db)
        if not await ledger.has_target(org_id):
            raise click.ClickException(f"There is no export target yet: justai export target {org_slug} --bucket …")
        with reaching("RabbitMQ", "JUSTAI_AMQP_URL"):
            async with open_publisher(s.amqp_url, "justai-cli", EXPORT_HOUR) as publisher:
                hours = await publish_backfill(publisher, ledger, org_id, first, last, at=s.clock.now())
        if not hours:
            raise click.ClickException(
                f"No hour from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC holds anything yet."
            )
        if no_wait:
            click.echo(f"Asked for {len(hours)} hours; see `justai export hours {org_slug}`.")
            return
        reached = await _watch(ledger, org_id, hours, org_slug)
    click.echo(f"{reached.exported} hours exported: {reached.rows} rows, {reached.bytes} bytes.")
    for hour, error in reached.errors.items():
        click.echo(f"{hour:%Y-%m-%d %H} {printable(error)}", err=True)
    if reached.blocked:
        raise click.ClickException(f"{reached.blocked} hours are blocked; mend the cause above and run it again.")


async def _watch(ledger: ExportLedger, org_id: UUID, hours: list[datetime], org_slug: str) -> Reached:
    """A progress bar until every hour is exported or blocked."""
    columns = (TextColumn("Exporting"), BarColumn(), MofNCompleteColumn(), TextColumn("hours"), TimeRemainingColumn())
    bar = Progress(*columns, console=console(stderr=True))
    now = asyncio.get_running_loop().time
    moved_at, settled = now(), -1
    with bar:
        task = bar.add_task("", total=len(hours))
        while True:
            reached = await ledger.progress(org_id, "generations", hours[0], hours[-1] + HOUR)
            if reached.exported + reached.blocked != settled:
                moved_at, settled = now(), reached.exported + reached.blocked
            bar.update(task, completed=settled)
            if settled >= len(hours):
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
