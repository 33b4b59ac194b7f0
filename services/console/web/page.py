"""Routes with their least role. A page is declared with it, and only what was declared can be reached.

This is the one place that decides who sees what: pages never ask again, and the database's row-level security stands
behind them.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from aiohttp import web

from services.console.web.visit import Visit
from shared.people.roles import Role

Least = Literal["anyone", "signed_in"] | Role
"""`anyone` may read it without signing in; `signed_in`: whoever has an account; a role: members of the path's org."""

Handler = Callable[[Visit], Awaitable[web.StreamResponse]]

ORG: Final = "{org:[a-z0-9][a-z0-9_-]{0,62}}"


@dataclass(frozen=True, slots=True)
class Page:
    """One declared route."""

    method: Literal["GET", "POST"]
    path: str
    least: Least
    handler: Handler
    asks_itself: bool = False  # fetched every few seconds by an open page: whoever left it open is not there

    @property
    def of_an_org(self) -> bool:
        return self.path.startswith("/{org}/")

    @property
    def pattern(self) -> str:
        """The path as the router takes it; an org's slug can be nothing else, so our own paths begin with `_`."""
        return self.path.replace("{org}", ORG)


class Pages:
    """The pages of one area, in the order in which they were declared."""

    def __init__(self) -> None:
        self.declared: list[Page] = []

    def page(
        self, method: Literal["GET", "POST"], path: str, *, role: Least, asks_itself: bool = False
    ) -> Callable[[Handler], Handler]:
        """Declare a page. With a role of an org, the path begins with `/{org}/`. Raises ValueError otherwise."""
        page_of_an_org = path.startswith("/{org}/")
        if page_of_an_org != (role not in ("anyone", "signed_in")):
            raise ValueError(
                f"{method} {path}: the role {role!r} and the path do not fit; /{{org}}/… needs a role of an org"
            )

        def declare(handler: Handler) -> Handler:
            self.declared.append(Page(method, path, role, handler, asks_itself))
            return handler

        return declare


_GUARDED: Final = "_justai_guarded"
Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


def guarded(handler: Serve) -> Serve:
    """Mark a handler that decides itself, before anything else, who may ask: the pages' guard, and the HTTP API's."""
    setattr(handler, _GUARDED, True)
    return handler


def require_guards(app: web.Application) -> None:
    """Raise RuntimeError when any route was added past the declarations; called at start."""
    for route in app.router.routes():
        if not getattr(route.handler, _GUARDED, False):
            where = route.resource.canonical if route.resource else "?"
            raise RuntimeError(f"{route.method} {where} has no declared role")
