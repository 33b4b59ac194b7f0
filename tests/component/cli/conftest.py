"""A command line on servers of the test's own."""

from collections.abc import Iterator

import pytest

from tests.component.cli.facts import add_template, cli_at_now
from tests.component.cli.rig import Box, Cli, klaviyo_box, settings

NOWHERE = "amqp://127.0.0.1:1/"


@pytest.fixture
def cli(database_url: str) -> Cli:
    """With a database; the broker is out of reach, as it may be for most commands."""
    return Cli(settings(database_url, NOWHERE))


@pytest.fixture
def acme(cli: Cli) -> Cli:
    """The same, with an org."""
    cli.ok("org", "create", "acme", "Acme Coffee")
    return cli


@pytest.fixture
def shop(database_url: str) -> Cli:
    """For which it is the moment of facts.py, with an org that has one template of two variants, active."""
    cli = cli_at_now(database_url)
    cli.ok("org", "create", "acme", "Acme Coffee")
    add_template(cli)
    return cli


@pytest.fixture
def box() -> Iterator[Box]:
    with klaviyo_box() as running:
        yield running
