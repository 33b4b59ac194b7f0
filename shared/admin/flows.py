"""Flows and messages as last read from Klaviyo ("Refresh Klaviyo Data"): the map from events to steps, with delays."""

from dataclasses import asdict
from datetime import datetime

from shared.admin.context import Asking, Context
from shared.admin.klaviyo import client, stored_key
from shared.admin.operation import Nothing, ResultModel, operation, operation_after
from shared.klaviyo.flows import FlowMessage, read_flow_messages

DELETE_FLOW_MESSAGES = "DELETE FROM flow_messages WHERE org_id = $1"
INSERT_FLOW_MESSAGE = """
    INSERT INTO flow_messages (org_id, flow_id, flow_name, flow_status, action_id, message_id, message_name, delay_s,
                               synced_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
SELECT_FLOW_MESSAGES = """
    SELECT flow_id, flow_name, flow_status, action_id, message_id, message_name, delay_s, synced_at
    FROM flow_messages WHERE org_id = $1 ORDER BY flow_name, flow_id, action_id, message_id
"""


class EmailStep(ResultModel):
    """One email of one flow. `delay_s`: from our webhook to it; null: no webhook of ours comes before it."""

    flow_id: str
    flow_name: str
    flow_status: str
    action_id: str
    message_id: str
    message_name: str
    delay_s: int | None


class Flows(ResultModel):
    """`synced_at`: when they were read; null: never, or there was none."""

    steps: list[EmailStep]
    synced_at: datetime | None


async def _read(asking: Asking, _: Nothing) -> list[FlowMessage]:
    return await read_flow_messages(client(asking, *await stored_key(asking)))


@operation_after(
    _read, "flows.sync", "POST", "/flows/sync", "editor",
    "Read flows, their emails and the delay before each from Klaviyo; needs flows:read.",
)  # fmt: skip
async def sync(context: Context, _: Nothing, found: list[FlowMessage]) -> Flows:
    rows = [
        (
            context.org_id, one.flow_id, one.flow_name, one.flow_status, one.action_id, one.message_id,
            one.message_name, one.delay_s, context.now,
        )
        for one in found
    ]  # fmt: skip
    await context.connection.execute(DELETE_FLOW_MESSAGES, context.org_id)
    await context.connection.executemany(INSERT_FLOW_MESSAGE, rows)
    return Flows(steps=[EmailStep(**asdict(one)) for one in found], synced_at=context.now)


@operation("flows.list", "GET", "/flows", "viewer", "List the emails of all flows as they were last read.")
async def list_flows(context: Context, _: Nothing) -> Flows:
    rows = [dict(row) for row in await context.connection.fetch(SELECT_FLOW_MESSAGES, context.org_id)]
    synced_at = max((row.pop("synced_at") for row in rows), default=None)
    return Flows(steps=[EmailStep(**row) for row in rows], synced_at=synced_at)
