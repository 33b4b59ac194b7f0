"""Wiring of the console."""

import asyncio
import os
from contextlib import AsyncExitStack
from functools import partial
from secrets import token_hex
from uuid import uuid4

import aiohttp
from aiohttp import web

from services.console.oidc.provider import Provider, SingleSignOn
from services.console.oidc.wire import open_wire
from services.console.people import joining
from services.console.people.delay_store import DelayStore
from services.console.people.passwords import Hasher
from services.console.people.signing_in import Means
from services.console.people.store import SessionStore
from services.console.routes import all_pages, make_app
from services.console.settings import Settings
from services.console.web.assets import Assets
from services.console.web.environment import Templates
from services.console.web.errors import as_json, bad_request, unforeseen
from services.console.web.navigation import areas
from services.console.web.security import HEADERS
from services.console.web.visit import Console
from shared import logs
from shared.admin.context import Drafting
from shared.admin.context import Means as AdminMeans
from shared.admin.drafts.store import RunStore
from shared.admin.drafts.work import DraftWorker
from shared.api_keys import Peppers
from shared.clock import Clock, SystemClock, first_of
from shared.db import migrate
from shared.db.pool import open_database
from shared.drafting.opening import open_drafter
from shared.errors import Failure
from shared.keyring import KeptRing
from shared.klaviyo.client import KlaviyoClient
from shared.klaviyo.wire import open_session
from shared.messaging.asking import SeldomAsker
from shared.messaging.dead import Graveyard
from shared.messaging.publisher import SeldomPublisher
from shared.runtime import Runner, Service
from shared.settings import host_and_port
from shared.unreadable import KEEPALIVE_S, answered_by

log = logs.get(__name__)

_DRAIN_MARGIN_S = 1.0
_FORGET_EVERY_S = 600.0


async def build(settings: Settings, stack: AsyncExitStack, *, wall: Clock | None = None) -> Service:
    """The console: pages for people. `wall` is the time of people and their phones: real, unless a test says so."""
    assets = Assets()
    database_url = settings.database_url.get_secret_value()
    await migrate.require(database_url)
    database = await stack.enter_async_context(
        open_database(database_url, name="console", role=settings.database_role, max_size=settings.database_pool)
    )
    hasher = Hasher()
    stack.callback(hasher.close)
    kept = await KeptRing.open(settings.seal_keys.get_secret_value(), "console", database)
    ring = kept.ring
    people = Means(
        database=database,
        sessions=SessionStore(database),
        delays=DelayStore(database),
        hasher=hasher,
        ring=ring,
        clock=wall or SystemClock(),
        random_bytes=os.urandom,
        new_id=uuid4,
    )
    shown = areas(page.path for page in all_pages(dev=settings.console_dev))
    templates = Templates(assets, shown, dev=settings.console_dev)
    clock = settings.make_clock()
    http = await stack.enter_async_context(open_session())
    means = _admin_means(settings, people, clock, http)
    sign_on = await _single_sign_on(settings, people.clock, stack)
    console = Console(settings, database, clock, ring, people, templates, means, sign_on)
    runner = _Runner(
        make_app(console, assets),
        access_log=None,
        keepalive_timeout=KEEPALIVE_S,
        shutdown_timeout=max(0.1, settings.drain_s - _DRAIN_MARGIN_S),
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, *host_and_port(settings.console_listen)).start()
    await _say_first_run(people, settings)

    async def serve(stop: asyncio.Event) -> None:
        log.info("console.listening", url=settings.console_url, port=runner.addresses[0][1])
        await stop.wait()
        await runner.cleanup()

    return Service(
        name="console",
        runners={
            "http": serve,
            "forgetting": partial(_forget, people),
            "keyring": kept.run,
            **await _drafting(settings, means, stack),
        },
        checks={"database": database.ping},
    )


def _admin_means(settings: Settings, people: Means, clock: Clock, http: aiohttp.ClientSession) -> AdminMeans:
    """What people's operations on an org need."""
    amqp_url = settings.amqp_url.get_secret_value()
    return AdminMeans(
        people.database, clock, people.ring, Peppers(settings.api_key_peppers.get_secret_value()), new_id=uuid4,
        random_bytes=os.urandom, klaviyo=partial(_klaviyo, http, clock), klaviyo_url=settings.console_klaviyo_url,
        publisher=SeldomPublisher(amqp_url, "console"), letters=Graveyard(amqp_url, "console"),
        wall=people.clock, asker=SeldomAsker(amqp_url, "console", token=partial(token_hex, 8)),
        drafting=Drafting.of(settings), export_principal=settings.export_principal,
    )  # fmt: skip


class _Runner(web.AppRunner):
    """With answers of ours to what is no HTTP."""

    async def _make_server(self) -> web.Server:
        return answered_by(_unreadable, await super()._make_server())


def _unreadable(_: web.BaseRequest, status: int) -> web.Response:
    answer = as_json(bad_request("It is not HTTP as it should be.") if status < 500 else unforeseen("-"))
    answer.headers.update({**HEADERS, "Server": ""})  # else aiohttp says which version it is
    return answer


def _klaviyo(http: aiohttp.ClientSession, clock: Clock, base_url: str, private_key: str) -> KlaviyoClient:
    return KlaviyoClient(http, base_url, private_key, clock=clock)


async def _single_sign_on(settings: Settings, wall: Clock, stack: AsyncExitStack) -> SingleSignOn | None:
    """None: people have passwords. The provider is asked for nothing before somebody comes: it may start later."""
    issuer = settings.console_oidc_issuer
    if issuer is None:
        return None
    wire = await stack.enter_async_context(
        open_wire(private=settings.console_oidc_private, timeout_s=settings.console_oidc_timeout_s)
    )
    provider = Provider(settings, issuer, settings.console_url, wire, wall)
    return SingleSignOn(provider, settings.console_oidc_label, settings.oidc_policy)


async def _drafting(settings: Settings, means: AdminMeans, stack: AsyncExitStack) -> dict[str, Runner]:
    """As many workers as runs may be in hand here; none where no model is set up."""
    if means.drafting is None or not settings.console_drafting:
        return {}
    drafter = await stack.enter_async_context(open_drafter(settings))
    worker = DraftWorker(
        RunStore(means.database), drafter, clock=means.clock, wall=means.wall, new_id=means.new_id
    )  # fmt: skip
    return {f"drafting-{number}": worker.run for number in range(1, settings.console_drafting + 1)}


async def _say_first_run(people: Means, settings: Settings) -> None:
    """While nobody can sign in, the log is where its operator finds the way in."""
    if not await joining.nobody_yet(people):
        return
    if settings.console_oidc_only:
        log.warning("console.nobody_yet", run="justai console invite ORG EMAIL --role owner")
    else:
        token = joining.first_run_token(settings.api_key_peppers.get_secret_value())
        log.warning("console.nobody_yet", set_up=f"{settings.console_url}/_setup/{token}")


async def _forget(people: Means, stop: asyncio.Event) -> None:
    """Ended sessions and old delays are not kept."""
    while not stop.is_set():
        try:
            await people.sessions.forget_old(people.clock.now())
        except Failure as error:
            log.warning("console.not_forgotten", error=error)
        except Exception as error:  # a runner that ended would end its service
            log.error("console.not_forgotten", exc_info=error)
        await first_of(stop.wait(), within_s=_FORGET_EVERY_S)
