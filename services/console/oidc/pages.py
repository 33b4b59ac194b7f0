"""To the provider, and back from it. Both are GETs: the one changes nothing, the other is proven by what only this
browser and the provider know."""

from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from services.console.oidc.accounts import Admitted, admit, answer_once
from services.console.oidc.admission import vouched
from services.console.oidc.errors import SignInRefused, sentence_of
from services.console.oidc.flow import FLOW_LIFE, Flow, begin_flow, is_answered_by, opened, sealed
from services.console.oidc.provider import SingleSignOn
from services.console.people.delay_store import Counted
from services.console.people.delays import key_of
from services.console.people.signin_pages import show_sign_in, with_session
from services.console.people.signing_in import begin
from services.console.web import cookies
from services.console.web.errors import not_found, too_many
from services.console.web.forms import Form
from services.console.web.page import Pages
from services.console.web.security import local_path
from services.console.web.visit import REQUEST_ID, Visit
from shared import logs

pages = Pages()
log = logs.get(__name__)

_CODE_CHARS: Final = 4_000
_THE_PROVIDER_FAILED: Final = ("unreachable", "odd_provider")  # which is nobody's guess, and is not counted as one


@pages.page("GET", "/_sign-in/oidc", role="anyone")
async def start(visit: Visit) -> web.StreamResponse:
    """Off to the provider, with what this browser must bring back."""
    sign_on, console = _sign_on(visit), visit.console
    next_path = local_path(visit.request.query.get("next", "/")) or "/"
    if visit.signed_in is not None:
        return visit.see_other(next_path)
    flow = begin_flow(console.people.random_bytes, sign_on.provider.issuer, next_path, console.people.clock.now())
    try:
        response = visit.see_other(await sign_on.provider.asks(flow))
    except SignInRefused as error:
        return _refused(visit, error, next_path)
    cookies.set_flow(response, console.settings, sealed(flow, console.ring), int(FLOW_LIFE.total_seconds()))
    return response


@pages.page("GET", "/_sign-in/oidc/back", role="anyone")
async def back(visit: Visit) -> web.StreamResponse:
    """With a session, where the provider vouches for somebody whom we let in."""
    sign_on, console = _sign_on(visit), visit.console
    cookie = cookies.flow(visit.request, console.settings)
    flow = opened(cookie, console.ring, sign_on.provider.issuer, console.people.clock.now())
    if flow is None or not is_answered_by(flow, visit.request.query.get("state", "")):
        # The cookie stays: a link that somebody made must not end the sign-in that is under way.
        return _refused(visit, SignInRefused("flow_gone"), flow.next_path if flow else "/")
    try:
        response = await _answered(visit, sign_on, flow)
    except SignInRefused as error:
        response = _refused(visit, error, flow.next_path)
    cookies.drop_flow(response, console.settings)
    return response


async def _answered(visit: Visit, sign_on: SingleSignOn, flow: Flow) -> web.Response:
    code = await _code(visit, sign_on)
    people = visit.console.people
    counted: list[Counted] = [("address", key_of("address", visit.caller.address))]
    if wait_s := await people.delays.charge(counted, people.clock.now()):
        raise too_many(wait_s)
    try:
        if not await answer_once(people, flow.digest):
            raise SignInRefused("flow_gone", "it was answered before")
        claims, token = await sign_on.provider.claims(flow, code)
        who = vouched(claims, visit.console.settings)
        admitted = await admit(
            people, who, sign_on.policy, at=visit.now, request_id=visit.request[REQUEST_ID]
        )  # fmt: skip
    except SignInRefused as error:
        if error.reason in _THE_PROVIDER_FAILED:
            await people.delays.give_back(counted, people.clock.now())
        raise
    await people.delays.give_back(counted, people.clock.now())
    return await _session(visit, admitted, token, flow.next_path)


async def _code(visit: Visit, sign_on: SingleSignOn) -> str:
    """The code, where the answer is this provider's and a yes. The issuer is compared first: another provider's error
    says nothing about this one."""
    query = visit.request.query
    issuer = query.get("iss")
    if issuer is None and (await sign_on.provider.discovery()).says_issuer:
        raise SignInRefused("wrong_issuer", "the answer names no issuer, though the provider says that it does")
    if issuer is not None and issuer != sign_on.provider.issuer:
        raise SignInRefused("wrong_issuer")
    code = query.get("code", "")
    if "error" in query or not 0 < len(code) <= _CODE_CHARS:
        raise SignInRefused("denied", query.get("error", "no code")[:60])
    return code


async def _session(visit: Visit, admitted: Admitted, token: str, next_path: str) -> web.Response:
    asks_code = admitted.two_factor and visit.console.settings.console_oidc_second_factor
    begun = await begin(
        visit.console.people, admitted.user_id, "password" if asks_code else "full", visit.caller, "provider", token
    )
    if asks_code:
        next_path = f"/_sign-in/code?{urlencode({'next': next_path})}"
    return with_session(visit, begun, next_path)


def _refused(visit: Visit, error: SignInRefused, next_path: str) -> web.Response:
    log.warning("oidc.refused", reason=error.reason, detail=error.detail)
    sentence = sentence_of(error.reason, _sign_on(visit).label)
    return show_sign_in(visit, Form({"next": next_path}), status=error.status, wrong=sentence)


def _sign_on(visit: Visit) -> SingleSignOn:
    if visit.console.sign_on is None:
        raise not_found()
    return visit.console.sign_on
