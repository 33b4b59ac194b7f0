"""A template set up by commands alone: made, given its control content, tried, reviewed, written out, checked."""

import json
from pathlib import Path

from tests.component.cli.rig import Box, Cli

TEMPLATE = (
    "{template_id: welcome, name: Welcome, flow: {flow_id: FLOW01, treatment_action_id: '70000012'}, "
    "control: {subject: Hello, body: <p>Hello</p>}}"
)
EMAIL = {"type": "send-email", "id": "70000012", "subject": "Hello", "html": "<p>Hello</p>"}
INSERT_REFUSED = """
    INSERT INTO refused_webhooks (org_id, day, flow_id, code, webhooks, last_at)
    SELECT org_id, current_date, 'FLOW01', 'unknown_api_key', 12, now() + interval '6 hours' FROM orgs
"""


def test_a_template_is_set_up_without_a_file_of_its_own(acme: Cli, tmp_path: Path) -> None:
    body, variant = tmp_path / "control.html", tmp_path / "warm.yaml"
    body.write_text("<p>Hello</p>")
    variant.write_text("{subject: \"Hi {{ first_name | default: 'you' }}\", body: <p>Warm</p>}")
    made = ("template", "create", "acme", "welcome", "--name", "Welcome", "--control-body", str(body))

    assert acme.ok(*made, "--control-subject", "Hello") == (
        "Created template welcome, a draft. Its profile properties: jai_subject, …\n"
    )
    assert "already" in acme.line(*made, "--control-subject", "Hello")
    control = ("template", "control", "acme", "welcome", "--body", str(body), "--subject")
    assert "justai snippet acme welcome" in acme.ok(*control, "Good day")
    assert acme.ok(*control, "Good day") == "That is how it was already.\n"
    assert "# subject\nHi you\n" in acme.ok(
        "variant", "try", "acme", "welcome", "Warm", str(variant), "--person", "nobody"
    )
    assert "# subject\nHi Ada\n" in acme.ok("variant", "try", "acme", "welcome", "Warm", str(variant))
    acme.ok("variant", "save", "acme", "welcome", "Warm", str(variant))
    assert "Nothing waits" in acme.ok("variant", "queue", "acme")
    acme.ok("variant", "submit", "acme", "welcome", "Warm")
    assert "Warm" in acme.ok("variant", "queue", "acme")
    assert "welcome" in acme.ok("template", "list", "acme", "--search", "ELCO", "--state", "draft")
    assert "No such template." in acme.ok("template", "list", "acme", "--search", "nothing")

    (tmp_path / "welcome.yaml").write_text(acme.ok("template", "export", "acme", "welcome"))
    assert "unchanged    Warm" in acme.ok("template", "import", "acme", str(tmp_path / "welcome.yaml"))


def test_the_set_up_check_says_what_is_wrong_and_ends_with_1(acme: Cli, box: Box, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TEMPLATE)
    box.ask("POST", "/flows", {"id": "FLOW01", "name": "Welcome", "status": "draft", "actions": [EMAIL]})
    acme.ok("template", "import", "acme", str(tmp_path / "t.yaml"))
    acme.ok("klaviyo", "connect", "acme", "--base-url", box.url, "--key-stdin", given=box.key() + "\n")

    done = acme.run("template", "lint", "acme", "welcome")

    assert done.exit_code == 1
    assert "WRONG    Flow is live: “Welcome” is draft" in done.stdout
    assert "Add a Webhook step before the email" in done.stdout
    assert "unknown  Snippet is in the Body" in done.stdout
    assert "of these are wrong." in done.stderr


def test_the_set_up_check_says_whether_the_webhooks_key_lets_it_in(acme: Cli, box: Box, tmp_path: Path) -> None:
    """By the key where Klaviyo tells it, else by the webhooks that came."""
    (tmp_path / "t.yaml").write_text(TEMPLATE)
    webhook = {"type": "send-webhook", "id": "70000010", "url": "https://copy.example/api/generate/acme", "body": "{}"}
    box.ask("POST", "/flows", {"id": "FLOW01", "name": "Welcome", "actions": [webhook, EMAIL]})
    acme.ok("template", "import", "acme", str(tmp_path / "t.yaml"))
    acme.ok("klaviyo", "connect", "acme", "--base-url", box.url, "--key-stdin", given=box.key() + "\n")
    acme.ok("flows", "sync", "acme")
    key = acme.ok("key", "create", "acme", "webhook").split()[0]

    def said(header: str) -> str:
        box.ask("PATCH", "/flows/FLOW01/actions/70000010", {"headers": {"X-Api-Key": header}})
        return acme.run("template", "lint", "acme", "welcome").stdout

    assert "ok       API key is accepted: The key “webhook”" in said(key)
    assert "WRONG    API key is accepted: X-Api-Key is no JustAI key" in said(key[:-1])
    acme.ok("key", "revoke", "acme", "webhook")
    assert "was revoked" in said(key)

    box.switch(header_values="hidden")
    assert "unknown  API key is accepted: Klaviyo does not show it, and no webhook" in said(key)
    acme.rows(INSERT_REFUSED)  # after the step was changed, also by the box's quick clock
    told = said(key)
    assert "WRONG    API key is accepted: Klaviyo does not show it, but webhooks were refused" in told
    assert "WRONG    Webhooks are let in: 12 webhooks of this flow refused" in told
    assert "Flow 'Welcome': 12 webhooks refused, because their X-Api-Key" in acme.run("check", "acme").stdout
    assert key not in told


def test_how_a_template_tests_and_learns_is_set_by_options(acme: Cli, tmp_path: Path) -> None:
    file = tmp_path / "welcome.yaml"
    file.write_text("template_id: welcome\nname: W\ncontrol: {subject: C, body: <p>C</p>}\n")
    acme.ok("template", "import", "acme", str(file))

    said = acme.ok(
        "template", "set", "acme", "welcome", "--split", "random", "--control-ratio", "0.2", "--model", "thompson",
        "--reward", "conversion", "--conversion", "Placed Order", "--window-h", "24",
    )  # fmt: skip
    wrong = acme.line("template", "set", "acme", "welcome", "--control-ratio", "0")
    alone = acme.run("template", "set", "acme", "welcome", "--window-h", "24")
    both = acme.run("template", "set", "acme", "welcome", "--no-conversions", "--conversion", "Placed Order")
    acme.ok("template", "set", "acme", "welcome", "--reward", "click", "--no-conversions")

    assert said == "Changed template welcome.\n"
    assert "a random split needs one, like 0.1" in wrong
    assert "--window-h and --currency go with --conversion." in alone.output
    assert "--no-conversions goes without --conversion." in both.output
    [row] = acme.rows("SELECT split, control_ratio, policy, conversions FROM templates")
    assert (row["split"], row["control_ratio"], row["conversions"]) == ("random", 0.2, None)
    assert json.loads(row["policy"]) == {"model": "thompson", "reward": "click"}
