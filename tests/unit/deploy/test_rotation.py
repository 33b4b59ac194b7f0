"""Each secret that an installation begins with can be changed, and a page says how."""

import re

import pytest
import yaml

from deploy.check import ROOT as DEPLOY

RUNBOOKS = DEPLOY.parent / "docs" / "runbooks"
TEXT = "".join((RUNBOOKS / f"rotate-{what}.md").read_text() for what in ("keys", "passwords"))
MADE = re.findall(r"^(?:put|pair) ([\w/.-]+)", (DEPLOY / "make-secrets.sh").read_text(), re.MULTILINE)
FILLED_IN = list(yaml.safe_load((DEPLOY / "k8s" / "secret.example.yaml").read_text())["stringData"])


def test_secrets_are_found() -> None:
    assert {"servers/postgres_password", "justai/justai_amqp_url", "drop/host_key"} <= set(MADE)
    assert "rabbitmq_http_url" in FILLED_IN


@pytest.mark.parametrize("secret", [*(name.removeprefix("justai/") for name in MADE), *FILLED_IN])
def test_a_page_says_how_a_secret_is_changed(secret: str) -> None:
    assert re.search(rf"`(?:deploy/secrets/)?{re.escape(secret)}`", TEXT)
