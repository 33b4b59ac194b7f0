"""What is stored about one person, counted and deleted from the command line; and the number above all."""

from pathlib import Path

import pytest

from tests.component.cli.facts import a_generation, cli_at_now
from tests.component.cli.rig import Cli
from tests.component.cli.test_sources import a_file, add, key_file

__all__ = ["key_file"]


@pytest.fixture
def cli(database_url: str) -> Cli:
    return cli_at_now(database_url)


def test_a_person_is_counted_and_deleted_after_asking_back(acme: Cli) -> None:
    a_generation(acme)
    a_generation(acme, user_id="01OTHER")

    refused = acme.run("person", "delete", "acme", "01PERSON", given="n\n")
    kept = acme.ok("person", "show", "acme", "01PERSON")
    said = acme.ok("person", "delete", "acme", "01PERSON", "--yes", "--as", "Ada")
    again = acme.ok("person", "delete", "acme", "01PERSON", "--yes")
    gone = acme.line("person", "show", "acme", "01PERSON")

    assert refused.exit_code == 1
    assert kept.startswith("1 generations, from 2026-11-23")
    assert said.startswith("Deleted 1 generations, 0 emails")
    assert again.startswith(
        "Nothing was stored about this person; files bring in nothing of them from before now.\nProof: "
    )
    assert again.splitlines()[-1] == said.splitlines()[-1]
    assert gone.startswith("Nothing is stored of a person '01PERSON'; an id is that of the Klaviyo profile")
    assert acme.value("SELECT user_id FROM generations") == "01OTHER"
    assert "01PERSON" not in acme.ok("audit", "acme", "--json")


def test_of_whom_nothing_is_stored_is_deleted_too_after_asking_back(acme: Cli) -> None:
    refused = acme.run("person", "delete", "acme", "01NOBODY", given="n\n")
    before = acme.value("SELECT count(*) FROM audit_log WHERE operation = 'person.delete'")
    said = acme.run("person", "delete", "acme", "01NOBODY", given="y\n")

    assert (refused.exit_code, before, said.exit_code) == (1, 0, 0)
    assert "Nothing is stored of a person '01NOBODY'" in refused.output
    assert "Nothing was stored about this person;" in said.output
    assert acme.value("SELECT count(*) FROM audit_log WHERE operation = 'person.delete'") == 1


@pytest.mark.parametrize(("person", "left"), [("01PERSON", 2), ("PERSON", 3), ("1", 3)])
def test_rejected_lines_go_only_where_the_id_stands_as_a_word(
    acme: Cli, key_file: Path, person: str, left: int
) -> None:
    acme.ok(*add(key_file))
    file_id = a_file(acme, "/out/a.csv", "done")
    for line, raw in enumerate(("Opened,01PERSON,x", "Opened,01PERSON2,x", "1,1,1"), start=2):
        acme.rows("INSERT INTO ingest_rejects SELECT org_id, $1, $2, 'no time', $3 FROM sources", file_id, line, raw)

    acme.ok("person", "delete", "acme", person, "--yes")

    assert acme.value("SELECT count(*) FROM ingest_rejects") == left


def test_the_number_says_what_emails_showed(acme: Cli) -> None:
    a_generation(acme)
    a_generation(acme, outcome="expired", reason="quota", user_id="01B")

    said = acme.ok("number", "acme")

    assert said.startswith(
        "1 right (50.0% of those meant to), 0 control planned, 1 control missed, 0 faults; 0 to come"
    )
    assert "control, missed" in said


def test_examples_of_a_reason_are_told_with_the_ids_that_lead_to_their_stories(acme: Cli) -> None:
    a_generation(acme)
    a_generation(acme, outcome="expired", reason="quota", user_id="01B", ago_s=500)
    a_generation(acme, outcome="expired", reason="quota", user_id="01C", template_id="winback", ago_s=400)

    ids = {row["user_id"]: str(row["generation_id"]) for row in acme.rows("SELECT * FROM generations")}

    said = acme.ok("number", "acme", "--examples", "quota")
    of_one = acme.ok("number", "acme", "--examples", "quota", "--shown", "control_missed", "--template", "welcome")
    none = acme.ok("number", "acme", "--examples", "nonsense")
    astray = acme.run("number", "acme", "--shown", "right")

    assert said.startswith("quota means: ")
    assert said.index(ids["01C"]) < said.index(ids["01B"])
    assert (ids["01B"] in of_one, ids["01C"] in of_one) == (True, False)
    assert none == "No generations of 'nonsense' within 24 h; see `justai number acme`.\n"
    assert "--shown and --template go with --examples." in astray.output
    assert ids["01B"] in acme.ok("why", ids["01B"])
