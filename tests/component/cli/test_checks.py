"""`justai check` and `justai export test`: what the pages say, for who has no browser."""

from tests.component.cli.rig import Cli


def test_a_check_says_each_item_and_its_command_and_fails_while_something_is_broken(acme: Cli) -> None:
    result = acme.run("check", "acme")

    assert result.exit_code == 1
    assert [line for line in result.output.splitlines() if not line.startswith(" ")] == [
        "Webhook not firing", "Profile properties empty", "Wrong profile ID", "Flows/campaigns not showing in JustAI",
    ]  # fmt: skip
    assert "!! There is no API key, so no webhook can be let in." in result.output
    assert "(justai klaviyo connect acme)" in result.output


def test_a_bucket_that_is_not_set_up_is_not_tested(acme: Cli) -> None:
    assert acme.line("export", "test", "acme").startswith("There is no export target yet: justai export target acme")
