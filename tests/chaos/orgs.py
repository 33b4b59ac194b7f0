"""The rig's orgs: rows as `justai` makes them, an account in the box and a flow each. Straight into the database,
because a command a row would take longer than the fault."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
import asyncpg

from demo.box import Box, FlowIds
from devstack import Endpoints
from devstack.seeds import INSERT_ORG
from shared.api_keys import Peppers, mint, shown
from shared.clock import Clock
from shared.crypto import KeyRing
from shared.klaviyo import bulk
from shared.snippet import Control, marker, snippet

TEMPLATE = "welcome"
DELAY_S = 180
WINDOW_S = 600
_WRITING = ["profiles:write"]

INSERT_KEY = """
    INSERT INTO api_keys (key_id, org_id, name, shown, digest, pepper, created_at)
    VALUES ($1, $2, 'rig', $3, $4, $5, $6)
"""
INSERT_TEMPLATE = """
    INSERT INTO templates (org_id, template_id, name, state, delay_s, send_window_s, created_at, updated_at)
    VALUES ($1, 'welcome', 'Welcome', 'active', $2, $3, $4, $4)
"""
INSERT_VARIANT = """
    INSERT INTO variants (org_id, copy_id, template_id, name, state, created_at, updated_at)
    VALUES ($1, $2, 'welcome', 'A', 'approved', $3, $3)
"""
INSERT_VERSION = """
    INSERT INTO variant_versions (org_id, copy_id, version, subject, preheader, body, created_at)
    VALUES ($1, $2, 1, 'Hi {{ first_name }}', 'For you', '<p>Dear {{ first_name }}, welcome.</p>', $3)
"""
INSERT_INTEGRATION = """
    INSERT INTO integrations (org_id, account_key, base_url, sealed_key, last4, scopes, updated_at)
    VALUES ($1, $2, $3, $4, '....', $5, $6)
"""
INSERT_TARGET = """
    INSERT INTO export_targets (org_id, bucket, prefix, endpoint_url, access_key, sealed_secret, cadence, created_at,
                                updated_at, record)
    VALUES ($1, $2, $3, $4, $5, $6, 'hourly', $7, $7, $8)
"""

INSERT_SOURCE = """
    INSERT INTO sources (source_id, org_id, host, port, username, path, pattern, host_key, sealed_key, poll_s)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""


@dataclass(frozen=True, slots=True)
class Org:
    """One customer."""

    slug: str
    org_id: UUID
    api_key: str
    private_key: str
    account_id: str
    box: Box
    flow: FlowIds
    people: Sequence[str]


@dataclass(frozen=True, slots=True)
class Places:
    """Where an org's things are."""

    endpoints: Endpoints
    bucket: str
    gateway_url: str
    simulator_url: str
    seal_keys: str
    peppers: str
    event_folder: str  # as the SFTP client says it

    @property
    def sftp_key(self) -> str:
        return Path(self.endpoints.sftp_client_key_path).read_text()


async def add_org(
    database: "asyncpg.Pool[asyncpg.Record]", http: aiohttp.ClientSession, clock: Clock, places: Places, slug: str,
    people: int, *, imports: bool = False, poll_s: int = 1,
) -> Org:  # fmt: skip
    """An org with a served template, an account with people and a flow for it, and a bucket. `imports`: its key may
    also make import jobs."""
    org_id, copy_id, api_key, now = uuid4(), uuid4(), mint(os.urandom), clock.now()
    box = Box(http, places.simulator_url)
    private_key = await box.open_account(slug, scopes="all" if imports else "page")
    account_id = box.account_id
    flow = await box.add_flow(slug, TEMPLATE, places.gateway_url, slug, api_key, delay_min=DELAY_S // 60, attrs={})
    pasted = snippet(
        "jai", marker(TEMPLATE, flow.flow_id, flow.treatment_action_id), Control("This week", "Hello", "<p>Ours.</p>")
    )
    await box.paste(flow, pasted)
    ids = await box.add_people([{"email": f"p{n}@{slug}.example", "first_name": f"Ann{n}"} for n in range(people)])
    ring = KeyRing(places.seal_keys)
    sealed = ring.seal(private_key, f"{org_id}/klaviyo")
    secret = ring.seal(places.endpoints.s3_secret_key, f"{org_id}/export")
    source_id, at = uuid4(), places.endpoints
    key = ring.seal(places.sftp_key, f"{org_id}/source/{source_id}")
    scopes = sorted(bulk.SCOPES) if imports else _WRITING
    pepper, digest = Peppers(places.peppers).digest(api_key)
    rows: list[tuple[str, tuple[object, ...]]] = [
        (INSERT_ORG, (org_id, slug, now)),
        (INSERT_KEY, (uuid4(), org_id, shown(api_key), digest, pepper, now)),
        (INSERT_TEMPLATE, (org_id, DELAY_S, WINDOW_S, now)),
        (INSERT_VARIANT, (org_id, copy_id, now)),
        (INSERT_VERSION, (org_id, copy_id, now)),
        (INSERT_INTEGRATION, (org_id, f"acct:{account_id}", places.simulator_url, sealed, scopes, now)),
        (
            INSERT_TARGET,
            (org_id, places.bucket, slug, places.endpoints.s3_endpoint, places.endpoints.s3_access_key, secret, now,
             "analyst"),
        ),
        (
            INSERT_SOURCE,
            (source_id, org_id, at.sftp_host, at.sftp_port, at.sftp_user, places.event_folder,
             f"klaviyo_events_{account_id}*", at.sftp_host_key, key, poll_s),
        ),
    ]  # fmt: skip
    async with database.acquire() as connection, connection.transaction():
        for statement, values in rows:
            await connection.execute(statement, *values)
    return Org(slug, org_id, api_key, private_key, account_id, box, flow, ids)
