"""aiohttp, the look-up of the key and the reading of the webhook as in the gateway, and no more: the limit."""

import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from aiohttp import web

from bench.peers.serving import serve
from services.gateway.auth import Keys, presented_key
from services.gateway.reader import read_webhook
from services.gateway.store import Store
from shared.api_keys import Peppers
from shared.db.pool import open_database

KEYS = web.AppKey("keys", Keys)


async def generate(request: web.Request) -> web.Response:
    api_key = await request.app[KEYS].check(presented_key(request.headers), datetime.now(UTC))
    if api_key.org_slug != request.match_info["org_slug"]:
        return web.Response(status=403)
    read_webhook(await request.read())
    return web.Response(body=b'{"status":"accepted"}', status=202, content_type="application/json")


async def keys(app: web.Application) -> AsyncIterator[None]:
    async with open_database(os.environ["JUSTAI_DATABASE_URL"], name="limit", max_size=2) as database:
        peppers = Peppers(os.environ["JUSTAI_API_KEY_PEPPERS"])
        app[KEYS] = Keys(Store(database), peppers, seconds=lambda: 0.0, random_bytes=os.urandom)
        yield


async def app() -> web.Application:
    app = web.Application()
    app.cleanup_ctx.append(keys)
    app.router.add_post("/api/generate/{org_slug}", generate)
    return app


if __name__ == "__main__":
    serve(app, int(sys.argv[1]))
