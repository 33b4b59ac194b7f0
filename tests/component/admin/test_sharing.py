"""Two orgs on one Klaviyo account: neither takes the other's prefix unawares, and neither learns what the other has."""

import pytest

from shared.admin.checks import checks
from shared.admin.errors import Refused
from shared.admin.operation import Nothing
from shared.admin.templates import prefixes, settings, templates, writing
from tests.component.admin.draft_stage import TEMPLATE
from tests.component.admin.rig import START, Rig

INSERT_INTEGRATION = """
    INSERT INTO integrations (org_id, account_key, sealed_key, last4, updated_at) VALUES ($1, $2, 'x', '1234', $3)
"""
INSERT_FLOW = """
    INSERT INTO flow_messages (org_id, flow_id, flow_name, flow_status, action_id, message_id, message_name, synced_at)
    VALUES ($1, $2, 'Theirs alone', 'live', 'A1', 'M1', 'Email', $3)
"""


async def on_account(org: Rig, account_key: str) -> None:
    await org.rows(INSERT_INTEGRATION, org.org_id, account_key, START)


async def made(org: Rig, template_id: str, prefix: str) -> templates.Template:
    asked = {
        "template_id": template_id,
        "name": template_id,
        "property_prefix": prefix,
        "subject": "Hi",
        "body": "<p/>",
    }
    return await org.run(writing.create, asked)


async def told(org: Rig) -> list[str]:
    found = await org.run(checks.run_checks, Nothing())
    return [one.says for item in found.items for one in item.findings]


async def test_a_prefix_that_another_org_of_the_account_has_is_refused_and_its_template_is_not_named(acme: Rig) -> None:
    other = await acme.other()
    await on_account(acme, "acct:A1")
    await on_account(other, "acct:A1")
    await made(other, "secret-sale", "jai")

    with pytest.raises(Refused, match="another org writes to jai_") as refused:
        await made(acme, "welcome", "jai")
    assert [one.field for one in refused.value.faults] == ["property_prefix"]
    assert "secret" not in str(refused.value)
    free = await acme.run(prefixes.free_prefix, Nothing())
    assert free.property_prefix == "jai2"
    await made(acme, "welcome", "acme")
    with pytest.raises(Refused, match="another org"):
        await acme.run(settings.set_template, {"template_id": "welcome", "property_prefix": "jai"})
    await made(other, "own", "jai")  # one's own may be shared
    imported = await acme.run(templates.import_template, {"template": {**TEMPLATE, "property_prefix": "jai"}})
    assert any("another org writes to jai_" in one for one in imported.warnings)


async def test_what_has_the_prefix_already_stays_as_it_is_and_troubleshooting_names_the_orgs_own(acme: Rig) -> None:
    other = await acme.other()
    await made(acme, "welcome", "jai")
    await made(other, "secret-sale", "jai")
    await on_account(acme, "acct:A1")
    await on_account(other, "acct:A1")
    await acme.rows("UPDATE templates SET state = 'active'")

    renamed = await acme.run(
        settings.set_template, {"template_id": "welcome", "property_prefix": "jai", "name": "Hello"}
    )
    found = await acme.run(checks.run_checks, Nothing())

    assert renamed.template.name == "Hello"
    [shared] = [one for item in found.items for one in item.findings if "same properties" in one.says]
    assert (shared.tone, shared.examples) == ("warn", ("Hello",))
    assert "secret" not in found.model_dump_json()


async def test_orgs_of_other_accounts_and_archived_templates_hold_no_prefix(acme: Rig) -> None:
    other, third = await acme.other(), await acme.other("third")
    for org, account_key in ((acme, "acct:A1"), (other, "acct:A2"), (third, "acct:A1")):
        await on_account(org, account_key)
    await made(other, "theirs", "jai")
    await made(third, "old", "jai")
    await acme.rows("UPDATE templates SET state = 'archived' WHERE template_id = 'old'")

    assert (await made(acme, "welcome", "jai")).property_prefix == "jai"


@pytest.mark.parametrize(
    ("ours", "theirs", "flow_id", "said"),
    [
        ("key:1", "key:2", "FLOW01", True),
        ("key:1", "acct:A1", "FLOW01", True),
        ("acct:A1", "key:2", "FLOW01", False),
        ("key:1", "key:1", "FLOW01", False),
        ("key:1", "key:2", "FLOW02", False),
    ],
)
async def test_two_orgs_that_read_the_same_flow_are_told_that_they_may_share_an_account(
    acme: Rig, ours: str, theirs: str, flow_id: str, said: bool
) -> None:
    other = await acme.other()
    await on_account(acme, ours)
    await on_account(other, theirs)
    await acme.rows(INSERT_FLOW, acme.org_id, "FLOW01", START)
    await acme.rows(INSERT_FLOW, other.org_id, flow_id, START)

    assert any("may be on one Klaviyo account" in one for one in await told(acme)) == said
