"""`justai source backfill`: what it says of days that are read, in trouble, or refused."""

import pytest

from shared.event_windows import asked_name, days_of
from tests.component.cli.rig import Cli

DAYS = ("--since", "2026-10-01", "--until", "2026-10-04")


@pytest.fixture
def api(acme: Cli) -> Cli:
    acme.ok("source", "add", "acme", "api", "--kind", "klaviyo")
    return acme


def read(cli: Cli, *states: str) -> None:
    """As the ingest service leaves the days of the only backfill."""
    [asked] = cli.rows("SELECT source_id, since, until, asked_at FROM event_backfills")
    for day, state in zip(days_of(asked["since"], asked["until"]), states, strict=True):
        cli.rows(
            "INSERT INTO ingest_files (file_id, org_id, source_id, path, size, mtime, state, first_seen_at,"
            " last_seen_at, rows, fresh, error) SELECT gen_random_uuid(), org_id, source_id, $1, 0, $2, $3, $2, $2, 40,"
            " 30, 'too_large: larger' FROM sources",
            asked_name(day, asked["asked_at"]), asked["asked_at"], state,
        )  # fmt: skip


def test_days_that_are_read_are_summed_up(api: Cli) -> None:
    asked = api.ok("source", "backfill", "acme", "api", *DAYS, "--no-wait")
    read(api, "done", "done", "loading")
    api.rows("UPDATE ingest_files SET state = 'loading', got_rows = 7 WHERE state = 'loading'")
    goes_on = api.ok("source", "backfill", "acme", "api", *DAYS, "--no-wait")
    api.rows("UPDATE ingest_files SET state = 'done'")
    # All are read, so asking again begins anew; what is shown of the first time is not asked for.
    api.ok("source", "backfill", "acme", "api", "--since", "2026-10-01", "--until", "2026-10-02", "--no-wait")

    assert "Asked for 2026-10-01 to 2026-10-04" in asked
    assert "Asked for" in goes_on
    assert len(api.rows("SELECT * FROM event_backfills")) == 2


def test_it_waits_until_every_day_is_settled_and_names_the_trouble(api: Cli) -> None:
    api.ok("source", "backfill", "acme", "api", *DAYS, "--no-wait")
    read(api, "done", "done", "held")

    said = api.error("source", "backfill", "acme", "api", *DAYS)

    assert "1 days are held or failed" in said
    assert "too_large: larger" in said
    assert "justai source retry acme api" in said


def test_tomorrow_cannot_be_read(api: Cli) -> None:
    assert "after today" in api.error(
        "source", "backfill", "acme", "api", "--since", "2026-10-01", "--until", "2999-01-01"
    )
