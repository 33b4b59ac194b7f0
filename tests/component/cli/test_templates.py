"""Templates in and out: importing is repeatable, versions are kept, snippets fit what the generator writes."""

import json
from pathlib import Path

import pytest
import yaml

from shared.snippet import written_for
from tests.component.cli.rig import Cli

SHOP = Path(__file__).parents[3] / "demo" / "shop"
SELECT_STATE = """
    SELECT v.name, v.state, v.version, v.copy_id, v.updated_at, t.updated_at AS template_at
    FROM variants v JOIN templates t USING (org_id, template_id) ORDER BY v.name
"""
GOOD_PREHEADER = "A preheader that is as long as it should be"
FILE = """
template_id: welcome
name: Welcome
state: active
flow: {flow_id: WELC01, treatment_action_id: "70000012"}
control: {subject: Control, preheader: Calm, body: <p>Control</p>}
variants:
  - name: Warm
    approved: true
    subject: "Hi {{ first_name | default: 'you' }}"
    preheader: A preheader that is as long as it should be
    body: <p>Warm</p>
  - {name: Cold, subject: Hello, preheader: A preheader that is as long as it should be, body: <p>Cold</p>}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "welcome.yaml"
    path.write_text(FILE)
    return path


def changed(file: Path, **values: object) -> str:
    """The same file with these values; its path."""
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | values))
    return str(file)


def test_importing_says_what_it_did_to_each_variant(acme: Cli, file: Path) -> None:
    said = acme.ok("template", "import", "acme", str(file)).splitlines()

    state = {row["name"]: row for row in acme.rows(SELECT_STATE)}
    assert said == [
        f"created      Warm  {state['Warm']['copy_id']}",
        f"created      Cold  {state['Cold']['copy_id']}",
        "Template welcome is active, 1 variant approved.",
    ]
    assert (state["Warm"]["state"], state["Cold"]["state"]) == ("approved", "draft")


def test_standard_input_is_imported_like_a_file(acme: Cli, file: Path) -> None:
    given = acme.ok("template", "import", "acme", "-", given=FILE)
    again = acme.ok("template", "import", "acme", str(file))

    assert given.startswith("created      Warm")
    assert again.startswith("unchanged    Warm")


def test_a_dry_run_says_what_an_import_would_do_and_does_nothing(acme: Cli, file: Path) -> None:
    acme.ok("template", "import", "acme", str(file))
    before = acme.everything()

    same = acme.ok("template", "import", "acme", str(file), "--dry-run")
    said = acme.ok("template", "import", "acme", changed(file, variants=[]), "--dry-run")

    assert same.startswith("Nothing is to be done.\n")
    assert said.startswith("Nothing is changed. It would be done so:\narchived     ")
    assert said.count("archived     ") == 2
    assert acme.everything() == before


def test_importing_again_changes_nothing_at_all(acme: Cli, file: Path) -> None:
    acme.ok("template", "import", "acme", str(file))
    before = acme.everything()

    said = acme.ok("template", "import", "acme", str(file))

    assert said.count("unchanged") == 2
    assert acme.everything() == before


def test_a_changed_text_is_a_new_version_and_the_old_one_stays(acme: Cli, file: Path) -> None:
    acme.ok("template", "import", "acme", str(file))
    [_, warm] = acme.rows(SELECT_STATE)

    said = acme.ok("template", "import", "acme", changed(file, variants=[
        {"name": "Warm", "approved": True, "subject": "Other", "body": "<p>Warm</p>"},
        {"name": "Cold", "subject": "Hello", "preheader": GOOD_PREHEADER, "body": "<p>Cold</p>"},
    ]))  # fmt: skip

    assert "new version  Warm" in said
    assert "unchanged    Cold" in said
    versions = "SELECT version, subject FROM variant_versions WHERE copy_id = $1 ORDER BY version"
    assert acme.rows(versions, warm["copy_id"]) == [
        {"version": 1, "subject": "Hi {{ first_name | default: 'you' }}"}, {"version": 2, "subject": "Other"},
    ]  # fmt: skip
    assert acme.value("SELECT version FROM variants WHERE name = 'Warm'") == 2


def test_a_variant_that_is_missing_from_the_file_is_archived_and_comes_back_as_itself(acme: Cli, file: Path) -> None:
    acme.ok("template", "import", "acme", str(file))
    whole = yaml.safe_load(file.read_text())["variants"]
    [cold, _] = acme.rows(SELECT_STATE)

    said = acme.ok("template", "import", "acme", changed(file, variants=whole[:1]))
    archived = acme.value("SELECT state FROM variants WHERE name = 'Cold'")
    acme.ok("template", "import", "acme", changed(file, variants=whole))

    assert f"archived     Cold  {cold['copy_id']}" in said
    assert archived == "archived"
    assert acme.rows("SELECT state, version, copy_id FROM variants WHERE name = 'Cold'") == [
        {"state": "draft", "version": 1, "copy_id": cold["copy_id"]}
    ]


def test_a_file_with_faults_changes_nothing(acme: Cli, file: Path) -> None:
    acme.ok("template", "import", "acme", str(file))
    before = acme.everything()

    message = acme.error("template", "import", "acme", changed(file, state="live", variants=[
        {"name": "Warm", "subject": "{{ first_name }}", "body": "<a href='/x'>x</a>"},
    ]))  # fmt: skip

    head, *faults = message.splitlines()
    assert head == f"Error: {file} cannot be imported, 2 faults:"
    assert faults[0] == "  state: must be 'draft', 'active', 'shipped' or 'archived'"
    assert faults[1].startswith('  variant "Warm", subject, line 1: {{ first_name }} has no fallback')
    assert acme.everything() == before


def test_a_file_can_be_judged_without_any_server(file: Path) -> None:
    assert Cli({}).ok("template", "import", "--check", "acme", str(file)) == f"{file} can be imported.\n"


def test_what_may_be_meant_otherwise_is_warned_of_and_imported(acme: Cli, file: Path) -> None:
    result = acme.run("template", "import", "acme", changed(file, state="draft", variants=[
        {"name": "Warm", "approved": True, "subject": "Fish &amp; Chips", "body": "<p>x</p>"},
    ]))  # fmt: skip

    assert result.exit_code == 0
    assert 'Warning: variant "Warm", subject: is plain text' in result.stderr
    assert "People get the control content until the template is active" in result.stdout


@pytest.mark.parametrize(
    "change",
    [
        {"property_prefix": "jai_welcome"},
        {"flow": {"flow_id": "OTHER1", "treatment_action_id": "70000012"}},
        {"control": {"subject": "New control", "body": "<p>Control</p>"}},
    ],
)
def test_a_change_that_the_pasted_snippet_does_not_know_says_so(
    acme: Cli, file: Path, change: dict[str, object]
) -> None:
    acme.ok("template", "import", "acme", str(file))
    renamed = acme.ok("template", "import", "acme", changed(file, name="Another name"))

    said = acme.ok("template", "import", "acme", changed(file, **change))

    assert "paste it again: justai snippet acme welcome" in said
    assert "snippet" not in renamed


def test_a_flow_step_that_klaviyo_does_not_have_is_warned_of(acme: Cli, file: Path) -> None:
    add = (
        "INSERT INTO flow_messages (org_id, flow_id, flow_name, flow_status, action_id, message_id, message_name, "
        "synced_at) SELECT org_id, 'WELC01', 'Welcome', 'live', $1, 'M1', 'Email', created_at FROM orgs"
    )
    acme.rows(add, "70000099")

    result = acme.run("template", "import", "acme", str(file))
    acme.rows("UPDATE flow_messages SET action_id = '70000012'")
    fitting = acme.run("template", "import", "acme", str(file))
    acme.rows("UPDATE flow_messages SET flow_status = 'gone'")
    nothing_there = acme.run("template", "import", "acme", str(file))
    acme.rows(add, "70000099")
    gone = acme.run("template", "import", "acme", str(file))

    warning = "Warning: flow WELC01 had no email step 70000012 when flows were last read"
    assert warning in result.stderr
    assert warning in gone.stderr
    assert (fitting.stderr, nothing_there.stderr) == ("", "")


def test_the_snippet_fits_what_the_generator_writes_for_this_template(acme: Cli, file: Path) -> None:
    acme.ok("template", "import", "acme", str(file))

    snippet = json.loads(acme.ok("snippet", "acme", "welcome", "--json"))
    webhook = json.loads(acme.ok("webhook", "acme", "welcome").partition("JSON body:\n")[2])

    tracking_id = webhook["tracking_id"].replace("{{ person.KlaviyoID }}", "01PERSON")
    fits = written_for("welcome", "01PERSON", tracking_id)
    assert set(snippet) == {"subject", "preheader", "body"}
    for text, control in zip(snippet.values(), ("Control", "Calm", "<p>Control</p>"), strict=True):
        assert f"person|lookup:'jai_for' == '{fits}'" in text
        assert text.endswith("{% else %}" + control + "{% endif %}")


def test_the_snippet_for_people_names_its_three_places(acme: Cli, file: Path) -> None:
    acme.ok("template", "import", "acme", changed(file, property_prefix="jai_welcome"))

    said = acme.ok("snippet", "acme", "welcome")

    assert [line for line in said.splitlines() if line.startswith("# ")] == [
        "# Subject line", "# Preview text", "# Body (HTML)",
    ]  # fmt: skip
    assert "jai_welcome_body" in said
    assert "'jai_body'" not in said


def test_the_pages_literal_snippet_needs_no_template(acme: Cli) -> None:
    assert "{{ person|lookup:'jai_body'|safe }}" in acme.ok("snippet", "acme", "welcome", "--page")


def test_the_webhook_is_what_the_integration_page_says(acme: Cli, file: Path) -> None:
    acme.ok("template", "import", "acme", str(file))

    said = acme.ok("webhook", "acme", "welcome", "--base-url", "https://jai.example/")

    assert "Destination URL: https://jai.example/api/generate/acme\n" in said
    assert "  Content-Type: application/json\n  X-Api-Key: <JUSTAI_API_KEY>\n" in said
    assert json.loads(said.partition("JSON body:\n")[2]) == {
        "template_id": "welcome",
        "user_id": "{{ person.KlaviyoID }}",
        "tracking_id": "{{ person.KlaviyoID }}.WELC01.70000012",
        "attrs": {},
        "fields": {"first_name": "{{ person.first_name }}"},
    }


def test_a_template_without_a_flow_message_has_no_snippet_and_says_what_to_do(acme: Cli, file: Path) -> None:
    values = yaml.safe_load(file.read_text())
    del values["flow"]
    file.write_text(yaml.safe_dump(values))
    acme.ok("template", "import", "acme", str(file))

    message = acme.line("snippet", "acme", "welcome")

    assert "set `flow.flow_id` and `flow.treatment_action_id` in its file and import it again" in message
    assert ".<flow_id>.<treatment_action_id>" in acme.ok("webhook", "acme", "welcome")


def test_an_unknown_template_is_one_line_that_says_where_to_look(acme: Cli) -> None:
    for command in ("snippet", "webhook"):
        assert acme.line(command, "acme", "nothing") == "No template 'nothing'; see `justai template list acme`."
    assert acme.line("template", "show", "acme", "nothing") == "No template 'nothing'; see `justai template list acme`."


def test_lists_show_texts_as_they_are_in_full(acme: Cli, file: Path) -> None:
    subject = "[sale] 50% :fire: " + "long " * 40
    acme.ok("template", "import", "acme", changed(file, variants=[{"name": "[b]", "subject": subject, "body": "x"}]))

    listed, shown = acme.ok("template", "list", "acme"), acme.ok("template", "show", "acme", "welcome")

    assert "WELC01" in listed
    assert "[b]" in shown
    assert "[sale] 50% :fire:" in shown
    assert shown.count("long") == 40


def test_one_org_does_not_see_anothers_templates(acme: Cli, file: Path) -> None:
    acme.ok("org", "create", "other", "Other")
    acme.ok("template", "import", "acme", str(file))

    assert "No templates yet" in acme.ok("template", "list", "other")
    assert acme.line("snippet", "other", "welcome").startswith("No template 'welcome'")


@pytest.mark.parametrize("path", sorted(SHOP.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shops_templates_come_in(acme: Cli, path: Path) -> None:
    result = acme.run("template", "import", "acme", str(path))

    assert (result.exit_code, result.stderr) == (0, "")


def test_a_policy_is_stored_as_far_as_the_file_says_it_and_a_wrong_one_is_named(acme: Cli, file: Path) -> None:
    acme.ok("template", "import", "acme", changed(file, policy={"model": "thompson", "floor": 0.05}))
    (row,) = acme.rows("SELECT policy FROM templates")
    assert json.loads(row["policy"]) == {"model": "thompson", "floor": 0.05}

    message = acme.error("template", "import", "acme", changed(file, policy={"floor": 2}))
    assert "policy.floor" in message


def test_conversions_are_stored_whole_and_wait_to_be_counted_whenever_they_change(acme: Cli, file: Path) -> None:
    def counted(**values: object) -> tuple[object, bool]:
        acme.ok("template", "import", "acme", changed(file, **values))
        (row,) = acme.rows("SELECT conversions, conversions_stale FROM templates")
        acme.rows("UPDATE templates SET conversions_stale = false")
        return row["conversions"] and json.loads(row["conversions"])["window_h"], row["conversions_stale"]

    assert counted() == (None, False)
    assert counted(conversions={"window_h": 24}) == (24, True)
    assert counted(conversions={"window_h": 24}, name="Another") == (24, False)
    assert counted(policy={"reward": "conversion"}, conversions=None) == (72, True)
    assert counted(policy={}) == (None, True)

    message = acme.error("template", "import", "acme", changed(file, conversions={"metrics": ["Opened Email"]}))
    assert "conversions.metrics.0: 'Opened Email' is about the email itself" in message
