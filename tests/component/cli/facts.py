"""Decisions and what came of them, put into the database by hand."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

from shared.schemas.ids import generation_day
from tests.component.cli.rig import Cli, settings

NOW = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)
TODAY = NOW.date()
NAMES = ("Warm", "Short")
WARM, SHORT = (uuid5(UUID(int=1), name) for name in NAMES)


def cli_at_now(database_url: str) -> Cli:
    """A command line for which it is NOW."""
    clock = f"scaled:1:{datetime.now(UTC).timestamp()}:{NOW.isoformat()}"
    return Cli(settings(database_url, "amqp://127.0.0.1:1/") | {"JUSTAI_CLOCK": clock})


def add_template(cli: Cli) -> None:
    """One template of two variants, active."""
    cli.rows(
        "INSERT INTO templates (org_id, template_id, name, state, created_at, updated_at) "
        "SELECT org_id, 'welcome', 'W', 'active', $1, $1 FROM orgs",
        NOW - timedelta(days=60),
    )
    for name, copy_id in zip(NAMES, (WARM, SHORT), strict=True):
        cli.rows(
            "INSERT INTO variants (org_id, copy_id, template_id, name, state, created_at, updated_at) "
            "SELECT org_id, $1, 'welcome', $2, 'approved', $3, $3 FROM orgs",
            copy_id, name, NOW,
        )  # fmt: skip


def decide(
    cli: Cli, assigned: int, *, copy_id: UUID | None = None, reason: str | None = None, day: date = TODAY,
    cell: str = "", p: Sequence[float] = (0.5, 0.5), written: int | None = None, sent: int | None = None,
    delivered: int | None = None, opened: int = 0, clicked: int = 0, unsubscribed: int = 0, spam: int = 0,
    template_id: str = "welcome", drawn: UUID | None = None,
) -> list[UUID]:  # fmt: skip
    """So many generations; of these, in one order, so many are written, sent, … and clicked. `drawn`: which variant
    could not be rendered."""
    at = datetime(day.year, day.month, day.day, 10, tzinfo=UTC)
    for table in ("generations", "write_outcomes"):
        cli.rows("SELECT ensure_partition($1, $2)", table, day)
    sent = assigned if sent is None else sent
    delivered = sent if delivered is None else delivered
    known = dict(zip((WARM, SHORT), p, strict=True))
    rows = cli.rows(
        "INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, "
        "deadline_at, clean_at, decision, reason, copy_id, property_prefix, written_for, cell, eligible, "
        "probabilities, propensity, drawn_copy_id) SELECT $1, gen_random_uuid(), org_id, $2, "
        "gen_random_uuid()::text, 'u.f.a', $3, $3, $3, $4, $5, $6, 'jai', 'w.f.a', $7, $8, $9, $10, $12 "
        "FROM orgs, generate_series(1, $11::int) n "
        "WHERE slug = 'acme' RETURNING generation_id",
        day, template_id, at, "treatment" if copy_id else "control",
        reason or ("ranked" if copy_id else "control_split"),
        copy_id, cell, [*known] if copy_id or drawn else [], [*p] if copy_id or drawn else [],
        known[copy_id] if copy_id else None, assigned, drawn,
    )  # fmt: skip
    ids = [row["generation_id"] for row in rows]
    cli.rows(
        "INSERT INTO write_outcomes SELECT $1, id, org_id, CASE WHEN n <= $3 THEN 'written' ELSE 'expired' END, NULL, "
        "$4, 1 FROM orgs, unnest($2::uuid[]) WITH ORDINALITY u (id, n) WHERE slug = 'acme'",
        day, ids, (assigned if copy_id else 0) if written is None else written, at,
    )  # fmt: skip
    cli.rows(
        "INSERT INTO sends (org_id, transmission_id, profile_id, sent_at, day, attribution, generation_id, "
        "generation_day, template_id, copy_id, cell, delivered, bounced, unsubscribed, spam, human_opens, "
        "machine_opens, human_clicks, bot_clicks) SELECT org_id, 't' || id, 'p', $3, $1, 'message', id, $1, $4, $5, "
        "$6, n <= $7, n > $7, n <= $8, n <= $9, CASE WHEN n <= $10 THEN 3 ELSE 0 END, 5, "
        "CASE WHEN n <= $11 THEN 2 ELSE 0 END, 7 FROM orgs, unnest($2::uuid[]) WITH ORDINALITY u (id, n) "
        "WHERE slug = 'acme'",
        day, ids[:sent], at + timedelta(minutes=3), template_id, copy_id, cell, delivered, unsubscribed, spam, opened,
        clicked,
    )  # fmt: skip
    return ids


def control_branch(cli: Cli, *, message: str = "CTRL") -> None:
    """Klaviyo's own branch is control: the step that sends this message."""
    cli.rows("UPDATE templates SET control_action_id = 'c1'")
    cli.rows(
        "INSERT INTO flow_messages SELECT org_id, 'F', 'Flow', 'live', 'c1', $1, $1, null, $2 FROM orgs", message, NOW
    )


def sent_by_klaviyo(cli: Cli, sends: int, *, day: date = TODAY, clicked: int = 0, message: str = "CTRL") -> None:
    """So many emails that show no generation; of them so many are clicked."""
    cli.rows(
        "INSERT INTO sends (org_id, transmission_id, profile_id, message_id, sent_at, day, attribution, delivered, "
        "bounced, unsubscribed, spam, human_opens, machine_opens, human_clicks, bot_clicks) SELECT org_id, "
        "$1::text || $2::date || n, $1 || $2::date || n, $1, $2::date + time '10:00' AT TIME ZONE 'UTC', $2, "
        "'no_generation', true, false, false, false, 0, 0, (n <= $4)::int, 0 FROM orgs, generate_series(1, $3::int) n "
        "WHERE slug = 'acme'",
        message, day, sends, clicked,
    )  # fmt: skip


def a_generation(
    cli: Cli, *, org: str = "acme", decision: str = "treatment", decided: str = "uniform",
    outcome: str | None = "written", reason: str | None = None, user_id: str = "01PERSON",
    template_id: str = "welcome", ago_s: float = 600, delay_s: float = 120, generation_id: UUID | None = None,
) -> UUID:  # fmt: skip
    """One, and how its write ended; None: it has not yet. Its send window is 15 minutes."""
    at, generation_id = NOW - timedelta(seconds=ago_s), generation_id or uuid4()
    day, deadline_at = generation_day(at), at + timedelta(seconds=delay_s)
    for table in ("generations", "write_outcomes"):
        cli.rows("SELECT ensure_partition($1, $2)", table, day)
    cli.rows(
        "INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, "
        "deadline_at, clean_at, decision, reason, property_prefix, written_for) SELECT $1, $2, org_id, $3, $4, "
        "'u.f.a', $5, $6, $7, $8, $9, 'jai', 'welcome.f.a' FROM orgs WHERE slug = $10",
        day, generation_id, template_id, user_id, at, deadline_at, deadline_at + timedelta(minutes=15), decision,
        decided, org,
    )  # fmt: skip
    if outcome:
        cli.rows(
            "INSERT INTO write_outcomes SELECT $1, $2, org_id, $3, $4, $5, 1 FROM orgs WHERE slug = $6",
            day, generation_id, outcome, reason, at, org,
        )  # fmt: skip
    return generation_id


def found(cli: Cli, *options: str) -> dict[str, Any]:
    """What `justai results` says to machines."""
    said: dict[str, Any] = json.loads(cli.ok("results", "acme", "welcome", "--json", *options))
    return said


def told(cli: Cli, *options: str) -> str:
    """What it says to people, in one line, whatever the window."""
    return " ".join(cli.ok("results", "acme", "welcome", *options).split())
