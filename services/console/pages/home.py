"""An org's home: what is set up, what is next, what happened lately."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from aiohttp import web

from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.db.pool import Connection

pages = Pages()

_LATELY = timedelta(hours=24)

SELECT_SET_UP = """
    SELECT
        (SELECT account_name FROM integrations) AS account_name,
        (SELECT verified_at FROM integrations) AS verified_at,
        EXISTS (SELECT FROM integrations) AS connected,
        (SELECT count(*) FROM api_keys
            WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)) AS keys,
        (SELECT greatest(max(synced_at), (SELECT read_at FROM klaviyo_reads WHERE kind = 'flows'))
            FROM flow_messages) AS synced_at,
        (SELECT count(*) FROM templates WHERE state <> 'archived') AS templates,
        (SELECT count(*) FROM templates WHERE state IN ('active', 'shipped')) AS live,
        (SELECT count(*) FROM variants WHERE state = 'approved') AS approved,
        (SELECT stopped_at FROM orgs) AS stopped_at
"""
SELECT_LATELY = """
    SELECT count(*) AS asked, count(*) FILTER (WHERE decision = 'treatment') AS treated,
        max(accepted_at) AS last_at
    FROM generations WHERE day >= $1::date AND accepted_at >= $2
"""


@dataclass(frozen=True, slots=True)
class SetUp:
    """What there is of everything that a first email needs."""

    account_name: str | None
    verified_at: datetime | None
    connected: bool
    keys: int
    synced_at: datetime | None
    templates: int
    live: int
    approved: int
    stopped_at: datetime | None


@dataclass(frozen=True, slots=True)
class Step:
    """One thing on the way to the first email."""

    title: str
    done: bool
    what: str
    command: str
    area: str  # the page of the console where it is done, where there is one


def steps(org_slug: str, there: SetUp) -> list[Step]:
    """In the order in which they are done."""
    return [
        Step("Connect Klaviyo", there.connected,
             f"Connected to {there.account_name or 'Klaviyo'}" if there.connected
             else "Paste a private key; it is verified and sealed.",
             f"justai klaviyo connect {org_slug}", "integration"),
        Step("Create a JustAI API key", there.keys > 0,
             f"{there.keys} in use" if there.keys else "The webhook sends it as X-Api-Key.",
             f"justai key create {org_slug} webhook", "keys"),
        Step("Refresh Klaviyo data", there.synced_at is not None,
             "Flows and messages are known" if there.synced_at else "Reads the flows and messages of the account.",
             f"justai flows sync {org_slug}", "integration"),
        Step("Write a template with its variants", there.approved > 0,
             f"{there.approved} approved variants" if there.approved
             else "A template belongs to one email of a flow; its variants are the copy.",
             f"justai template import {org_slug} welcome.yaml", "templates"),
        Step("Set it live", there.live > 0,
             f"{there.live} of {there.templates} templates live" if there.live
             else "Paste the webhook and the snippet into Klaviyo, then set the template active.",
             f"justai webhook {org_slug} welcome", "templates"),
    ]  # fmt: skip


@pages.page("GET", "/{org}/", role="viewer")
async def home(visit: Visit) -> web.StreamResponse:
    """The first page of an org."""
    async with visit.transaction() as connection:
        there = await _set_up(connection, visit.now)
        since = visit.now - _LATELY
        lately = await connection.fetchrow(SELECT_LATELY, since, since)
    to_do = steps(visit.org.slug, there)
    return visit.render("home.html", there=there, steps=to_do, ready=all(step.done for step in to_do), lately=lately)


async def _set_up(connection: Connection, now: datetime) -> SetUp:
    row = await connection.fetchrow(SELECT_SET_UP, now)
    if row is None:
        raise RuntimeError("a statement without a table answered nothing")
    return SetUp(**row)
