"""Wiring of the gateway."""

import asyncio
import os
from contextlib import AsyncExitStack
from functools import partial
from secrets import token_hex
from uuid import uuid4

from services.gateway.auth import Keys
from services.gateway.coalescer import Coalescer
from services.gateway.hook_store import HookStore
from services.gateway.hooks import Hooks
from services.gateway.refusals import Refusals
from services.gateway.routes import Generate
from services.gateway.server import Server, bind
from services.gateway.settings import Settings
from services.gateway.store import Store
from services.gateway.strays import Strays
from shared.api_keys import Peppers
from shared.db import migrate
from shared.db.listen import ConfigListener
from shared.db.pool import open_database
from shared.keyring import KeptRing
from shared.messaging.publisher import Publisher, open_publisher
from shared.messaging.replies import ReplyQueue
from shared.messaging.topology import GENERATE
from shared.runtime import Service
from shared.schemas.jobs import KINDS, GenerateJob, join_encoded
from shared.settings import host_and_port


async def build(settings: Settings, stack: AsyncExitStack) -> Service:
    """The gateway: webhooks in, jobs out. Readiness asks the broker alone: known keys do without the database."""
    database_url = settings.database_url.get_secret_value()
    await migrate.require(database_url)
    bound = stack.enter_context(bind(*host_and_port(settings.gateway_listen)))
    database = await stack.enter_async_context(
        open_database(database_url, name="gateway", role=settings.database_role, max_size=2)
    )
    publisher = await stack.enter_async_context(
        open_publisher(settings.amqp_url.get_secret_value(), "gateway", GENERATE)
    )
    seconds = asyncio.get_running_loop().time
    store = Store(database)
    refusals, strays = Refusals(store), Strays(store)
    keys = Keys(
        store,
        Peppers(settings.api_key_peppers.get_secret_value()),
        seconds=seconds,
        random_bytes=os.urandom,
    )
    wait_s = settings.gateway_wait_s
    replies = ReplyQueue(
        settings.amqp_url.get_secret_value(), "gateway", token=partial(token_hex, 8), most_s=max(wait_s, 1)
    )
    generate = Generate(
        keys,
        Coalescer(partial(_send, publisher), seconds=seconds),
        settings.make_clock(),
        refusals=refusals,
        strays=strays,
        replies=replies,
        most_wait_s=wait_s,
    )
    kept = await KeptRing.open(settings.seal_keys.get_secret_value(), "gateway", database)
    hooks = Hooks(HookStore(database), kept.ring, settings.make_clock(), uuid4)
    server = Server(bound, linger_s=settings.gateway_linger_s, drain_s=settings.drain_s)
    checks = {"broker": publisher.ping}

    async def serve(stop: asyncio.Event) -> None:
        await server.run(generate, hooks, checks, stop)

    return Service(
        name="gateway",
        runners={
            "http": serve,
            "keys": keys.run,
            "refusals": refusals.run,
            "strays": strays.run,
            "listen": _listener(database_url, keys).run,
            "replies": replies.run,
            "keyring": kept.run,
        },
        checks=checks,
    )


def _listener(database_url: str, keys: Keys) -> ConfigListener:
    return ConfigListener(
        database_url,
        frozenset({"api_keys", "orgs"}),
        name="gateway.listen",
        on_change=lambda _: keys.changed(),
        on_listening=lambda listening: keys.listen(listening=listening),
    )


async def _send(publisher: Publisher, queue: str, jobs: list[bytes]) -> None:
    await publisher.send(queue, join_encoded(KINDS[GenerateJob], jobs))
