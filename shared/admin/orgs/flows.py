"""Flows, campaigns and their messages as last read from Klaviyo ("Refresh Klaviyo Data"): the map from events to steps,
with delays, and the names of campaigns' emails."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from shared.admin.context import Asking, Context
from shared.admin.operation import Nothing, ResultModel, operation, operation_after
from shared.admin.orgs.klaviyo import client, stored_key
from shared.errors import Failure
from shared.klaviyo.campaigns import CampaignMessage, read_campaign_messages
from shared.klaviyo.flows import FlowMessage, read_flow_messages

# Emails of a step that a template names as control's are known by this alone, also those that it sends no more.
DELETE_FLOW_MESSAGES = """
    DELETE FROM flow_messages m WHERE org_id = $1 AND NOT EXISTS (
        SELECT FROM templates t WHERE t.org_id = $1 AND t.control_action_id = m.action_id)
"""
UPSERT_FLOW_MESSAGE = """
    INSERT INTO flow_messages (org_id, flow_id, flow_name, flow_status, action_id, message_id, message_name, delay_s,
                               synced_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (org_id, action_id, message_id) DO UPDATE SET
        flow_id = excluded.flow_id, flow_name = excluded.flow_name, flow_status = excluded.flow_status,
        message_name = excluded.message_name, delay_s = excluded.delay_s, synced_at = excluded.synced_at
"""
# What was kept, and not read now.
AGE_FLOW_MESSAGES = """
    UPDATE flow_messages m SET delay_s = NULL, flow_status = coalesce((
        SELECT min(f.flow_status) FROM flow_messages f
        WHERE f.org_id = $1 AND f.flow_id = m.flow_id AND f.synced_at = $2), 'gone')
    WHERE org_id = $1 AND synced_at <> $2
"""
SELECT_FLOW_MESSAGES = """
    SELECT flow_id, flow_name, flow_status, action_id, message_id, message_name, delay_s, synced_at
    FROM flow_messages WHERE org_id = $1 ORDER BY flow_name, flow_id, action_id, message_id
"""
DELETE_CAMPAIGN_MESSAGES = "DELETE FROM campaign_messages WHERE org_id = $1"
INSERT_CAMPAIGN_MESSAGE = """
    INSERT INTO campaign_messages (org_id, campaign_id, campaign_name, campaign_status, message_id, message_name,
                                   synced_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (org_id, message_id) DO NOTHING
"""
SELECT_CAMPAIGN_MESSAGES = """
    SELECT campaign_id, campaign_name, campaign_status, message_id, message_name
    FROM campaign_messages WHERE org_id = $1 ORDER BY campaign_name, campaign_id, message_id
"""
UPSERT_READ = """
    INSERT INTO klaviyo_reads (org_id, kind, tried_at, read_at, found) VALUES ($1, $2, $3, $3, $4)
    ON CONFLICT (org_id, kind) DO UPDATE SET
        tried_at = excluded.tried_at, read_at = excluded.read_at, found = excluded.found, problem = NULL
"""
UPSERT_UNREAD = """
    INSERT INTO klaviyo_reads (org_id, kind, tried_at, problem) VALUES ($1, $2, $3, $4)
    ON CONFLICT (org_id, kind) DO UPDATE SET tried_at = excluded.tried_at, problem = excluded.problem
"""
SELECT_READS = "SELECT kind, read_at, problem FROM klaviyo_reads WHERE org_id = $1"


class EmailStep(ResultModel):
    """One email of one flow. `delay_s`: from our webhook to it; null: no webhook of ours comes before it.
    `flow_status`: as Klaviyo says it; `gone`: the account has the flow no more, and a template still counts the email
    as control's."""

    flow_id: str
    flow_name: str
    flow_status: str
    action_id: str
    message_id: str
    message_name: str
    delay_s: int | None


class CampaignEmail(ResultModel):
    """One email of one campaign; its events name the message, and no flow."""

    campaign_id: str
    campaign_name: str
    campaign_status: str
    message_id: str
    message_name: str


class Flows(ResultModel):
    """`synced_at`, `campaigns_synced_at`: when they were read; null: never. `campaigns_problem`: why campaigns could
    not be read when that was tried last; those that are shown were read before."""

    steps: list[EmailStep]
    synced_at: datetime | None
    campaigns: list[CampaignEmail]
    campaigns_synced_at: datetime | None
    campaigns_problem: str | None


@dataclass(frozen=True, slots=True)
class _Found:
    """What was read; of campaigns, that or why not."""

    steps: Sequence[FlowMessage]
    campaigns: Sequence[CampaignMessage]
    problem: str | None


async def _read(asking: Asking, _: Nothing) -> _Found:
    """Flows are needed; a key that may not read campaigns must not keep them away."""
    klaviyo = client(asking, *await stored_key(asking))
    steps = await read_flow_messages(klaviyo)
    try:
        return _Found(steps, await read_campaign_messages(klaviyo), None)
    except Failure as error:
        lacks = "the key lacks the scope Campaigns: Read"
        return _Found(steps, (), lacks if error.reason == "scope_missing" else str(error))


@operation_after(
    _read, "flows.sync", "POST", "/flows/sync", "editor",
    "Read flows, their emails and the delay before each, and campaigns from Klaviyo; needs flows:read.",
)  # fmt: skip
async def sync(context: Context, _: Nothing, found: _Found) -> Flows:
    rows = [
        (
            context.org_id, one.flow_id, one.flow_name, one.flow_status, one.action_id, one.message_id,
            one.message_name, one.delay_s, context.now,
        )
        for one in found.steps
    ]  # fmt: skip
    await context.connection.execute(DELETE_FLOW_MESSAGES, context.org_id)
    await context.connection.executemany(UPSERT_FLOW_MESSAGE, rows)
    await context.connection.execute(AGE_FLOW_MESSAGES, context.org_id, context.now)
    flows = len({one.flow_id for one in found.steps})
    await context.connection.execute(UPSERT_READ, context.org_id, "flows", context.now, flows)
    await _keep_campaigns(context, found)
    return await _shown(context)


async def _keep_campaigns(context: Context, found: _Found) -> None:
    """Those that were read before stay where they cannot be read now."""
    if found.problem is not None:
        await context.connection.execute(UPSERT_UNREAD, context.org_id, "campaigns", context.now, found.problem)
        return
    rows = [(context.org_id, *asdict(one).values(), context.now) for one in found.campaigns]
    await context.connection.execute(DELETE_CAMPAIGN_MESSAGES, context.org_id)
    await context.connection.executemany(INSERT_CAMPAIGN_MESSAGE, rows)
    campaigns = len({one.campaign_id for one in found.campaigns})
    await context.connection.execute(UPSERT_READ, context.org_id, "campaigns", context.now, campaigns)


@operation(
    "flows.list", "GET", "/flows", "viewer", "List the emails of all flows and campaigns as they were last read."
)
async def list_flows(context: Context, _: Nothing) -> Flows:
    return await _shown(context)


async def _shown(context: Context) -> Flows:
    connection, org_id = context.connection, context.org_id
    reads = {row["kind"]: row for row in await connection.fetch(SELECT_READS, org_id)}
    flows, campaigns = reads.get("flows"), reads.get("campaigns")
    rows = [dict(row) for row in await connection.fetch(SELECT_FLOW_MESSAGES, org_id)]
    moments = [row.pop("synced_at") for row in rows] + ([flows["read_at"]] if flows and flows["read_at"] else [])
    return Flows(
        steps=[EmailStep(**row) for row in rows],
        synced_at=max(moments, default=None),
        campaigns=[CampaignEmail(**dict(row)) for row in await connection.fetch(SELECT_CAMPAIGN_MESSAGES, org_id)],
        campaigns_synced_at=campaigns["read_at"] if campaigns else None,
        campaigns_problem=campaigns["problem"] if campaigns else None,
    )
