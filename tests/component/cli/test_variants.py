"""A variant's life at the command line: who approves, what is served meanwhile, what can be taken back."""

from pathlib import Path

import pytest
import yaml

from tests.component.cli.rig import Cli

PREHEADER = "A preheader that is as long as it should be"
SERVED = """
    SELECT v.state, v.version, s.body FROM variants v JOIN variant_versions s USING (copy_id, version)
    WHERE v.name = 'Warm'
"""
VARIANT = ("acme", "welcome", "Warm")


def write(folder: Path, **values: object) -> str:
    """A template's file with one variant of these values; its path."""
    one = {"name": "Warm", "approved": True, "subject": "Hello", "preheader": PREHEADER, "body": "<p>One</p>", **values}
    file = {
        "template_id": "welcome",
        "name": "Welcome",
        "state": "active",
        "control": {"subject": "Control", "body": "<p>Control</p>"},
        "variants": [{name: value for name, value in one.items() if value is not None}],
    }
    path = folder / "welcome.yaml"
    path.write_text(yaml.safe_dump(file))
    return str(path)


def rules(cli: Cli, folder: Path, **values: object) -> str:
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(values))
    return cli.ok("org", "rules", "import", "acme", str(path))


def served(cli: Cli) -> tuple[str, int, str]:
    [row] = cli.rows(SERVED)
    return row["state"], row["version"], row["body"]


def test_where_reviews_are_required_a_changed_text_waits_for_somebody_else_and_the_old_one_stays_served(
    acme: Cli, tmp_path: Path
) -> None:
    acme.ok("template", "import", "acme", write(tmp_path), "--as", "Ann")
    rules(acme, tmp_path, review_required=True)

    said = acme.ok("template", "import", "acme", write(tmp_path, body="<p>Two</p>"), "--as", "Ann")
    waiting = served(acme)
    own = acme.line("variant", "approve", *VARIANT, "--as", "ann")
    acme.ok("variant", "approve", *VARIANT, "--as", "Bob", "--comment", "fine")

    assert '"Warm" is live; version 2 in review' in said
    assert "1 variant approved" in said
    assert waiting == ("approved", 1, "<p>One</p>")
    assert "a review by somebody else: ann wrote or submitted version 2" in own
    assert served(acme) == ("approved", 2, "<p>Two</p>")
    events = acme.rows("SELECT version, event, actor, comment FROM variant_events ORDER BY event_id")
    assert [tuple(row.values()) for row in events] == [
        (1, "written", "Ann", ""), (1, "approved", "Ann", ""), (2, "written", "Ann", ""), (2, "submitted", "Ann", ""),
        (2, "approved", "Bob", "fine"),
    ]  # fmt: skip


def test_a_rejected_version_goes_back_with_its_reason_and_a_rollback_serves_the_earlier_one(
    acme: Cli, tmp_path: Path
) -> None:
    acme.ok("template", "import", "acme", write(tmp_path))
    acme.ok("template", "import", "acme", write(tmp_path, body="<p>Two</p>"))
    rules(acme, tmp_path, review_required=True)
    acme.ok("template", "import", "acme", write(tmp_path, body="<p>Three</p>"))

    acme.ok("variant", "reject", *VARIANT, "--comment", "too loud", "--as", "Bob")
    rejected = acme.ok("variant", "list", "acme", "welcome")
    acme.ok("variant", "rollback", *VARIANT)
    back = served(acme)
    acme.ok("variant", "rollback", *VARIANT)

    assert "live; version 3 draft" in rejected
    assert "too loud" in acme.ok("variant", "history", *VARIANT)
    assert (back[1], served(acme)[1]) == (1, 2)


def test_a_step_that_names_a_version_is_not_taken_about_another_one(acme: Cli, tmp_path: Path) -> None:
    acme.ok("template", "import", "acme", write(tmp_path), "--as", "Ann")
    rules(acme, tmp_path, review_required=True)
    acme.ok("template", "import", "acme", write(tmp_path, body="<p>Two</p>"), "--as", "Ann")
    acme.ok("template", "import", "acme", write(tmp_path, body="<p>Three</p>"), "--as", "Ann")

    refused = acme.line("variant", "approve", *VARIANT, "--version", "2", "--as", "Bob")
    waiting = served(acme)
    acme.ok("variant", "approve", *VARIANT, "--version", "3", "--as", "Bob")
    acme.ok("variant", "rollback", *VARIANT, "--version", "3")
    again = acme.line("variant", "rollback", *VARIANT, "--version", "3")

    assert '"Warm" has changed since version 2 was looked at' in refused
    assert "this would be about version 3" in refused
    assert waiting[1] == 1
    assert "this would be about version 1" in again
    assert served(acme)[1] == 1


def test_an_import_tells_of_the_version_in_review_that_its_file_knows_nothing_of(acme: Cli, tmp_path: Path) -> None:
    acme.ok("template", "import", "acme", write(tmp_path))
    rules(acme, tmp_path, review_required=True)
    acme.ok("template", "import", "acme", write(tmp_path, body="<p>Two</p>"))

    looked_at = acme.ok("template", "import", "acme", write(tmp_path), "--dry-run")
    waiting = acme.ok("variant", "list", "acme", "welcome")
    done = acme.ok("template", "import", "acme", write(tmp_path))

    assert "version 2 in review" in waiting
    for said in (looked_at, done):
        assert '"Warm": version 2, in review, is withdrawn.' in said


def test_a_draft_is_checked_submitted_approved_and_archived_by_hand(acme: Cli, tmp_path: Path) -> None:
    acme.ok("template", "import", "acme", write(tmp_path, approved=None))

    states = []
    for step in ("check", "submit", "approve", "archive"):
        acme.ok("variant", step, *VARIANT)
        states.append(acme.rows("SELECT state, proposed_state FROM variants")[0])

    assert [tuple(state.values()) for state in states] == [
        ("draft", "checked"), ("draft", "in_review"), ("approved", None), ("archived", None),
    ]  # fmt: skip
    assert "is archived" in acme.line("variant", "archive", *VARIANT)


def test_what_the_checks_block_is_not_approved_by_file_or_by_hand(acme: Cli, tmp_path: Path) -> None:
    rules(acme, tmp_path, banned_words=["cheap"])
    refused = acme.error("template", "import", "acme", write(tmp_path, body="<p>cheap</p>"))
    acme.ok("template", "import", "acme", write(tmp_path, body="<p>cheap</p>", approved=None))

    results = [acme.run("variant", step, *VARIANT) for step in ("check", "submit", "approve")]

    assert 'says "cheap", a word that the org has banned' in refused
    for result in results:
        assert result.exit_code == 1
        assert "Blocking (banned_word)" in result.stdout
        assert "1 of these stop its approval" in result.stderr
    assert acme.value("SELECT state FROM variants") == "draft"
    assert acme.value("SELECT count(*) FROM variant_events WHERE event <> 'written'") == 0


def test_mjml_is_kept_as_written_and_served_as_html(acme: Cli, tmp_path: Path) -> None:
    mjml = (
        "<mjml><mj-body><mj-section><mj-column><mj-text>Hi {{ a | default: 'you' }}</mj-text>"
        "</mj-column></mj-section></mj-body></mjml>"
    )
    acme.ok("template", "import", "acme", write(tmp_path, body=None, mjml=mjml))

    again = acme.ok("template", "import", "acme", write(tmp_path, body=None, mjml=mjml))

    [row] = acme.rows("SELECT body, source_body, source_kind FROM variant_versions")
    assert (row["source_body"], row["source_kind"]) == (mjml, "mjml")
    assert ">Hi {{ a | default: 'you' }}</div>" in row["body"]
    assert "<mj" not in row["body"]
    assert "unchanged" in again
    assert "<mjml>" in acme.ok("variant", "show", *VARIANT)
    assert "<mjml>" not in acme.ok("variant", "show", *VARIANT, "--served")


def test_what_was_taken_out_is_told_and_the_file_compares_with_what_was_written(acme: Cli, tmp_path: Path) -> None:
    path = write(tmp_path, body="<p onclick='x'>One</p><script>x</script>")
    result = acme.run("template", "import", "acme", path)

    again = acme.ok("template", "import", "acme", path)

    assert "<script>, onclick of <p>: not for mail" in result.stderr
    assert served(acme)[2] == "<p>One</p>"
    assert "unchanged" in again


def test_a_diff_shows_what_changed_as_it_was_written(acme: Cli, tmp_path: Path) -> None:
    acme.ok("template", "import", "acme", write(tmp_path, body="<p>One</p>\n<p>Same</p>"))
    acme.ok("template", "import", "acme", write(tmp_path, body="<p>Two</p>\n<p>Same</p>"))

    diff = acme.ok("variant", "diff", *VARIANT).splitlines()

    assert "-<p>One</p>" in diff
    assert "+<p>Two</p>" in diff
    assert " <p>Same</p>" in diff


def test_versions_and_history_cannot_be_edited_by_whoever_serves(acme: Cli, tmp_path: Path) -> None:
    acme.ok("template", "import", "acme", write(tmp_path))

    for table in ("variant_versions", "variant_events"):
        rights = acme.rows(
            "SELECT privilege_type FROM information_schema.role_table_grants "
            "WHERE table_name = $1 AND grantee IN ('justai_worker', 'justai_tenant')",
            table,
        )
        assert {row["privilege_type"] for row in rights} == {"SELECT", "INSERT"}


def test_rules_come_back_as_they_were_imported_and_faults_are_told_by_field(acme: Cli, tmp_path: Path) -> None:
    given = {
        "review_required": True,
        "banned_words": ["cheap"],
        "promo_codes": ["WELCOME10", {"code": "XMAS25", "ends": "2026-12-24"}],
        "end_dates": {"welcome": "2026-12-24"},
    }
    said = rules(acme, tmp_path, **given)

    shown = acme.ok("org", "rules", "show", "acme")
    path = tmp_path / "again.yaml"
    path.write_text(shown)
    acme.ok("org", "rules", "import", "acme", str(path))
    path.write_text("banned_words: cheap\nend_dates: {welcome: soon}\npromo: [X]\n")
    message = acme.error("org", "rules", "import", "acme", str(path))

    assert "1 banned words and claims, 2 promo codes, 1 end dates; reviews are required" in said
    assert acme.ok("org", "rules", "show", "acme") == shown
    assert acme.value("SELECT review_required FROM orgs") is True
    for fault in ("banned_words: must be a list", "end_dates.welcome: must be a day", "promo: is no field"):
        assert fault in message


@pytest.mark.parametrize("step", ["show", "check", "approve", "rollback", "diff", "history"])
def test_an_unknown_variant_is_one_line_that_says_where_to_look(acme: Cli, step: str) -> None:
    assert acme.line("variant", step, *VARIANT).startswith("No variant 'Warm'; see `justai variant list")


def test_variants_go_to_a_spreadsheet_and_rows_come_back_as_drafts(acme: Cli, tmp_path: Path) -> None:
    acme.ok("template", "import", "acme", write(tmp_path))
    sheet = tmp_path / "welcome.csv"
    sheet.write_text(acme.ok("variant", "export", "acme", "welcome"), newline="")
    unchanged = acme.ok("variant", "import", "acme", "welcome", str(sheet))
    with sheet.open("a", newline="") as rows:
        rows.write("Cool,,Hello,,<p>Hello.</p>,\r\nBad,,,,<p>x</p>,\r\n")

    refused = acme.run("variant", "import", "acme", "welcome", str(sheet))

    assert unchanged.startswith("unchanged    Warm")
    assert "created      Cool" in refused.stdout
    assert f"{sheet}:4: Bad: subject" in refused.stderr
    assert "1 row not taken in" in refused.stderr
    assert refused.exit_code == 1
    assert served(acme) == ("approved", 1, "<p>One</p>")
