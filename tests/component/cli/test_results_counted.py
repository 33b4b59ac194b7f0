"""`justai results --counted`: the same time as without it, and nothing that was asked for is dropped."""

import asyncio
import json
from datetime import timedelta

import pytest

from shared.db.pool import open_database
from tests.component.cli.facts import NOW, TODAY, WARM, decide, found
from tests.component.cli.rig import Cli
from tests.support.results import History

DAY = TODAY - timedelta(days=2)


def count(cli: Cli, database_url: str) -> None:
    """As ingest does, every day that has decisions."""
    days = "SELECT DISTINCT org_id, day FROM generations"
    cli.rows(f"INSERT INTO result_days (org_id, day) {days} ON CONFLICT DO NOTHING")  # the text above

    org_id = cli.value("SELECT org_id FROM orgs")

    async def work() -> None:
        async with open_database(database_url, name="test") as database:
            await History(database, org_id, NOW).count()

    asyncio.run(work())


def test_both_forms_are_about_the_same_day(shop: Cli, database_url: str) -> None:
    for back, people in ((3, 4), (2, 5), (1, 6)):
        decide(shop, people, copy_id=WARM, day=TODAY - timedelta(days=back))
    count(shop, database_url)
    time = ("--since", f"{DAY}", "--until", f"{DAY + timedelta(days=1)}")

    log = found(shop, *time)
    counted = json.loads(shop.ok("results", "acme", "welcome", "--counted", "--json", *time))

    assert (counted["since"], counted["until"]) == (f"{DAY}", f"{DAY}")
    assert log["funnel"]["treatment"]["assigned"] == counted["treatment"]["assigned"] == 5


@pytest.mark.parametrize(
    ("asked", "refused"),
    [
        (("--until", "2026-11-22T10:00:00"), "--until"),
        (("--since", "2026-11-22T00:00:01"), "--since"),
        (("--since", "2026-11-22", "--until", "2026-11-22"), "--since"),
        (("--worth", "0.15"), "--worth"),
        (("--control-share", "0.1"), "--control-share"),
        (("--by", "theme", "--since", "2026-11-01"), "--since"),
    ],
)
def test_what_counts_cannot_say_is_refused(shop: Cli, asked: tuple[str, ...], refused: str) -> None:
    assert f"Invalid value for {refused}:" in shop.error("results", "acme", "welcome", "--counted", *asked)


@pytest.mark.parametrize("asked", [("--until", "2026-11-22"), ("--by", "plan"), ("--worth", "0.3")])
def test_the_list_of_all_templates_takes_nothing_that_it_does_not_use(shop: Cli, asked: tuple[str, ...]) -> None:
    assert f"Invalid value for {asked[0]}: it has no effect" in shop.error("results", "acme", *asked)
    assert "welcome" in shop.ok("results", "acme")
