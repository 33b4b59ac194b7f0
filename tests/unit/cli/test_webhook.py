"""What is pasted into Klaviyo has the installation's own address, where it is known."""

import pytest

from cli.templates import webhook


@pytest.mark.parametrize(
    ("known", "given", "printed"),
    [
        ("https://hooks.acme.example", [], "https://hooks.acme.example"),
        ("https://hooks.acme.example", ["--base-url", "https://other.example"], "https://other.example"),
        ("", [], "https://<your host>"),
    ],
)
def test_the_webhooks_address_is_the_one_that_the_console_shows(
    known: str, given: list[str], printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUSTAI_CONSOLE_GATEWAY_URL", known)

    assert webhook.make_context("webhook", ["acme", "welcome", *given]).params["base_url"] == printed
