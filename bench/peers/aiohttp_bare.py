"""aiohttp that reads the body and answers: what HTTP alone costs."""

import sys

from aiohttp import web

from bench.peers.serving import serve


async def generate(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=b'{"status":"accepted"}', status=202, content_type="application/json")


async def app() -> web.Application:
    app = web.Application()
    app.router.add_post("/api/generate/{org_slug}", generate)
    return app


if __name__ == "__main__":
    serve(app, int(sys.argv[1]))
