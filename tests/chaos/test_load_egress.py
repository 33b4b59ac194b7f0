"""A large hour and a killed backfill at the figures that are asked of them: L9 of docs/reliability.md.

They are played by the parts of `bench/egress.py`; what that only shows, these tests hold. That unchanged rows give the
same bytes is held by tests/component/egress/test_export_hour.py.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bench.egress_backfill import KILLS, measure_backfill
from bench.egress_stage import Shop, exporter_environment, running
from bench.report import Report
from devstack.isolation import fresh_bucket, fresh_database
from tests.chaos.servers import OwnServers
from tests.support.measured import say

pytestmark = [pytest.mark.long, pytest.mark.alone, pytest.mark.timeout(600)]

HOUR = datetime(2026, 11, 2, tzinfo=UTC)
ROWS, WITHIN_S, RSS_MB = 1_000_000, 60.0, 400.0
HOURS = 720


async def test_l09_an_hour_of_a_million_rows_is_exported_within_a_minute(own: OwnServers, tmp_path: Path) -> None:
    servers = own.endpoints
    async with fresh_database(servers.database_url) as url, fresh_bucket(servers) as bucket:
        env = exporter_environment(url, servers.amqp_url, tmp_path)
        shop = Shop(url, servers, bucket)
        await shop.seed(env["JUSTAI_SEAL_KEYS"])
        async with running(shop, env, tmp_path) as stage:
            await shop.say(HOUR - timedelta(hours=1), 2_000)
            await stage.export(servers.amqp_url, HOUR - timedelta(hours=1))  # loads what S3 needs
            await shop.say(HOUR, ROWS)
            await shop.settle()
            measured = await stage.export(servers.amqp_url, HOUR)

    say(took_s=round(measured.seconds, 1), rss_mb=round(measured.rss_mb))
    assert measured.seconds <= WITHIN_S
    assert measured.rss_mb < RSS_MB


async def test_l09_a_backfill_of_a_month_that_is_killed_three_times_exports_each_hour_exactly(
    own: OwnServers, tmp_path: Path
) -> None:
    figures = await measure_backfill(Report("egress"), own.endpoints, tmp_path, HOURS)

    say(kills=KILLS, hours=figures["backfill_hours"], took_s=round(figures["backfill_s"]))
    assert (figures["backfill_exact"], figures["backfill_hours"]) == (1, HOURS)
