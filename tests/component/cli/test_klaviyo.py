"""Connecting a Klaviyo account and reading its flows, against the account in a box."""

from typing import Any

import pytest

from shared.admin.orgs.klaviyo import SCOPE_BUYS
from shared.crypto import KeyRing
from tests.component.cli.rig import KEY, OTHER_KEY, Box, Cli

WEBHOOK = {"type": "send-webhook", "url": "http://127.0.0.1:1/api/generate/acme", "body": "{}"}
DELAY = {"type": "time-delay", "unit": "minutes", "value": 3}
EMAIL = {"type": "send-email", "name": "Welcome email", "subject": "s", "html": "h"}


@pytest.fixture
def acme(acme: Cli, box: Box) -> Cli:
    """In the time of the box, which goes faster."""
    return acme.with_settings(clock=box.clock)


def connect(cli: Cli, box: Box, key: str) -> str:
    return cli.ok("klaviyo", "connect", "acme", "--base-url", box.url, "--key-stdin", given=key + "\n")


def integration(cli: Cli) -> dict[str, Any]:
    [row] = cli.rows("SELECT * FROM integrations")
    return row


def test_a_key_is_verified_sealed_and_never_stored_or_shown_as_it_is(acme: Cli, box: Box) -> None:
    key = box.key()

    said = connect(acme, box, key)

    stored = integration(acme)
    assert f"(key …{key[-4:]})" in said
    assert key not in said
    assert key not in acme.everything()
    assert KeyRing(KEY).open(stored["sealed_key"], f"{stored['org_id']}/klaviyo") == key
    assert set(stored["scopes"]) == {"profiles:write", "flows:read", "campaigns:read", "metrics:read"}
    assert stored["account_key"].startswith("key:")
    assert key[:12] not in stored["account_key"]


def test_what_each_scope_buys_is_shown_beside_whether_the_key_has_it(acme: Cli, box: Box) -> None:
    said = connect(acme, box, box.key())

    seen = {
        line.split()[0]: line.split()[1] for line in said.splitlines() if line.split()[:1] and ":" in line.split()[0]
    }
    assert set(seen) == set(SCOPE_BUYS)
    assert (seen["profiles:write"], seen["events:read"]) == ("yes", "no")


def test_a_key_that_may_read_the_account_shares_its_quota_by_the_accounts_id(acme: Cli, box: Box) -> None:
    said = connect(acme, box, box.key("profiles:write", "accounts:read"))

    assert said.startswith("Connected acme to Acme Coffee (key …")
    assert integration(acme)["account_key"] == f"acct:{box.account.rpartition('/')[2]}"


def test_a_key_that_may_not_write_profiles_is_stored_with_a_loud_word(acme: Cli, box: Box) -> None:
    result = acme.run(
        "klaviyo", "connect", "acme", "--base-url", box.url, "--key-stdin", given=box.key("flows:read") + "\n"
    )

    assert result.exit_code == 0
    assert "every email shows the control content" in result.stderr


@pytest.mark.parametrize("wrong", ["pk_wrong", "päßword", ""])
def test_a_wrong_key_is_one_line_and_the_key_that_was_there_stays(acme: Cli, box: Box, wrong: str) -> None:
    connect(acme, box, box.key())
    before = integration(acme)

    message = acme.line("klaviyo", "connect", "acme", "--base-url", box.url, "--key-stdin", given=wrong + "\n")

    assert message.endswith("(key_refused)")
    assert wrong == "" or wrong not in message
    assert integration(acme) == before


def test_a_new_key_replaces_the_old_one_and_is_seen_as_new(acme: Cli, box: Box) -> None:
    connect(acme, box, box.key())
    before = integration(acme)

    connect(acme, box, box.key())

    after = integration(acme)
    assert after["updated_at"] > before["updated_at"]
    assert after["sealed_key"] != before["sealed_key"]


def test_a_klaviyo_out_of_reach_and_an_address_that_is_none_are_one_line(acme: Cli) -> None:
    given = "pk_0123456789\n"

    nobody = acme.line("klaviyo", "connect", "acme", "--base-url", "http://127.0.0.1:1", "--key-stdin", given=given)
    no_url = acme.line("klaviyo", "connect", "acme", "--base-url", "a.klaviyo.example", "--key-stdin", given=given)

    assert nobody.endswith("(klaviyo_unreachable)")
    assert no_url == "--base-url: 'a.klaviyo.example' must begin with https://."


def test_flows_are_read_with_actions_messages_and_the_delay_before_each_email(acme: Cli, box: Box) -> None:
    flow = box.ask("POST", "/flows", {"name": "Welcome", "actions": [WEBHOOK, DELAY, EMAIL]})
    bare = box.ask("POST", "/flows", {"name": "Bare", "actions": [EMAIL]})
    connect(acme, box, box.key())

    said = acme.ok("flows", "sync", "acme")
    again = acme.ok("flows", "sync", "acme")

    email = flow["actions"][2]
    stored = {row["flow_id"]: row for row in acme.rows("SELECT * FROM flow_messages")}
    assert set(stored) == {flow["id"], bare["id"]}
    assert (stored[flow["id"]]["action_id"], stored[flow["id"]]["message_id"]) == (email["id"], email["message_id"])
    assert (stored[flow["id"]]["delay_s"], stored[bare["id"]]["delay_s"]) == (180, None)
    assert "180 s" in said
    assert "no webhook before it" in said
    assert again == said


def test_a_flow_that_is_gone_is_forgotten_at_the_next_reading(acme: Cli, box: Box) -> None:
    flow = box.ask("POST", "/flows", {"name": "Welcome", "actions": [WEBHOOK, EMAIL]})
    connect(acme, box, box.key())
    acme.ok("flows", "sync", "acme")
    box.ask("PATCH", f"/flows/{flow['id']}", {"archived": True})

    said = acme.ok("flows", "sync", "acme")

    assert said == "The account has no flow with an email in it.\n"
    assert acme.rows("SELECT * FROM flow_messages") == []


def test_emails_of_a_control_step_stay_known_while_a_template_names_it(acme: Cli, box: Box) -> None:
    flow = box.ask("POST", "/flows", {"name": "Welcome", "actions": [WEBHOOK, EMAIL, EMAIL]})
    connect(acme, box, box.key())
    acme.ok("flows", "sync", "acme")
    control = flow["actions"][2]["id"]
    acme.rows(
        "INSERT INTO templates (org_id, template_id, name, control_action_id, created_at, updated_at) "
        "SELECT org_id, 'welcome', 'Welcome', $1, created_at, created_at FROM orgs", control,
    )  # fmt: skip
    acme.rows("INSERT INTO flow_messages SELECT org_id, flow_id, flow_name, 'draft', action_id, 'BEFORE', 'B', 60, "
              "synced_at FROM flow_messages WHERE action_id = $1", control)  # fmt: skip
    kept = "SELECT message_id = 'BEFORE' AS before, action_id, flow_status, delay_s FROM flow_messages ORDER BY 1, 2"

    acme.ok("flows", "sync", "acme")
    of_the_flow = acme.rows(kept)
    box.ask("PATCH", f"/flows/{flow['id']}", {"archived": True})
    acme.ok("flows", "sync", "acme")
    of_none = acme.rows(kept)
    acme.rows("UPDATE templates SET control_action_id = NULL")
    acme.ok("flows", "sync", "acme")

    status = of_the_flow[0]["flow_status"]
    assert status != "gone"
    assert of_the_flow[-1] == {"before": True, "action_id": control, "flow_status": status, "delay_s": None}
    gone = {"action_id": control, "flow_status": "gone", "delay_s": None}
    assert of_none == [{"before": before} | gone for before in (False, True)]
    assert acme.rows("SELECT * FROM flow_messages") == []


def test_flows_that_cannot_be_read_leave_what_was_known(acme: Cli, box: Box) -> None:
    box.ask("POST", "/flows", {"name": "Welcome", "actions": [WEBHOOK, EMAIL]})
    key = box.key()
    connect(acme, box, key)
    acme.ok("flows", "sync", "acme")
    box.ask("DELETE", f"/keys/{key}")

    message = acme.line("flows", "sync", "acme")

    assert message.endswith("(key_refused)")
    assert acme.value("SELECT count(*) FROM flow_messages") == 1


def test_campaigns_are_read_beside_flows_and_those_that_are_gone_forgotten(acme: Cli, box: Box) -> None:
    box.ask("POST", "/flows", {"name": "Welcome", "actions": [WEBHOOK, EMAIL]})
    campaign = box.ask("POST", "/campaigns", {"name": "May sale"})
    acme.rows(
        "INSERT INTO campaign_messages SELECT org_id, 'C0', 'Gone', 'Sent', 'M0', 'Gone', '2026-11-01Z' FROM orgs"
    )
    connect(acme, box, box.key())

    said = acme.ok("flows", "sync", "acme")

    [stored] = acme.rows("SELECT * FROM campaign_messages")
    assert (stored["campaign_name"], stored["campaign_status"]) == ("May sale", "Sent")
    assert (stored["campaign_id"], stored["message_id"]) == (campaign["id"], campaign["message_id"])
    assert "May sale" in said
    assert acme.ok("flows", "list", "acme") == said
    reads = acme.rows("SELECT kind, found, problem, read_at = tried_at AS worked FROM klaviyo_reads ORDER BY kind")
    assert reads == [{"kind": kind, "found": 1, "problem": None, "worked": True} for kind in ("campaigns", "flows")]
    assert "1 campaign with an email known" in acme.run("check", "acme").stdout


def test_a_key_that_may_not_read_campaigns_still_reads_flows_and_says_so(acme: Cli, box: Box) -> None:
    box.ask("POST", "/flows", {"name": "Welcome", "actions": [WEBHOOK, EMAIL]})
    acme.rows(
        "INSERT INTO campaign_messages SELECT org_id, 'C0', 'Kept', 'Sent', 'M0', 'Kept', '2026-11-01Z' FROM orgs"
    )
    connect(acme, box, box.key("profiles:write", "flows:read"))

    result = acme.run("flows", "sync", "acme")

    assert result.exit_code == 0
    assert "Campaigns could not be read: the key lacks the scope Campaigns: Read." in result.stderr
    assert "Kept" in result.stdout
    assert acme.value("SELECT count(*) FROM flow_messages") == 1
    assert acme.value("SELECT read_at FROM klaviyo_reads WHERE kind = 'campaigns'") is None


def test_an_org_that_is_not_connected_is_told_how_to(acme: Cli) -> None:
    assert acme.line("flows", "sync", "acme") == "Not connected to Klaviyo yet: justai klaviyo connect acme"


# --- the ring --------------------------------------------------------------------------------------------------------


def test_a_key_sealed_with_a_key_that_is_gone_says_which_to_bring_back(acme: Cli, box: Box) -> None:
    connect(acme, box, box.key())

    message = acme.with_settings(seal_keys=OTHER_KEY).line("flows", "sync", "acme")

    assert "sealed with key 'k1'" in message
    assert "JUSTAI_SEAL_KEYS" in message
