"""`justai source hook`: the address and, once, the secret."""

from tests.component.cli.rig import Cli


def test_a_hook_says_what_to_give_klaviyo_and_never_again_its_secret(acme: Cli) -> None:
    here = acme.with_settings(console_gateway_url="https://gw.example/")
    made = here.run("source", "hook", "create", "acme", "hook")
    shown = acme.ok("source", "hook", "show", "acme", "hook")
    rotated = acme.run(
        "source", "hook", "rotate", "acme", "hook", "--keep-hours", "1", "--base-url", "https://gw.example"
    )

    address, secret = (line.split()[1] for line in made.stdout.splitlines())
    assert address.startswith("https://gw.example/api/klaviyo-events/acme/")
    assert address.removeprefix("https://gw.example") in shown
    assert secret not in shown
    assert secret not in acme.everything()
    assert rotated.stdout.splitlines()[0].split()[1] == address
    assert secret not in rotated.stdout
    assert "webhook" in acme.ok("source", "list", "acme")
