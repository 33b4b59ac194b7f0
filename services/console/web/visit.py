"""One request, with everything a page needs to answer it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from aiohttp import web

from services.console.oidc.provider import SingleSignOn
from services.console.people.remembering import Moment
from services.console.people.signing_in import Caller, Means
from services.console.people.store import Account, Membership, Notice, SignedIn
from services.console.settings import Settings
from services.console.web.environment import Templates
from services.console.web.errors import not_found
from shared.admin.context import Actor, Asking
from shared.admin.context import Means as AdminMeans
from shared.admin.operation import A, Operation, R
from shared.admin.run import Together, run, together
from shared.clock import Clock
from shared.crypto import KeyRing
from shared.db.pool import Connection, Database
from shared.people.roles import Role, reaches
from shared.zones import zone_of

_HTMX = "HX-Request"
REQUEST_ID = web.RequestKey("request_id", str)


@dataclass(frozen=True, slots=True)
class Console:
    """What the process has for all pages. `clock` is the system's time, `people.clock` that of people."""

    settings: Settings
    database: Database
    clock: Clock
    ring: KeyRing
    people: Means
    templates: Templates
    means: AdminMeans
    sign_on: SingleSignOn | None = None


@dataclass(slots=True)
class Visit:
    """Who asks for what. `signed_in` and `member` are there where the page's least role says so; `half` is a session
    whose second factor is still to come, which opens nothing."""

    console: Console
    request: web.Request
    caller: Caller
    signed_in: SignedIn | None = None
    half: SignedIn | None = None
    member: Membership | None = None
    notices: Sequence[Notice] = field(default_factory=list)
    next_step: object = None  # of the org's set-up, shown below what was just done

    # --- who and where

    @property
    def account(self) -> Account:
        """The person; only where somebody is signed in."""
        if self.signed_in is None:
            raise RuntimeError("a page for signed-in people was reached without one")
        return self.signed_in.account

    @property
    def org(self) -> Membership:
        """The path's org, with the person's role in it; only on an org's pages."""
        if self.member is None:
            raise RuntimeError("an org's page was reached without its org")
        return self.member

    def may(self, least: Role) -> bool:
        """Whether a button for this role is worth showing. The guard decides anyway."""
        return self.member is not None and reaches(self.member.role, least)

    @property
    def now(self) -> datetime:
        """The system's time."""
        return self.console.clock.now()

    @property
    def moment(self) -> Moment:
        """For the audit log."""
        return Moment(self.now, self.request[REQUEST_ID])

    @property
    def zone(self) -> ZoneInfo:
        """In which times are shown."""
        return zone_of(self.member.time_zone if self.member else None)

    @property
    def is_htmx(self) -> bool:
        """Whether a part of a page is asked for by script, rather than a page by the browser."""
        return self.request.headers.get(_HTMX) == "true"

    def path(self, *parts: str) -> str:
        """A path in this org: `visit.path("templates", template_id)`."""
        return "/".join(("", self.org.slug, *(quote(part, safe="") for part in parts)))

    def value(self, name: str) -> str:
        """A part of the path, by its name in the declaration."""
        found = self.request.match_info.get(name)
        if found is None:
            raise not_found()
        return found

    # --- what people do

    async def run(self, operation: Operation[A, R], asked: A | Mapping[str, Any]) -> R:
        """What the operation answers to this person, in this org. Raises AdminError: what a page does not catch
        becomes an answer of its own (`web/errors.py`); a form shows it with `form.refuse_all`."""
        return await run(self._asking(), operation, asked)

    @asynccontextmanager
    async def together(self) -> AsyncIterator[Together]:
        """Several reads in one transaction, for a page that is made of them."""
        async with together(self._asking()) as reads:
            yield reads

    def _asking(self) -> Asking:
        org = self.org
        # The address, not the name: who wrote a copy may not approve it, and two people may have one name.
        actor = Actor(self.account.email, "person", org.role, org.org_id, org.slug)
        return Asking(self.console.means, actor, self.request[REQUEST_ID])

    # --- the database

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction that sees this org alone, whatever is asked in it."""
        async with self.console.database.transaction(self.org.org_id) as connection:
            yield connection

    # --- answers

    def render(self, template: str, /, status: int = 200, **context: Any) -> web.Response:
        """A page; what it gets beside `context` is said in `web/environment.py`."""
        html = self.console.templates.render(template, self._context(context))
        return web.Response(text=html, status=status, content_type="text/html")

    def show_again(self, template: str, /, **context: Any) -> web.Response:
        """A form that could not be taken: the same page with what was typed, status 422."""
        return self.render(template, 422, **context)

    def see_other(self, path: str) -> web.Response:
        """Go on there, after something was changed."""
        if self.is_htmx:
            return web.Response(status=204, headers={"HX-Redirect": path})
        return web.Response(status=303, headers={"Location": path})

    async def notice(self, text: str, tone: str = "good") -> None:
        """Say this on the next page. Tones: good, warn, bad, info."""
        if self.signed_in is not None:
            await self.console.people.sessions.add_notice(self.signed_in.session.digest, Notice(tone, text))

    def _context(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "visit": self,
            "account": self.signed_in.account if self.signed_in else None,
            "org": self.member,
            "memberships": self.signed_in.memberships if self.signed_in else (),
            "notices": self.notices,
            "next_step": self.next_step,
            "here": self.request.path,
            "zone": self.zone,
            "now": self.now,
            "real_now": self.console.people.clock.now(),
            "provider": self.console.sign_on.label if self.console.sign_on else None,
            "passwords": not self.console.settings.console_oidc_only,
            **given,
        }
