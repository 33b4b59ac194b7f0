"""All pages, behind one guard: who asks, may they, and what they get when they may not."""

import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import urlencode

from aiohttp import web
from aiohttp.typedefs import Middleware

from services.console.api.api_key import ApiKeys, presented
from services.console.api.routes import add_api
from services.console.oidc import pages as oidc_pages
from services.console.pages import account, gallery, home, people
from services.console.pages.email_frame import email
from services.console.pages.operations import audit as operations_audit
from services.console.pages.operations import backfill as operations_backfill
from services.console.pages.operations import events as operations_events
from services.console.pages.operations import examples as operations_examples
from services.console.pages.operations import exports as operations_exports
from services.console.pages.operations import letters as operations_letters
from services.console.pages.operations import loaders as operations_loaders
from services.console.pages.operations import operations
from services.console.pages.operations import people as operations_people
from services.console.pages.operations import sources as operations_sources
from services.console.pages.operations import totals as operations_totals
from services.console.pages.results import results
from services.console.pages.results import sends as results_sends
from services.console.pages.settings import config as settings_config
from services.console.pages.settings import export as settings_export
from services.console.pages.settings import export_access as settings_export_access
from services.console.pages.settings import hooks as settings_hooks
from services.console.pages.settings import keys as settings_keys
from services.console.pages.settings import klaviyo as settings_klaviyo
from services.console.pages.settings import org as settings_org
from services.console.pages.settings import source_preview, troubleshooting
from services.console.pages.settings import sources as settings_sources
from services.console.pages.templates import as_csv as template_csv
from services.console.pages.templates import drafts as template_drafts
from services.console.pages.templates import preview as template_preview
from services.console.pages.templates import review, templates
from services.console.pages.templates import settings as template_settings
from services.console.pages.templates import variants as template_variants
from services.console.people import join_pages, let_in_pages, signin_pages
from services.console.people.sessions import agent_in_words
from services.console.people.signing_in import Caller
from services.console.people.store import SignedIn
from services.console.web import cookies, errors, signed_out
from services.console.web.assets import Assets
from services.console.web.next_steps import what_is_next
from services.console.web.page import Page, Serve, guarded, require_guards
from services.console.web.security import HEADERS, TRANSPORT, caller_address, may_change
from services.console.web.uploads import IS_SIGNED_IN
from services.console.web.visit import REQUEST_ID, Console, Visit
from shared import logs, metrics
from shared.admin.context import Actor
from shared.admin.errors import NotFound
from shared.admin.registry import REGISTRY
from shared.people import links
from shared.people.roles import reaches

log = logs.get(__name__)

BODY_LIMIT_BYTES = 1_000_000
_VISIT = web.RequestKey("visit", Visit)
_ROUTE = web.RequestKey("route", str)


def all_pages(*, dev: bool) -> list[Page]:
    """Every page there is. A new area is one more line here."""
    declared = [
        *signin_pages.pages.declared,
        *oidc_pages.pages.declared,
        *join_pages.pages.declared,
        *let_in_pages.pages.declared,
        *account.pages.declared,
        *home.pages.declared,
        *people.pages.declared,
        *operations.pages.declared,
        *operations_examples.pages.declared,
        *operations_letters.pages.declared,
        *operations_sources.pages.declared,
        *operations_backfill.pages.declared,
        *operations_totals.pages.declared,
        *operations_exports.pages.declared,
        *operations_loaders.pages.declared,
        *operations_events.pages.declared,
        *operations_people.pages.declared,
        *operations_audit.pages.declared,
        *settings_klaviyo.pages.declared,
        *settings_sources.pages.declared,
        *settings_hooks.pages.declared,
        *source_preview.pages.declared,
        *settings_export.pages.declared,
        *settings_export_access.pages.declared,
        *settings_org.pages.declared,
        *settings_config.pages.declared,
        *settings_keys.pages.declared,
        *troubleshooting.pages.declared,
        *results_sends.pages.declared,
        *results.pages.declared,
        *templates.pages.declared,
        *template_settings.pages.declared,
        *template_variants.pages.declared,
        *template_preview.pages.declared,
        *review.pages.declared,
        *template_drafts.pages.declared,
        *template_csv.pages.declared,
    ]
    return declared + gallery.pages.declared if dev else declared


def make_app(console: Console, assets: Assets) -> web.Application:
    """The application; whatever else is added to it must be guarded, or `require_guards` stops the start."""
    app = web.Application(middlewares=[_answering(console), _own_forms_only(console)], client_max_size=BODY_LIMIT_BYTES)
    app.on_response_prepare.append(_headers(console.settings.console_url.startswith("https:")))
    app.router.add_get("/_static/{digest}/{name}", _static(assets))
    for page in all_pages(dev=console.settings.console_dev):
        handler = _guard(console, page)
        if page.method == "GET":
            app.router.add_get(page.pattern, handler)
        else:
            app.router.add_post(page.pattern, handler)
    keys = ApiKeys(console.database, console.means.peppers, console.clock)
    add_api(app, REGISTRY, console.means, partial(_actor, console, keys))
    require_guards(app)
    return app


# --- who may open it -------------------------------------------------------------------------------------------------


def _guard(console: Console, page: Page) -> Serve:
    async def handle(request: web.Request) -> web.StreamResponse:
        request[_ROUTE] = page.path
        visit = request[_VISIT] = await _visit(console, request, seen=not page.asks_itself)
        request[IS_SIGNED_IN] = visit.signed_in is not None
        if page.least != "anyone":
            if visit.signed_in is None:
                return await _sign_in_first(visit, page)
            if page.of_an_org:
                _enter(visit, page)
        if visit.signed_in and visit.signed_in.has_notices and request.method == "GET" and not visit.is_htmx:
            visit.notices = await console.people.sessions.take_notices(visit.signed_in.session.digest)
            if page.of_an_org and visit.may("reviewer") and page.path != "/{org}/":
                visit.next_step = await what_is_next(visit)
        with logs.bound(request_id=request[REQUEST_ID], user_id=visit.signed_in and visit.signed_in.account.user_id):
            return await page.handler(visit)

    return guarded(handle)


async def _visit(console: Console, request: web.Request, *, seen: bool) -> Visit:
    signed_in = await who(console, request, seen=seen)
    caller = Caller(
        caller_address(request.remote, request.headers.getall("X-Forwarded-For", []), console.settings.console_proxies),
        agent_in_words(request.headers.get("User-Agent", "")),
        signed_in.session.digest if signed_in else None,
    )
    if signed_in is not None and signed_in.session.stage == "password":
        return Visit(console, request, caller, half=signed_in)
    return Visit(console, request, caller, signed_in)


async def who(console: Console, request: web.Request, *, seen: bool = True) -> SignedIn | None:
    """The session of this request's cookie; its stage may be that of a second factor which is still to come. `seen`:
    somebody was there, so it lives on."""
    token = cookies.session_token(request, console.settings)
    if token is None:
        return None
    found = await console.people.sessions.signed_in(links.digest(token), console.people.clock.now(), seen=seen)
    if found is not None and found.session.signed_in_with == "password" and console.settings.console_oidc_only:
        return None  # begun before passwords were turned off
    return found


def _enter(visit: Visit, page: Page) -> None:
    """Into the path's org, or not. An org in which somebody does not work is one that is not there."""
    slug, signed_in = visit.request.match_info["org"], visit.signed_in
    visit.member = next((one for one in signed_in.memberships if one.slug == slug), None) if signed_in else None
    if visit.member is None:
        raise errors.not_found()
    if page.least != "anyone" and page.least != "signed_in" and not reaches(visit.member.role, page.least):
        raise errors.role_too_small(page.least, visit.member.role)


async def _actor(console: Console, keys: ApiKeys, request: web.Request) -> Actor | None:
    """Who asks the HTTP API: a key, or whoever is signed in, with their role in the path's org."""
    if presented(request) is not None:
        return await keys(request)
    signed_in = await who(console, request)
    if signed_in is None or signed_in.session.stage == "password":
        return None
    slug = request.match_info["org_slug"]
    member = next((one for one in signed_in.memberships if one.slug == slug), None)
    if member is None:
        raise NotFound("There is no such org, or you do not work in it.", code="no_such_org")
    return Actor(signed_in.account.email, "person", member.role, member.org_id, member.slug)


async def _sign_in_first(visit: Visit, page: Page) -> web.StreamResponse:
    """Whoever looks is led to the sign-in page; whoever typed keeps it."""
    request = visit.request
    if errors.wants_json(request):
        raise errors.PageError(401, "sign_in", "Nobody is signed in", "Sign in first.")
    if visit.is_htmx and not page.asks_itself:
        return signed_out.stays(visit)
    if request.method == "POST":
        if request.headers.get("Sec-Fetch-Dest") == "iframe":  # beside what was typed, where no form can be sent
            return email("<p>You were signed out.</p>", 401)
        return await signed_out.comes_back(visit)
    next_path = request.path_qs if request.method == "GET" and not visit.is_htmx else "/"
    path = "/_sign-in" if next_path == "/" else f"/_sign-in?{urlencode({'next': next_path})}"
    return visit.see_other(path)


# --- around every answer ---------------------------------------------------------------------------------------------


def _headers(over_https: bool) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Every answer carries them; a page may have said one differently."""

    async def prepare(_: web.Request, response: web.StreamResponse) -> None:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if over_https:
            response.headers.update(TRANSPORT)
        response.headers.popall("Server", None)

    return prepare


def _answering(console: Console) -> Middleware:
    @web.middleware
    async def answer(request: web.Request, handler: Serve) -> web.StreamResponse:
        started = time.perf_counter()
        request[REQUEST_ID] = secrets.token_hex(6)
        try:
            response = await handler(request)
        except Exception as error:  # noqa: BLE001  # the one place that turns whatever happens into an answer
            response = _refusal(console, request, error)
        route = request.get(_ROUTE, "other")
        metrics.count("http_requests_total", route=route, code=str(response.status))
        metrics.observe("http_request_duration_seconds", time.perf_counter() - started, route=route)
        return response

    return answer


def _refusal(console: Console, request: web.Request, error: Exception) -> web.StreamResponse:
    said = errors.page_error_of(error)
    if said is None:
        log.error("page.failed", request_id=request[REQUEST_ID], route=request.get(_ROUTE, "other"), exc_info=error)
        said = errors.unforeseen(request[REQUEST_ID])
    if errors.wants_json(request):
        return errors.as_json(said)
    visit = request.get(_VISIT) or Visit(console, request, Caller("unknown", ""))
    response = visit.render("error.html", said.status, error=said)
    response.headers.update(said.headers)
    return response


def _own_forms_only(console: Console) -> Middleware:
    """A foreign page must not act in the name of who is signed in. The HTTP API with a key is in nobody's name that a
    browser would lend."""

    @web.middleware
    async def check(request: web.Request, handler: Serve) -> web.StreamResponse:
        by_key = request.path.startswith("/api/") and cookies.session_token(request, console.settings) is None
        if not by_key and not may_change(request.method, request.headers, console.settings.console_url):
            raise errors.foreign_form()
        return await handler(request)

    return check


def _static(assets: Assets) -> Serve:
    async def serve(request: web.Request) -> web.StreamResponse:
        request[_ROUTE] = "/_static"
        asset = assets.find(request.path)
        if asset is None:
            raise errors.not_found()
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
        body = asset.body
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"], body = "gzip", asset.gzipped
        return web.Response(body=body, content_type=asset.content_type, charset="utf-8", headers=headers)

    return guarded(serve)
