"""`justai console`: the way in, and the way back in."""

import re

from tests.component.cli.rig import Cli


def test_an_invitation_is_a_link_and_nothing_else_on_standard_output(acme: Cli) -> None:
    printed = acme.ok("console", "invite", "acme", " Ann@Example.com", "--role", "owner", "--as", "ops")

    assert re.fullmatch(r"http://127\.0\.0\.1:8081/_invite/[A-Za-z0-9_-]{43}\n", printed)
    assert "ann@example.com" in acme.ok("console", "list", "acme")
    assert printed.strip().rpartition("/")[2] not in acme.everything()


def test_links_lead_to_the_console_that_is_set(acme: Cli) -> None:
    there = acme.with_settings(console_url="https://console.acme.example")

    assert there.ok("console", "invite", "acme", "ann@example.com", "--role", "viewer").startswith(
        "https://console.acme.example/_invite/"
    )


def test_what_is_wrong_is_said_in_a_line(acme: Cli) -> None:
    assert acme.line("console", "reset", "ann@example.com").startswith("There is no account of ann@example.com")
    assert acme.line("console", "role", "acme", "ann@example.com", "--role", "owner").startswith(
        "ann@example.com is no member"
    )
    assert acme.line("console", "remove", "acme", "ann@example.com").startswith("ann@example.com is no member")
    assert "is no email address" in acme.error("console", "invite", "acme", "ann", "--role", "owner")
    assert "There is no org 'nope'" in acme.line("console", "invite", "nope", "ann@example.com", "--role", "owner")
    assert acme.ok("console", "list", "acme").startswith("Nobody yet; invite somebody with")


def test_an_invitation_can_be_taken_back(acme: Cli) -> None:
    acme.ok("console", "invite", "acme", "ann@example.com", "--role", "owner")

    assert (
        acme.ok("console", "remove", "acme", "ann@example.com") == "The invitation of ann@example.com is withdrawn.\n"
    )
    assert acme.value("SELECT count(*) FROM invites") == 0


def test_members_are_listed_changed_removed_and_reset(acme: Cli) -> None:
    for name, role in (("ann", "owner"), ("bob", "viewer")):
        acme.rows(
            "WITH u AS (INSERT INTO users (user_id, email, name, password_hash, created_at) "
            "VALUES (gen_random_uuid(), $1, $2, 'x', '2026-11-25Z') RETURNING user_id) "
            "INSERT INTO memberships SELECT org_id, user_id, $3, '2026-11-25Z' FROM orgs, u RETURNING 1",
            f"{name}@example.com", name, role,
        )  # fmt: skip

    assert "bob@example.com" in acme.ok("console", "list", "acme")
    assert acme.line("console", "role", "acme", "ann@example.com", "--role", "viewer").startswith("an org keeps")
    assert acme.line("console", "remove", "acme", "ann@example.com").startswith("an org keeps")
    assert (
        acme.ok("console", "role", "acme", "bob@example.com", "--role", "owner")
        == "bob@example.com is owner of acme now.\n"
    )
    assert (
        acme.ok("console", "remove", "acme", "ann@example.com") == "ann@example.com does not work in acme any more.\n"
    )
    assert "/_reset/" in acme.ok("console", "reset", "bob@example.com", "--second-factor")
    assert acme.value("SELECT drops_totp FROM password_resets") is True
    assert acme.line("console", "reset", "ann@example.com", "--org", "acme").startswith("ann@example.com is no member")
    assert "/_reset/" in acme.ok("console", "reset", "bob@example.com", "--org", "acme")
    assert acme.value("SELECT drops_totp FROM password_resets") is False
    changes = acme.rows("SELECT operation, target FROM audit_log ORDER BY audit_id")
    assert [(row["operation"], row["target"]) for row in changes][1:] == [
        ("people.role", "bob@example.com"), ("people.remove", "ann@example.com"), ("people.reset", "bob@example.com"),
        ("people.reset", "bob@example.com"),
    ]  # fmt: skip


def test_an_owner_is_let_in_by_a_link_and_nobody_else(acme: Cli) -> None:
    for name, role in (("ann", "owner"), ("bob", "editor")):
        acme.rows(
            "WITH u AS (INSERT INTO users (user_id, email, name, created_at) "
            "VALUES (gen_random_uuid(), $1, $1, '2026-11-25Z') RETURNING user_id) "
            "INSERT INTO memberships SELECT org_id, user_id, $2, '2026-11-25Z' FROM orgs, u RETURNING 1",
            f"{name}@example.com", role,
        )  # fmt: skip
    acme.rows(
        "INSERT INTO identities (issuer, subject, user_id, email, linked_at) "
        "SELECT 'https://login.example', 'ann-1', user_id, email, created_at FROM users WHERE email LIKE 'ann%' "
        "RETURNING 1"
    )

    printed = acme.ok("console", "let-in", "ann@example.com", "--as", "ops")

    assert re.fullmatch(r"http://127\.0\.0\.1:8081/_let-in/[A-Za-z0-9_-]{43}\n", printed)
    assert "owns no org" in acme.line("console", "let-in", "bob@example.com")
    assert acme.line("console", "let-in", "zoe@example.com").startswith("There is no account")
    listed = acme.ok("console", "list", "acme")
    assert "single sign-on" in listed
    assert "nothing yet" in listed
    assert acme.ok("console", "unlink", "ann@example.com") == "ann@example.com is linked to nobody now.\n"
    assert acme.ok("console", "unlink", "ann@example.com") == "ann@example.com was not linked.\n"
    changes = [row["operation"] for row in acme.rows("SELECT operation FROM audit_log ORDER BY audit_id")]
    assert changes[-2:] == ["people.let_in", "people.unlink"]


def test_a_provider_that_cannot_be_used_is_said_in_a_line(acme: Cli) -> None:
    assert "JUSTAI_CONSOLE_OIDC_ISSUER is not set" in acme.line("console", "check-provider")
    there = acme.with_settings(
        console_oidc_issuer="http://127.0.0.1:1", console_oidc_client_id="x", console_oidc_client_secret="x",
        console_oidc_private="true",
    )  # fmt: skip
    assert "Nobody can sign in through it: unreachable" in there.line("console", "check-provider")
