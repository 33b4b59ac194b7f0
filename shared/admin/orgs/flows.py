"""Flows, campaigns and their messages as last read from Klaviyo ("Refresh Klaviyo Data"): the map from events to steps,
with delays, and the names of campaigns' emails."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from shared.admin.context import Asking, Context
from shared.admin.operation import Nothing, ResultModel, operation, operation_after
from shared.admin.orgs.klaviyo import client, stored_key
from shared.errors import Failure
from shared.flow_map import UPSERT_READ, UPSERT_UNREAD, keep_flows
from shared.klaviyo.campaigns import CampaignMessage, read_campaign_messages
from shared.klaviyo.flows import FlowMessage, read_flow_messages

SELECT_FLOW_MESSAGES = """
    SELECT flow_id, flow_name, flow_status, action_id, message_id, message_name, delay_s,
        CASE WHEN NOT open_ended THEN greatest(delay_s, latest_s) END AS latest_s, delay_changed_at, synced_at
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
SELECT_READS = "SELECT kind, read_at, problem FROM klaviyo_reads WHERE org_id = $1"


class EmailStep(ResultModel):
    """One email of one flow. `delay_s`: from our webhook to it, at least; null: no webhook of ours comes before it.
    `latest_s`: at most, as a delay until a time of day or a longer branch may take; null: nobody knows, for the flow
    waits for a date or for goods. `delay_changed_at`: when another wait was read than before. `flow_status`: as Klaviyo
    says it; `gone`: the account has the flow no more, and its emails are still counted."""

    flow_id: str
    flow_name: str
    flow_status: str
    action_id: str
    message_id: str
    message_name: str
    delay_s: int | None
    latest_s: int | None
    delay_changed_at: datetime | None


class CampaignEmail(ResultModel):
    """One email of one campaign; its events name the message, and no flow."""

    campaign_id: str
    campaign_name: str
    campaign_status: str
    message_id: str
    message_name: str


class Flows(ResultModel):
    """`synced_at`, `campaigns_synced_at`: when they were read; null: never. `problem`, `campaigns_problem`: why they
    could not be read when that was tried last; those that are shown were read before. Flows that templates use are read
    every hour by themselves."""

    steps: list[EmailStep]
    synced_at: datetime | None
    problem: str | None
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
    await keep_flows(context.connection, context.org_id, found.steps, context.now)
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
        problem=flows["problem"] if flows else None,
        campaigns=[CampaignEmail(**dict(row)) for row in await connection.fetch(SELECT_CAMPAIGN_MESSAGES, org_id)],
        campaigns_synced_at=campaigns["read_at"] if campaigns else None,
        campaigns_problem=campaigns["problem"] if campaigns else None,
    )
