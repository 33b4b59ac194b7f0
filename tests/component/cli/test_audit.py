"""`justai audit`: what it shows, and the files it makes."""

import csv
import io
import json

from tests.component.cli.rig import Cli


def test_changes_are_listed_newest_first_with_whoever_made_them(acme: Cli) -> None:
    acme.ok("key", "create", "acme", "webhook", "--as", "Ada")
    acme.ok("key", "revoke", "acme", "webhook", "--as", "Grace")

    lines = acme.ok("audit", "acme").splitlines()[2:]

    assert [line.split()[3:6] for line in lines[:-1]] == [
        ["Grace", "keys.revoke", "webhook"],
        ["Ada", "keys.create", "webhook"],
    ]
    assert [line.split()[3] for line in acme.ok("audit", "acme", "--limit", "1").splitlines()[2:]] == ["Grace"]
    assert acme.ok("audit", "acme", "--since", "2100-01-01") == "Nothing was changed.\n"
    assert acme.ok("audit", "acme", "--operation", "templates") == "Nothing was changed.\n"


def test_the_log_as_json_is_one_object_a_line_and_holds_no_key(acme: Cli) -> None:
    key = acme.ok("key", "create", "acme", "webhook", "--quiet", "--days", "30").strip()

    [entry, first] = [json.loads(line) for line in acme.ok("audit", "acme", "--json").splitlines()]

    assert (entry["operation"], entry["actor_kind"], entry["asked"]["days"]) == ("keys.create", "cli", 30)
    assert (first["operation"], first["target"]) == ("orgs.create", "acme")
    assert key not in acme.everything()


def test_the_log_as_csv_has_no_cell_that_a_spreadsheet_runs(acme: Cli) -> None:
    acme.ok("key", "create", "acme", '=HYPERLINK("http://evil.example")')

    head, row, _ = csv.reader(io.StringIO(acme.ok("audit", "acme", "--csv")))

    assert head[:2] == ["audit_id", "at"]
    assert row[head.index("target")] == '\'=HYPERLINK("http://evil.example")'


def test_a_key_is_rotated_and_the_old_one_goes_on_for_a_while(acme: Cli) -> None:
    old = acme.ok("key", "create", "acme", "webhook", "--quiet").strip()

    said = acme.ok("key", "rotate", "acme", "webhook", "--keep-hours", "1").splitlines()

    assert said[0].startswith("jai_live_")
    assert said[0] != old
    assert said[-1].startswith(f"jai_live_…{old[-4:]} works until ")
    assert acme.value("SELECT count(*) FROM api_keys WHERE expires_at IS NULL") == 1
    message = acme.line("key", "rotate", "acme", "webhook")
    assert message == "2 active keys are called 'webhook'; name one as it is shown; see `justai key list acme`."


def test_an_admin_key_with_another_scope_is_refused_by_the_options_name(acme: Cli) -> None:
    message = acme.line("key", "create", "acme", "robot", "--scope", "admin", "--scope", "preview")

    assert message == "--scope: `admin` stands alone: give webhooks and previews a key of their own."
