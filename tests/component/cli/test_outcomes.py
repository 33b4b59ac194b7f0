"""What became of generations, as an operator sees it."""

from datetime import timedelta

import pytest

from tests.component.cli.facts import NOW, a_generation, cli_at_now
from tests.component.cli.rig import Cli


@pytest.fixture
def cli(database_url: str) -> Cli:
    return cli_at_now(database_url)


def lines(said: str) -> list[list[str]]:
    """The cells of the table's rows."""
    rows = [line for line in said.splitlines() if line.startswith("welcome")]
    return [[cell.strip() for cell in row.split("  ") if cell.strip()] for row in rows]


def test_without_generations_it_says_so(acme: Cli) -> None:
    assert acme.ok("outcomes", "acme") == "No generations within 1 h.\n"


def test_generations_are_counted_by_decision_and_end_with_what_the_email_shows(acme: Cli) -> None:
    for _ in range(3):
        a_generation(acme)
    a_generation(acme, outcome="written", reason="answered_late")
    a_generation(acme, outcome="expired", reason="deadline_passed")
    a_generation(acme, outcome="rejected", reason="profile_not_found")
    a_generation(acme, outcome=None)
    a_generation(acme, outcome="stopped", reason="in_flight")
    a_generation(acme, decision="control", decided="field_missing", outcome="nothing_to_clear")
    a_generation(acme, ago_s=7200)

    said = acme.ok("outcomes", "acme")

    assert sorted(lines(said)) == sorted([
        ["welcome", "treatment", "uniform", "written", "3", "our copy"],
        ["welcome", "treatment", "uniform", "written", "answered_late", "1", "perhaps our copy"],
        ["welcome", "treatment", "uniform", "expired", "deadline_passed", "1", "control, missed"],
        ["welcome", "treatment", "uniform", "rejected", "profile_not_found", "1", "control, missed"],
        ["welcome", "treatment", "uniform", "not settled", "1", "control, unless it is written in time"],
        ["welcome", "treatment", "uniform", "stopped", "in_flight", "1", "control, as decided"],
        ["welcome", "control", "field_missing", "nothing_to_clear", "1", "control, as decided"],
    ])  # fmt: skip


def test_older_ones_other_templates_and_other_orgs_are_left_out_unless_asked_for(acme: Cli) -> None:
    a_generation(acme)
    a_generation(acme, template_id="welcome2", ago_s=3 * 3600)
    acme.ok("org", "create", "other", "Other")

    assert len(lines(acme.ok("outcomes", "acme"))) == 1
    assert len(lines(acme.ok("outcomes", "acme", "--hours", "4"))) == 2
    assert len(lines(acme.ok("outcomes", "acme", "--hours", "4", "--template", "welcome2"))) == 1
    assert acme.ok("outcomes", "other", "--hours", "4") == "No generations within 4 h.\n"


def test_one_person_is_shown_newest_first(acme: Cli) -> None:
    a_generation(acme, ago_s=60, outcome=None)
    a_generation(acme, ago_s=900, outcome="superseded")
    a_generation(acme, user_id="01OTHER")

    said = acme.ok("outcomes", "acme", "--user", "01PERSON").splitlines()

    shown = [line for line in said if line.startswith("2026-")]
    assert ["waiting" in shown[0], "superseded" in shown[1]] == [True, True]
    assert "01OTHER" not in "".join(said)
    assert len(shown) == 2


def test_what_holds_up_writing_is_said_first(acme: Cli) -> None:
    acme.rows(
        "INSERT INTO integrations (org_id, account_key, sealed_key, last4, updated_at) "
        "SELECT org_id, 'key:1', 'x', 'abcd', $1 FROM orgs",
        NOW,
    )
    acme.rows(
        "INSERT INTO write_pauses SELECT org_id, 'key:1', 'key_refused', 'Klaviyo answered 401', $1, $1 FROM orgs", NOW
    )
    acme.rows(
        "INSERT INTO klaviyo_accounts (account_key, blocked_until, blocked_reason) VALUES ('key:1', $1, 'klaviyo_503')",
        NOW + timedelta(minutes=5),
    )

    said = acme.ok("outcomes", "acme").splitlines()
    acme.rows("UPDATE integrations SET updated_at = $1", NOW + timedelta(minutes=1))
    after_a_new_key = acme.ok("outcomes", "acme")

    assert "paused" not in after_a_new_key
    assert said[:2] == [
        "Writing is paused since 2026-11-23 14:30:00 UTC: Klaviyo answered 401 (key_refused).",
        "Klaviyo is left alone until 2026-11-23 14:35:00 UTC (klaviyo_503).",
    ]


def test_previews_are_not_counted_but_shown_to_who_asks_for_the_person(acme: Cli) -> None:
    a_generation(acme, decision="preview", decided="preview", outcome=None)
    a_generation(acme, decision="written_preview", decided="preview")
    a_generation(acme)

    assert lines(acme.ok("outcomes", "acme")) == [["welcome", "treatment", "uniform", "written", "1", "our copy"]]
    said = acme.ok("outcomes", "acme", "--user", "01PERSON")
    assert "nothing of it: it was only looked at" in said
    assert "written_preview" in said
