"""The quota of an account, as an operator sees it."""

import json
from datetime import timedelta

import pytest

from shared.admin.queues.quota import recommended_delay_s, used
from tests.component.cli.facts import NOW, a_generation, cli_at_now
from tests.component.cli.rig import Cli

SECOND = int(NOW.timestamp())


@pytest.fixture
def cli(database_url: str) -> Cli:
    return cli_at_now(database_url)


def an_account(cli: Cli, **columns: object) -> None:
    cli.rows(
        "INSERT INTO integrations (org_id, account_key, base_url, sealed_key, last4, updated_at) "
        "SELECT org_id, 'acct:A1', 'https://a.klaviyo.com', 'x', '0000', $1 FROM orgs WHERE slug = 'acme'",
        NOW,
    )
    names = ", ".join(["account_key", *columns])
    places = ", ".join(f"${number}" for number in range(1, len(columns) + 2))
    cli.rows(f"INSERT INTO klaviyo_accounts ({names}) VALUES ({places})", "acct:A1", *columns.values())


def a_pending(cli: Cli, profile_id: str, lane: int, due_s: float) -> None:
    cli.rows(
        "INSERT INTO pending_writes (account_key, profile_id, prefix, org_id, action, lane, day, generation_id, "
        "written_for, accepted_at, deadline_at, clean_at, next_attempt_at) "
        "SELECT 'acct:A1', $1, 'jai', org_id, $2, $3, $4, gen_random_uuid(), 't.f.a', $5, $6, $6, $5 "
        "FROM orgs WHERE slug = 'acme'",
        profile_id, "clean_up" if lane == 3 else "write", lane, NOW.date(), NOW, NOW + timedelta(seconds=due_s),
    )  # fmt: skip


def test_without_an_account_it_says_so(acme: Cli) -> None:
    assert acme.ok("quota") == "No Klaviyo account has been written to yet.\n"


def test_it_tells_use_backlog_misses_and_the_delay_that_would_do(acme: Cli) -> None:
    an_account(
        acme, steady_limit=750, newest_slot=SECOND, slots=[25, 50, *[0] * 57, 75, 99], others_per_s=2.5,
        blocked_until=NOW + timedelta(hours=1), blocked_reason="klaviyo_throttled",
    )  # fmt: skip
    for number in range(3):
        a_pending(acme, f"P{number}", lane=1, due_s=600 + number)
    a_pending(acme, "P9", lane=3, due_s=0)
    a_generation(acme, outcome="expired", reason="quota")
    a_generation(acme)

    [told] = json.loads(acme.ok("quota", "acme", "--json"))

    assert (told["account"], told["orgs"], told["limit_per_min"]) == ("acct:A1", ["acme"], 750)
    assert told["used_last_min"] in range(75, 151)  # the clock runs on: a second or two may have dropped out
    assert told["others_per_min"] == 150
    assert told["blocked_reason"] == "klaviyo_throttled"
    assert told["waiting"] == {"fresh": 3, "clean_up": 1}
    assert told["drains_in_s"] == 0.4
    assert told["missed"] == {"quota": 1}
    assert (told["written_p99_s"], told["recommended_delay_s"]) == (0.0, 120)
    said = acme.ok("quota")
    assert "acct:A1 (acme)\n" in said
    assert "750 a minute, 150 left to other apps;" in said
    assert "held up  until 2026-11-23 15:30:00 UTC (klaviyo_throttled)" in said
    assert "waiting  fresh 3, clean_up 1; drains in 0 s" in said
    assert "missed   quota 1 within 1 h" in said
    assert "a delay of at least 2 min would do" in said
    assert "the key lacks lists:read, lists:write, profiles:read" in said
    assert "they would carry more than the quota does: 1 were missed" in said
    assert max(map(len, said.splitlines())) <= 80


def test_it_tells_what_is_on_the_bulk_road(acme: Cli) -> None:
    an_account(acme)
    acme.rows("UPDATE integrations SET scopes = '{lists:read,lists:write,profiles:read,profiles:write}'")
    assert "imports  possible, none needed now" in acme.ok("quota")
    for state, rows, latency_s in (("running", 430, None), ("lost", 70, None), ("ended", 9, 12.0), ("ended", 9, 18.0)):
        acme.rows(
            "INSERT INTO bulk_jobs (job_id, account_key, org_id, state, profile_ids, prefixes, days, generation_ids, "
            "deadlines, rows, bytes, sent_at, latency_s) "
            "SELECT gen_random_uuid(), 'acct:A1', org_id, $1, '{}', '{}', '{}', '{}', '{}', $2, 1, $3, $4 FROM orgs",
            state, rows, NOW, latency_s,
        )  # fmt: skip
    assert "imports  2 on their way, 500 writes; half take less than 15 s" in acme.ok("quota")
    acme.rows(
        "INSERT INTO bulk_refusals (org_id, reason, refused_at, integration_at) "
        "SELECT org_id, 'scope_missing', $1, updated_at FROM integrations",
        NOW,
    )
    said = acme.ok("quota")
    assert "imports  refused by Klaviyo (scope_missing); tried again in an hour" in said
    assert max(map(len, said.splitlines())) <= 80


def test_it_tells_that_an_account_is_left_alone_and_how_many_calls_had_failed(acme: Cli) -> None:
    step = SECOND // 5
    an_account(
        acme, breaker_writes=1, failures=6, calls_step=step, calls=[5, 20, *[0] * 3, 99], calls_failed=[4, 11],
        blocked_until=NOW + timedelta(hours=1), blocked_reason="klaviyo_503",
    )  # fmt: skip

    [told] = json.loads(acme.ok("quota", "--json"))
    said = acme.ok("quota")
    acme.rows("UPDATE klaviyo_accounts SET blocked_until = $1, breaker_writes = 4", NOW - timedelta(seconds=1))

    assert (told["breaker"], told["blocked_reason"], told["calls_failed_30_s"]) == ("open", "klaviyo_503", 15)
    assert told["calls_30_s"] in (25, 124)  # the clock runs on: the oldest step may have dropped out
    assert "held up  until 2026-11-23 15:30:00 UTC (klaviyo_503)" in said
    assert "breaker  open: 15 of " in said
    assert max(map(len, said.splitlines())) <= 80
    assert "breaker  probing: 15 of " in acme.ok("quota")


def a_second_road(cli: Cli, **columns: object) -> None:
    names = "".join(f", {name}" for name in columns)
    places = "".join(f", ${number}" for number in range(1, len(columns) + 1))
    cli.rows(
        f"INSERT INTO klaviyo_roads (account_key, road{names}) VALUES ('acct:A1', 'import'{places})", *columns.values()
    )


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (None, "not tried"),
        ({"looks": 2}, "being tried"),
        ({"verdict": "shared", "verdict_at": NOW}, "shared with PATCH, seen 2026-11-23 14:30:00 UTC"),
        ({"verdict": "refused", "verdict_at": NOW}, "refused, unlike PATCH, seen 2026-11-23 14:30:00 UTC"),
        (
            {"verdict": "separate", "verdict_at": NOW},
            "separate since 2026-11-23 14:30:00 UTC; 0 used in the last minute",
        ),
        (
            {"verdict": "separate", "verdict_at": NOW, "breaker_writes": 4},
            "separate since 2026-11-23 14:30:00 UTC; fails, breaker probing",
        ),
    ],
)
def test_it_tells_what_is_known_of_the_second_road(acme: Cli, columns: dict[str, object] | None, says: str) -> None:
    an_account(acme)
    if columns is not None:
        a_second_road(acme, **columns)

    said = acme.ok("quota")

    assert f"  second road  {says}\n" in said
    assert max(map(len, said.splitlines())) <= 80


def test_a_second_road_in_use_counts_for_what_drains(acme: Cli) -> None:
    an_account(acme, steady_limit=60)
    a_second_road(acme, verdict="separate", verdict_at=NOW, steady_limit=60, newest_slot=SECOND, slots=[20] * 10)
    for number in range(4):
        a_pending(acme, f"P{number}", lane=1, due_s=600)

    [told] = json.loads(acme.ok("quota", "--json"))

    assert (told["second_road"], told["second_road_used_last_min"]) == ("separate", 200)
    assert told["drains_in_s"] == 2.0


def test_an_unknown_org_is_named(acme: Cli) -> None:
    assert "There is no org 'nobody'" in acme.error("quota", "nobody")


def test_tokens_of_the_last_minute_are_counted_and_older_ones_not() -> None:
    slots = [5] * 63

    assert used(SECOND, slots, NOW) == 300
    assert used(SECOND - 30, slots, NOW) == 150
    assert used(SECOND - 3600, slots, NOW) == 0
    assert used(0, [], NOW) == 0


@pytest.mark.parametrize(("p99_s", "delay_s"), [(0.2, 120), (80, 120), (81, 180), (290, 480)])
def test_the_delay_is_whole_minutes_and_at_least_two(p99_s: float, delay_s: int) -> None:
    assert recommended_delay_s(p99_s) == delay_s


def test_previews_neither_delay_nor_miss_anything(acme: Cli) -> None:
    an_account(acme)
    a_generation(acme, decision="written_preview", decided="preview")
    a_generation(acme, decision="written_preview", decided="preview", outcome="expired", reason="quota")

    [told] = json.loads(acme.ok("quota", "acme", "--json"))

    assert (told["written_p99_s"], told["missed"]) == (None, {})
