"""Webhooks of a cloned flow, from the header that Klaviyo sends to what Troubleshooting says."""

from datetime import UTC, datetime

from shared.admin.checks.facts import Sharing, read_facts
from shared.admin.checks.rules import judge
from tests.component.gateway.rig import USER, Rig, webhook
from tests.support.waiting import eventually

SELECT_STRAYS = """
    SELECT slug, flow_id, named_flow_id, template_id, sum(webhooks)::int AS webhooks
    FROM stray_webhooks JOIN orgs USING (org_id) GROUP BY 1, 2, 3, 4
"""
INSERT_OLD = """
    INSERT INTO stray_webhooks (org_id, day, flow_id, named_flow_id, template_id, webhooks, last_at)
    VALUES ($1, '2026-01-01', 'OLD', 'FLOW01', 'welcome', 1, '2026-01-01')
"""


async def told(rig: Rig) -> list[tuple[object, ...]]:
    async with rig.db.connection() as connection:
        return [tuple(row) for row in await connection.fetch(SELECT_STRAYS)]


async def test_a_cloned_flow_is_named_beside_the_one_that_its_webhook_names(rig: Rig) -> None:
    await rig.new_flow(rig.acme, "FLOW01")
    key = await rig.new_key(rig.acme)
    async with rig.db.connection() as connection:
        await connection.execute(INSERT_OLD, rig.acme)

    for flow_id in ("CLONE1", "CLONE1", "FLOW01"):
        status, _, _ = await rig.post(key, headers={"X-Klaviyo-Flow-ID": flow_id})
        assert status == 202
    await rig.post(key)
    await rig.post(key, webhook(tracking_id=f"{USER}.no-place"), headers={"X-Klaviyo-Flow-ID": "CLONE1"})

    async def counted() -> bool:
        return await told(rig) == [("acme", "CLONE1", "FLOW01", "welcome", 2)]

    await eventually(counted, within_s=20)  # and what is old is gone
    found = {}
    for org_id in (rig.acme, rig.other):
        async with rig.db.transaction(org_id) as connection:
            items = judge(await read_facts(connection, org_id, datetime.now(UTC), Sharing()))
        found[org_id] = [one for one in items[0].findings if "named flow" in one.says]
    [finding] = found[rig.acme]
    assert finding.tone == "bad"
    assert "Flow 'CLONE1': 2 webhooks named flow 'Welcome' (template welcome)" in finding.says
    assert "template of its own" in finding.do
    assert found[rig.other] == []
