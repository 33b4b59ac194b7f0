"""Whatever is no page of its own becomes one, or JSON for who asked for it. Nothing of an unforeseen error is shown."""

import math
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web
from multidict import CIMultiDict
from pydantic import ValidationError

from shared.admin.errors import AdminError
from shared.admin.registry import REGISTRY
from shared.errors import Failure, Outage, Transient
from shared.sentences import ended


@dataclass(eq=False)  # not frozen: an exception carries its traceback
class PageError(Exception):
    """An answer that is not the page. `title` and `message` are for people; `code` is stable, for programs."""

    status: int
    code: str
    title: str
    message: str
    headers: dict[str, str] = field(default_factory=dict)


def not_found() -> PageError:
    """For what is not there, and for what is of somebody else: the two must not be told apart."""
    return PageError(
        404, "not_found", "This page is not here",
        "It may have been moved or removed, or it is in an org in which you do not work.",
    )  # fmt: skip


def role_too_small(least: str, has: str) -> PageError:
    """Somebody of the org who may not do this."""
    return PageError(
        403, "role_too_small", "Your role does not allow this",
        f"It needs the role {least}; yours is {has}. An owner of the org can change it on the page People.",
    )  # fmt: skip


def foreign_form() -> PageError:
    """A form that no page of ours sent."""
    return PageError(
        403, "foreign_form", "This form did not come from the console",
        "Nothing was changed. Open the page again and send it from there.",
    )  # fmt: skip


def no_passwords() -> PageError:
    """Somebody came with a password, or wants to set one, where only the provider lets people in."""
    return PageError(
        403, "no_passwords", "Passwords open nothing here",
        "This console lets people in through single sign-on alone. Open the sign-in page and use its button.",
    )  # fmt: skip


def too_many(wait_s: float) -> PageError:
    """Somebody who has to wait; real seconds."""
    whole_s = max(1, math.ceil(wait_s))
    wait = f"{whole_s} seconds" if whole_s < 90 else f"{math.ceil(whole_s / 60)} minutes"
    return PageError(
        429, "too_many_attempts", "Too many attempts",
        f"To keep accounts safe, the next one is possible in {wait}.", {"Retry-After": str(whole_s)},
    )  # fmt: skip


def bad_request(message: str) -> PageError:
    """A request that no page of ours makes."""
    return PageError(400, "bad_request", "This request cannot be read", message)


def slow_body() -> PageError:
    """A form that began and did not come to its end."""
    return PageError(408, "slow_body", "The form did not arrive", "Nothing was saved. Please send it once more.")


_HTTP: Final = {
    404: not_found(),
    413: PageError(413, "too_large", "This is too large", "What was sent is larger than the console takes: 1 MB."),
}  # fmt: skip


_ASKED: Final = frozenset(one.asked.__name__ for one in REGISTRY)
_TITLES: Final = {
    "not_found": "This is not here",
    "conflict": "It has changed meanwhile",
    "permission_denied": "Your role does not allow this",
    "invalid_request": "This cannot be done so",
}


def page_error_of(error: Exception) -> PageError | None:
    """What is to be said of an error; None: nobody foresaw it."""
    if isinstance(error, PageError):
        return error
    if isinstance(error, web.HTTPMethodNotAllowed):
        return PageError(
            405, "method_not_allowed", "This page does not take that", "It cannot be asked so. Go back and try again.",
            {"Allow": error.headers["Allow"]},
        )  # fmt: skip
    if isinstance(error, web.HTTPException):
        return _HTTP.get(error.status) or PageError(error.status, "refused", "This did not work", error.reason)
    if isinstance(error, AdminError):
        return PageError(error.status, error.code, _TITLES.get(error.type, "This did not work"), sentence_of(error))
    if isinstance(error, ValidationError) and error.title in _ASKED:
        return not_found()  # an address that names what no operation takes; forms have models of their own
    if isinstance(error, Outage):
        return PageError(
            503, "unavailable", "A server we need is away",
            "The database does not answer at the moment. What you sent was not saved; try again soon.",
            {"Retry-After": "5"},
        )  # fmt: skip
    if isinstance(error, Transient):
        return PageError(
            503, "try_again", "Somebody was at it at the same time", "Nothing was saved. Please send it once more.",
            {"Retry-After": "1"},
        )  # fmt: skip
    if isinstance(error, Failure):
        return PageError(
            502, error.reason, "Klaviyo, or another server, did not do it", f"{ended(str(error))} Nothing was saved."
        )
    return None


def sentence_of(error: AdminError) -> str:
    """What an operation says of why it was not done."""
    return ended(f"{error.message[:1].upper()}{error.message[1:]}")


def unforeseen(request_id: str) -> PageError:
    """Something broke. The id finds it in the log."""
    return PageError(
        500, "unexpected", "Something broke on our side",
        "What you sent may not have been saved. If it happens again, tell whoever runs the console this id: "
        f"{request_id}",
    )  # fmt: skip


def wants_json(request: web.BaseRequest) -> bool:
    """Whether a program asks."""
    accepted = request.headers.get("Accept", "")
    return request.path.startswith("/api/") or ("application/json" in accepted and "text/html" not in accepted)


def as_json(error: PageError) -> web.Response:
    """The shape of the API's document."""
    kind = {401: "authentication_failed", 403: "permission_denied", 404: "not_found"}.get(
        error.status, "invalid_request"
    )
    kind = "unavailable" if error.status in (429, 500, 503) else kind
    message = f"{error.title}. {error.message}"
    return web.json_response(
        {"error": {"type": kind, "code": error.code, "message": message, "field": None, "faults": []}},
        status=error.status,
        headers=CIMultiDict(error.headers),
    )
