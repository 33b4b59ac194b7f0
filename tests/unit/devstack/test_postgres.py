"""The settings of a PostgreSQL that keeps its data."""

import yaml

from deploy.check import ROOT
from devstack.postgres import KEPT, flags


def test_a_server_that_keeps_its_data_is_given_what_compose_gives_its_own() -> None:
    command = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["postgres"]["command"].split()

    given = {word for word in command if "=" in word}
    assert set(flags(KEPT)) - {"-c"} == {
        one for one in given if one.partition("=")[0] not in ("max_connections", "wal_compression")
    }
