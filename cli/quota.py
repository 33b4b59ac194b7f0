"""`justai quota`: how much of each Klaviyo account's quota is used, what waits for it, and which delay would do."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import click
import orjson

from cli.display import moment
from cli.session import command, session
from shared.admin.queues import quota as admin_quota
from shared.admin.queues.bulk_road import BulkRoad
from shared.admin.queues.quota import MINUTE_S, Quota


@click.command()
@click.argument("org_slug", required=False)
@click.option(
    "--hours",
    type=click.FloatRange(0, 24 * 7, min_open=True),
    default=1.0,
    show_default=True,
    help="How far back misses and p99 look.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON array in place of the table.")
@command
async def quota(org_slug: str | None, hours: float, as_json: bool) -> None:
    """Show each Klaviyo account's quota, what waits for it, and the delay that would do.

    Klaviyo counts profile writes per account and minute. What cannot be written before its email leaves shows the
    control content; a longer delay in the flow carries more. The delay
    named is 1.5 times what 99 of 100 writes took, in whole minutes.
    """
    async with session() as s:
        now = s.clock.now()
        if org_slug is None:
            async with s.db.transaction() as connection:
                found = await admin_quota.read_quotas(connection, None, now, timedelta(hours=hours))
        else:
            found = (await s.run(admin_quota.show, admin_quota.AskedQuota(hours=hours), org_slug)).accounts
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_DATACLASS).decode())
        return
    if not found:
        click.echo("No Klaviyo account has been written to yet.")
    for one in found:
        click.echo("\n".join(lines(one, now, hours)))


def lines(one: Quota, now: datetime, hours: float) -> list[str]:
    """One account for people, in lines that fit a narrow window."""
    others = f", {one.others_per_min} left to other apps" if one.others_per_min else ""
    shown = [
        f"{one.account} ({', '.join(one.orgs)})",
        f"  quota    {one.limit_per_min} a minute{others}; {one.used_last_min} used in the last",
    ]
    if one.factor < 1:
        shown.append(f"  share    {one.factor:.2f} of it, since Klaviyo refused; it rises again with each calm minute")
    shown.append(f"  second road  {_second_road(one)}")
    if one.blocked_until:
        shown.append(f"  held up  until {moment(one.blocked_until)} ({one.blocked_reason})")
    if one.breaker != "closed":
        then = "one write asks after it" if one.breaker == "open" else "turns are small"
        failed = f"{one.calls_failed_30_s} of {one.calls_30_s} calls failed in 30 s"
        shown.append(f"  breaker  {one.breaker}: {failed}; {then}")
    if one.waiting:
        shown.append(f"  waiting  {_listed(one.waiting)}; drains in {one.drains_in_s:,.0f} s")
    if one.first_deadline_at:
        shown.append(f"  due      the first in {(one.first_deadline_at - now).total_seconds():,.0f} s")
    shown.append(f"  missed   {_listed(one.missed) or 'none'} within {hours:g} h")
    shown += bulk_lines(one.imports, one.missed.get("quota", 0))
    if one.written_p99_s is not None and one.recommended_delay_s is not None:
        least = "at least " if "quota" in one.missed else ""  # the slowest of them are not among the written
        delay = f"{least}{one.recommended_delay_s // MINUTE_S} min"
        shown.append(f"  written  99 of 100 within {one.written_p99_s:,.1f} s; a delay of {delay} would do")
    return shown


def _second_road(one: Quota) -> str:
    """What is known of POST /api/profile-import, which JUSTAI_WRITER_IMPORT_ROAD lets the writer use."""
    if one.second_road_since is None:
        return one.second_road
    since = moment(one.second_road_since)
    if one.second_road == "separate":
        if one.second_road_breaker != "closed":
            return f"separate since {since}; fails, breaker {one.second_road_breaker}"
        return f"separate since {since}; {one.second_road_used_last_min} used in the last minute"
    return f"{'shared with' if one.second_road == 'shared' else 'refused, unlike'} PATCH, seen {since}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def bulk_lines(road: BulkRoad, missed_for_quota: int) -> list[str]:
    """For people, narrow."""
    if road.missing_scopes:
        missed = f": {missed_for_quota:,} were missed" if missed_for_quota else ""
        return [
            f"  imports  not possible: the key lacks {', '.join(road.missing_scopes)}",
            f"           they would carry more than the quota does{missed}",
        ]
    if road.refused_reason is not None:
        return [f"  imports  refused by Klaviyo ({road.refused_reason}); tried again in an hour"]
    takes = f"; half take less than {road.takes_s:,.0f} s" if road.takes_s is not None else ""
    on_way = f"{road.jobs} on their way, {road.writes:,} writes" if road.jobs else "possible, none needed now"
    return [f"  imports  {on_way}{takes}"]
