"""`justai export`: where an org's records go, and sending a range of hours there again."""

import asyncio
import sys
from datetime import UTC, datetime
from uuid import UUID

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cli.session import Session, command, out, session
from shared.crypto import KeyRing
from shared.exports import ExportLedger, publish_backfill
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
SELECT_HOURS = """
    SELECT hour, state, rows, bytes, revision, exported_at, error FROM export_hours
    WHERE table_name = 'generations' ORDER BY hour DESC LIMIT $1
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
    """Say where the records go. With --access-key, the secret key is read from standard input."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        sealed = None
        if access_key is not None:
            secret = sys.stdin.readline().strip()
            if not secret:
                raise click.ClickException("--access-key: the secret key is read from standard input; it was empty.")
            sealed = KeyRing(s.settings.seal_keys.get_secret_value()).seal(secret, f"{org_id}/export")
        async with s.db.transaction(org_id) as connection:
            await connection.execute(
                UPSERT_TARGET, org_id, bucket, prefix.strip("/"), endpoint_url, region, access_key, sealed, role_arn,
                external_id, cadence, s.clock.now(),
            )  # fmt: skip
    out.print(f"Exports of [bold]{org_slug}[/] go to s3://{bucket}/{prefix} ({cadence}).")


@export.command("hours")
@click.argument("org_slug")
@click.option("--limit", default=24, show_default=True)
@command
async def export_hours(org_slug: str, limit: int) -> None:
    """List the newest hours: what was exported, and what went wrong."""
    table = Table("hour (UTC)", "state", "rows", "bytes", "revision", "exported", "trouble")
    async with session() as s, s.db.transaction(await s.org_id(org_slug)) as connection:
        for row in await connection.fetch(SELECT_HOURS, limit):
            exported = f"{row['exported_at']:%Y-%m-%d %H:%M}" if row["exported_at"] else ""
            numbers = ("" if row[name] is None else str(row[name]) for name in ("rows", "bytes", "revision"))
            table.add_row(f"{row['hour']:%Y-%m-%d %H}", row["state"], *numbers, exported, row["error"] or "")
    out.print(table)


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
    async with session() as s:
        org_id = await s.org_id(org_slug)
        ledger = ExportLedger(s.db)
        amqp_url = s.settings.amqp_url.get_secret_value()
        async with open_publisher(amqp_url, "justai-cli", EXPORT_HOUR) as publisher:
            hours = await publish_backfill(publisher, ledger, org_id, first, last, at=s.clock.now())
        if not hours:
            raise click.ClickException("No hour of that range holds anything yet.")
        if not no_wait:
            await _watch(s, ledger, org_id, hours)
    if no_wait:
        out.print(f"Asked for {len(hours)} hours; see `justai export hours {org_slug}`.")


async def _watch(s: Session, ledger: ExportLedger, org_id: UUID, hours: list[datetime]) -> None:
    """A progress bar until every hour is exported or blocked."""
    bar = Progress(
        TextColumn("Exporting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("hours"),
        TimeRemainingColumn(),
        console=out,
    )
    end = datetime.fromtimestamp(hours[-1].timestamp() + 3600, UTC)
    async with asyncio.timeout(_STALL_S) as patience:
        with bar:
            task = bar.add_task("", total=len(hours))
            while True:
                state = await ledger.progress(org_id, "generations", hours[0], end)
                settled = state.exported + state.blocked
                if settled != bar.tasks[0].completed:
                    patience.reschedule(asyncio.get_running_loop().time() + _STALL_S)
                bar.update(task, completed=settled)
                if settled >= len(hours):
                    break
                await asyncio.sleep(_POLL_S)
    out.print(f"{state.exported} hours exported: {state.rows} rows, {state.bytes} bytes.")
    for hour, error in state.errors.items():
        out.print(f"[red]{hour:%Y-%m-%d %H}[/] {error}")
    if state.blocked:
        raise click.ClickException(f"{state.blocked} hours are blocked; mend the cause above and run it again.")


def _moment(option: str, text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text if len(text) != 13 else f"{text}:00")
    except ValueError:
        raise click.ClickException(f"{option}: {text!r} is no moment; write 2026-11-23 or 2026-11-23T10.") from None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
