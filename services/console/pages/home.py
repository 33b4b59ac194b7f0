"""An org's home: what is set up, what is next, what happened lately."""

from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.shown_store import reading_of
from shared.db.pool import Connection

pages = Pages()

_LATELY_H = 24.0

SELECT_SET_UP = """
    SELECT
        (SELECT account_name FROM integrations) AS account_name,
        EXISTS (SELECT FROM integrations) AS connected,
        (SELECT count(*) FROM api_keys
            WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)) AS keys,
        (SELECT count(*) FROM templates WHERE state <> 'archived') AS templates,
        (SELECT count(*) FROM templates WHERE state IN ('active', 'shipped')) AS live,
        (SELECT count(*) FROM templates WHERE state <> 'archived' AND treatment_action_id IS NOT NULL) AS placed,
        (SELECT count(*) FROM variants WHERE state <> 'archived') AS variants,
        (SELECT count(*) FROM variants WHERE state = 'approved') AS approved,
        (SELECT count(*) FROM variants WHERE proposed_state = 'in_review') AS in_review,
        (SELECT template_id FROM templates WHERE state <> 'archived'
            ORDER BY state = 'draft' DESC, created_at DESC, template_id LIMIT 1) AS newest,
        (SELECT count(*) FROM sources WHERE enabled) AS sources,
        EXISTS (SELECT FROM export_targets WHERE enabled) AS exports,
        (SELECT stopped_at FROM orgs) AS stopped_at
"""
SELECT_LATELY = """
    SELECT coalesce(sum(emails), 0)::bigint AS asked,
        coalesce(sum(emails) FILTER (WHERE decision = 'treatment'), 0)::bigint AS treated
    FROM found
"""
SELECT_LAST_AT = """
    SELECT accepted_at FROM generations WHERE day >= $1::date AND accepted_at >= $2
    ORDER BY accepted_at DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class SetUp:
    """What there is of everything that a first email needs, and of what tells how it went. `newest`: the template that
    is worked on, a draft if there is one."""

    account_name: str | None
    connected: bool
    keys: int
    templates: int
    live: int
    placed: int
    variants: int
    approved: int
    in_review: int
    newest: str | None
    sources: int
    exports: bool
    stopped_at: datetime | None


@dataclass(frozen=True, slots=True)
class Step:
    """One thing on the way, `what` to know of it, and where it is done: a path below the org and the link's words.
    `needed`: without it no email shows our copy."""

    title: str
    done: bool
    what: str
    path: tuple[str, ...]
    link: str
    needed: bool = True


def steps(there: SetUp) -> list[Step]:
    """In the order in which they are done."""
    template = ("templates", there.newest) if there.newest else ("templates", "_new")
    return [*_first_steps(there, template), *_last_steps(there, template)]


def _first_steps(there: SetUp, template: tuple[str, ...]) -> list[Step]:
    return [
        Step("Connect Klaviyo", there.connected,
             f"Connected to {there.account_name or 'Klaviyo'}" if there.connected
             else "Paste a private key; it is verified and sealed.",
             ("integration",), "Open Org Integration Settings"),
        Step("Create a JustAI API key", there.keys > 0,
             f"{there.keys} in use" if there.keys else "The webhook sends it as X-Api-Key. Keep it: it is shown once.",
             ("keys",), "Open API keys"),
        Step("Write a template with its variants", there.variants > 0,
             _counted(there.variants, "variant") if there.variants
             else "Now write its variants, the copy that people get." if there.newest
             else "A template belongs to one email of a flow; its variants are the copy.",
             (*template, "variants", "_new") if there.newest else template,
             "Write a variant" if there.newest else "Create a template"),
        Step("Have variants approved", there.approved > 0,
             f"{there.approved} approved" if there.approved
             else f"{_counted(there.in_review, 'version')} waiting for a review." if there.in_review
             else "Nothing is served before somebody approved it. Send a variant into review from its page.",
             ("review",) if there.in_review or not there.newest else template,
             "Open Review" if there.in_review or not there.newest else "Open the template"),
    ]  # fmt: skip


def _last_steps(there: SetUp, template: tuple[str, ...]) -> list[Step]:
    settings = (*template, "settings") if there.newest else template
    return [
        Step("Select Flow and Treatment Message", there.placed > 0,
             _counted(there.placed, "template") + " with an email in Klaviyo" if there.placed
             else "Then paste the webhook and the email snippet into Klaviyo.",
             settings, "Open Integration Settings" if there.newest else "Create a template"),
        Step("Set it live", there.live > 0,
             f"{there.live} of {_counted(there.templates, 'template')} live" if there.live
             else "Run the set-up check, then activate the template on its page.",
             template, "Open the template" if there.newest else "Create a template"),
        Step("Read what people do", there.sources > 0,
             _counted(there.sources, "source") + " of event files" if there.sources
             else "Sends, opens and clicks come from files: results and ranking live on them.",
             ("integration", "sources"), "Open Sources", needed=False),
        Step("Export the records", there.exports,
             "A bucket gets every record" if there.exports
             else "Who received which content, as Parquet in your bucket.",
             ("integration", "export"), "Open Export bucket", needed=False),
    ]  # fmt: skip


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


@pages.page("GET", "/{org}/", role="viewer")
async def home(visit: Visit) -> web.StreamResponse:
    """The first page of an org."""
    async with visit.transaction() as connection:
        there = await _set_up(connection, visit.now)
        reading = await reading_of(connection, visit.org.org_id, _LATELY_H, visit.now)
        (lately,) = await reading.fetch(connection, SELECT_LATELY)
        last_at = await connection.fetchval(SELECT_LAST_AT, reading.since, reading.since)
    to_do = steps(there)
    ready = all(step.done for step in to_do if step.needed)
    return visit.render("home.html", there=there, steps=to_do, ready=ready, lately=lately, last_at=last_at)


async def _set_up(connection: Connection, now: datetime) -> SetUp:
    row = await connection.fetchrow(SELECT_SET_UP, now)
    if row is None:
        raise RuntimeError("a statement without a table answered nothing")
    return SetUp(**row)
