"""`justai source unmatched`, `justai sends` and `justai email`."""

from tests.component.cli.rig import Cli

MAIL = "bounce:MSG1:01PERSON:1795424000"


def stored(cli: Cli) -> None:
    """An email that showed nothing of ours, told of by line 7 of a file; many others wait."""
    cli.rows(
        "INSERT INTO templates (org_id, template_id, name, created_at, updated_at)"
        " SELECT org_id, 'welcome', 'Welcome', created_at, created_at FROM orgs"
    )
    cli.rows(
        "INSERT INTO sources (source_id, org_id, name, host, username, host_key, sealed_key)"
        " SELECT gen_random_uuid(), org_id, 'events', 'h', 'u', 'k', 's' FROM orgs"
    )
    cli.rows(
        "INSERT INTO ingest_files (file_id, org_id, source_id, path, size, mtime, first_seen_at, last_seen_at)"
        " SELECT gen_random_uuid(), org_id, source_id, 'out/a.csv', 1, now(), now(), now() FROM sources"
    )
    cli.rows(
        "INSERT INTO sends (org_id, transmission_id, profile_id, message_id, sent_at, day, attribution, delivered,"
        " bounced, unsubscribed, spam, human_opens, machine_opens, human_clicks, bot_clicks)"
        " SELECT org_id, $1, '01PERSON', 'MSG1', '2025-11-23 09:00Z', '2025-11-23', 'no_generation', false, true,"
        " false, false, 0, 0, 0, 0 FROM orgs", MAIL,
    )  # fmt: skip
    cli.rows(
        "INSERT INTO events (day, org_id, event_id, metric, profile_id, event_at, message_id, transmission_id, file_id,"
        " line) SELECT '2025-11-23', org_id, 'EV1', 'Bounced Email', '01PERSON', '2025-11-23 09:00Z', 'MSG1', $1,"
        " file_id, 7 FROM ingest_files", MAIL,
    )  # fmt: skip
    cli.rows(
        "INSERT INTO unmatched (org_id, day, message_id, no_generation) SELECT org_id, now()::date, 'MSG1', 12345"
        " FROM orgs"
    )


def test_an_email_is_shown_with_the_lines_that_say_it_and_what_waits_with_its_reason(acme: Cli) -> None:
    nothing = acme.ok("source", "unmatched", "acme")
    stored(acme)

    waiting = acme.ok("source", "unmatched", "acme")
    email = acme.ok("email", "acme", MAIL)

    assert nothing == "Nothing waits.\n"
    assert "12,345  emails whose person has no generation that they could show" in waiting
    assert "not yet" in waiting
    assert "not delivered" in email
    assert "2025-11-23 09:00:00 UTC Bounced Email EV1: events out/a.csv line 7" in email
    assert "No email that was bot clicked" in acme.ok("sends", "acme", "welcome", "--what", "bot_clicked")
    assert acme.line("email", "acme", "T9").startswith("No email 'T9'")
    assert "of an attr" not in acme.ok("sends", "acme", "welcome", "--by", "plan")
    assert "No variant 'Cold' of welcome" in acme.line("sends", "acme", "welcome", "--variant", "Cold")
