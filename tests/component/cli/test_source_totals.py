"""`justai source reconcile`: both numbers, the difference and its cause."""

from tests.component.cli.rig import Cli


def connect(cli: Cli) -> None:
    cli.rows(
        "INSERT INTO integrations (org_id, account_key, base_url, sealed_key, last4, scopes, verified_at, updated_at)"
        " SELECT org_id, 'acct:A', 'https://a.klaviyo.com', 's', 'abcd', '{}', created_at, created_at FROM orgs"
    )


def test_nothing_compared_yet_says_when_it_will_be(acme: Cli) -> None:
    connect(acme)

    assert "within the hour" in acme.ok("source", "reconcile", "acme")


def test_a_difference_is_shown_with_both_numbers_and_what_to_make_of_it(acme: Cli) -> None:
    connect(acme)
    acme.rows(
        "INSERT INTO reconcile_orgs (org_id, compared_at, problem, sent_since, sent_until, happened_since,"
        " happened_until) SELECT org_id, created_at, 'flows:read is missing', created_at, created_at, created_at,"
        " created_at FROM orgs"
    )
    acme.rows(
        "INSERT INTO reconciliations (org_id, compared_at, basis, message_id, measure, ours, theirs, cause)"
        " SELECT org_id, created_at, 'sent', 'MSG1', 'opens', 90, 120, 'source_silent' FROM orgs"
    )

    said = acme.ok("source", "reconcile", "acme")

    assert "flows:read is missing" in said
    row = next(line for line in said.splitlines() if "MSG1" in line)
    assert row.split()[-6:] == ["opens", "90", "120", "-30", "Source", "silent"]
    assert "look at the export" in said
    assert '"theirs": 120' in acme.ok("source", "reconcile", "acme", "--json")


def test_asking_for_it_now_without_the_service_says_that_it_stays_asked_for(acme: Cli) -> None:
    connect(acme)

    failed = acme.error("source", "reconcile", "acme", "--now", "--wait-s", "0")

    assert "stays asked for" in failed
