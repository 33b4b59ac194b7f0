"""Troubleshooting: each item of the public page's list with this org's answer, read now."""

from typing import Final

from aiohttp import web

from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.checks import checks
from shared.admin.errors import AdminError
from shared.admin.operation import Nothing
from shared.admin.orgs import flows
from shared.errors import Failure
from shared.sentences import ended

pages = Pages()

_PLACES: Final = {
    "keys.create": ("API keys", "keys"),
    "keys.list": ("API keys", "keys"),
    "klaviyo.connect": ("Org Integration Settings", "integration"),
    "klaviyo.rotate": ("Org Integration Settings", "integration"),
    "templates.list": ("Templates", "templates"),
    "templates.set": ("Templates", "templates"),
    "templates.webhook": ("Templates", "templates"),
    "outcomes.list": ("Operations", "operations"),
    "quota.show": ("Operations", "operations"),
    "orgs.resume": ("Operations", "operations"),
}
"""Where an operation is done: the words of the link, and its page."""


@pages.page("GET", "/{org}/troubleshooting", role="viewer")
async def show(visit: Visit) -> web.StreamResponse:
    """Everything is looked at anew with each visit."""
    found = await visit.run(checks.run_checks, Nothing())
    return visit.render("settings/troubleshooting.html", checks=found, places=_PLACES)


@pages.page("POST", "/{org}/troubleshooting/refresh", role="editor")
async def refresh(visit: Visit) -> web.StreamResponse:
    """“Refresh Klaviyo Data”."""
    try:
        found = await visit.run(flows.sync, Nothing())
    except (AdminError, Failure) as error:
        await visit.notice(f"Nothing was read from Klaviyo: {ended(str(error))}", "bad")
    else:
        number = len({one.flow_id for one in found.steps})
        flow_words = f"{number} flow{'' if number == 1 else 's'} with an email"
        campaigns = len({one.campaign_id for one in found.campaigns})
        if found.campaigns_problem:
            trouble = f"Campaigns could not be read: {ended(found.campaigns_problem)}"
            await visit.notice(f"Klaviyo data is refreshed: {flow_words}. {trouble}", "warn")
        else:
            campaign_words = f"{campaigns} campaign{'' if campaigns == 1 else 's'}"
            await visit.notice(f"Klaviyo data is refreshed: {flow_words}, {campaign_words}.")
    return visit.see_other(visit.path("troubleshooting"))
