"""`justai export loader`, as far as the command line goes; what it prints is run in tests of the exporter."""

import re

from tests.component.cli.rig import Cli


def test_a_loader_is_printed_alone_and_what_is_asked_wrongly_is_said_by_its_option(acme: Cli) -> None:
    early = acme.line("export", "loader", "duckdb", "acme")
    acme.ok("export", "target", "acme", "--bucket", "records", "--prefix", "jai")

    printed = acme.ok("export", "loader", "athena", "acme", "--month", "2026-02")
    wrong_month = acme.line("export", "loader", "athena", "acme", "--month", "2026-13")
    wrong_place = acme.line("export", "loader", "athena", "acme", "--folder", "/data")
    unknown = acme.run("export", "loader", "oracle", "acme")

    assert early.startswith("There is no export target yet: justai export target acme")
    assert printed.startswith("-- The export of acme (s3://records/jai) in Athena")
    assert printed.endswith(";\n")
    assert "datehour BETWEEN '2026/02/01/00' AND '2026/02/28/23'" in printed
    assert wrong_month.startswith("--month: ")
    assert wrong_place == "--folder: is nothing that Athena can read: it reads buckets."
    assert unknown.exit_code == 2
    assert re.search("'oracle' is not one of 'duckdb', 'spark'", unknown.output)
