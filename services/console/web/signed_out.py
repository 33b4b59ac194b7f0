"""What somebody sends when their session is over: it stays where it was typed, or comes back to be sent again."""

from typing import Final

from aiohttp import web

from services.console.web.forms import MOST_FIELDS
from services.console.web.uploads import posted_of
from services.console.web.visit import Visit

SECRETS: Final = frozenset({"again", "current", "password", "private_key", "secret_key"})
"""The fields of all forms that are never shown again."""


def stays(visit: Visit) -> web.Response:
    """For script that was asked for something: said beside the page, which keeps what was typed in it."""
    response = visit.render("_signed_out.html", 401)
    # Whatever the part was to replace stays, so that the same is possible again once somebody is signed in.
    response.headers.update(
        {"HX-Retarget": "[data-toasts]", "HX-Reswap": "innerHTML", "HX-Reselect": "[data-signed-out]"}
    )
    return response


async def comes_back(visit: Visit) -> web.Response:
    """A page that holds the form and sends it to the same path again, in the name of whoever is signed in by then.

    It stands before the same checks as any form: no page of others can have it made, or sent. Where a secret or a file
    was among what was sent, it holds nothing: without that, the form could mean something else. Raises PageError for
    what is no form, or does not arrive.
    """
    posted = await posted_of(visit.request)
    fields = [(name, text) for name, text in posted.items() if isinstance(text, str) and name not in SECRETS]
    lost = [one for name, one in posted.items() if one and (name in SECRETS or not isinstance(one, str))]
    whole = not lost and len(posted) <= MOST_FIELDS
    return visit.render("unsaved.html", 401, whole=whole, fields=fields if whole else [], path=visit.request.path_qs)
