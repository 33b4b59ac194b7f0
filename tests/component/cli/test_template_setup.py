"""A template set up by commands alone: made, given its control content, tried, reviewed, written out, checked."""

import json
from pathlib import Path

from tests.component.cli.rig import Box, Cli


def test_a_template_is_set_up_without_a_file_of_its_own(acme: Cli, tmp_path: Path) -> None:
    body, variant = tmp_path / "control.html", tmp_path / "warm.yaml"
    body.write_text("<p>Hello</p>")
    variant.write_text("{subject: \"Hi {{ first_name | default: 'you' }}\", body: <p>Warm</p>}")
    made = ("template", "create", "acme", "welcome", "--name", "Welcome", "--control-body", str(body))

    assert acme.ok(*made, "--control-subject", "Hello") == "Created template welcome, a draft.\n"
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
    (tmp_path / "t.yaml").write_text(
        "{template_id: welcome, name: Welcome, flow: {flow_id: FLOW01, treatment_action_id: '70000012'}, "
        "control: {subject: Hello, body: <p>Hello</p>}}"
    )
    email = {"type": "send-email", "id": "70000012", "subject": "Hello", "html": "<p>Hello</p>"}
    box.ask("POST", "/flows", {"id": "FLOW01", "name": "Welcome", "status": "draft", "actions": [email]})
    acme.ok("template", "import", "acme", str(tmp_path / "t.yaml"))
    acme.ok("klaviyo", "connect", "acme", "--base-url", box.url, "--key-stdin", given=box.key() + "\n")

    done = acme.run("template", "lint", "acme", "welcome")

    assert done.exit_code == 1
    assert "WRONG    Flow is live: “Welcome” is draft" in done.stdout
    assert "Add a Webhook step before the email" in done.stdout
    assert "unknown  Snippet is in the Body" in done.stdout
    assert "of these are wrong." in done.stderr


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
