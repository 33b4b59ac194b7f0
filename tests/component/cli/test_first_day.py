"""The sequence that `justai --help` shows is the way from nothing to a live webhook."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from devstack.isolation import fresh_name
from shared.api_keys import well_formed
from tests.component.cli.rig import Box, Cli

WELCOME = Path(__file__).parents[3] / "demo" / "shop" / "welcome.yaml"


def test_the_commands_of_the_help_text_take_an_org_to_a_live_webhook(cli: Cli, box: Box) -> None:
    steps = re.findall(r"^ {2,}justai (.*?) {2,}\S", cli.ok("--help"), re.MULTILINE)
    name = fresh_name("first-day")
    cli.rows(f'CREATE DATABASE "{name}"')
    url = urlsplit(cli.env["JUSTAI_DATABASE_URL"])._replace(path=f"/{name}").geturl()
    fresh = cli.with_settings(database_url=url, clock=box.clock)

    said: dict[str, str] = {}
    try:
        for step in steps:
            words = [str(WELCOME) if word == "welcome.yaml" else word for word in shlex.split(step)]
            given = ""
            if words[:2] == ["klaviyo", "connect"]:
                words, given = [*words, "--base-url", box.url], box.key() + "\n"
            said[" ".join(words[:2])] = fresh.ok(*words, given=given)
    finally:
        cli.rows(f'DROP DATABASE "{name}" WITH (FORCE)')

    assert list(said) == [
        "migrate", "org create", "key create", "klaviyo connect", "flows sync", "template import", "webhook acme",
        "snippet acme",
    ]  # fmt: skip
    assert well_formed(said["key create"].split()[0])
    assert "Template welcome is active, 4 variants approved." in said["template import"]
    assert '"template_id": "welcome"' in said["webhook acme"]
    assert "person|lookup:'jai_for' == 'welcome.WELC01.70000012'" in said["snippet acme"]


def test_the_command_is_also_a_module_and_needs_nothing_to_explain_itself() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "cli", "--help"], env={}, capture_output=True, text=True, timeout=60, check=True
    )

    assert "Set up and look after JustAI for Klaviyo." in shown.stdout
    assert shown.stderr == ""
