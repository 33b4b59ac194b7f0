"""What is stored about one person, counted and deleted from the command line; and the number above all."""

from tests.component.cli.rig import Cli
from tests.component.cli.test_outcomes import a_generation, cli

__all__ = ["cli"]


def test_a_person_is_counted_and_deleted_after_asking_back(acme: Cli) -> None:
    a_generation(acme)
    a_generation(acme, user_id="01OTHER")

    refused = acme.run("person", "delete", "acme", "01PERSON", given="n\n")
    kept = acme.ok("person", "show", "acme", "01PERSON")
    said = acme.ok("person", "delete", "acme", "01PERSON", "--yes", "--as", "Ada")
    again = acme.ok("person", "delete", "acme", "01PERSON", "--yes")

    assert refused.exit_code == 1
    assert kept.startswith("1 generations, from 2026-11-23")
    assert said.startswith("Deleted 1 generations, 0 emails")
    assert again == "Nothing is stored about this person.\n"
    assert acme.value("SELECT user_id FROM generations") == "01OTHER"
    assert "01PERSON" not in acme.ok("audit", "acme", "--json")


def test_the_number_says_what_emails_showed(acme: Cli) -> None:
    a_generation(acme)
    a_generation(acme, outcome="expired", reason="quota", user_id="01B")

    said = acme.ok("number", "acme")

    assert said.startswith(
        "1 right (50.0% of those meant to), 0 control planned, 1 control missed, 0 faults; 0 to come"
    )
    assert "control, missed" in said
