"""The one cookie: which session a browser has."""

import re
from typing import Final

from aiohttp import web

from services.console.settings import Settings

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")


def _name(settings: Settings) -> str:
    """With `__Host-` a browser takes it from this very host alone, over https alone, and gives it to no other."""
    return "__Host-justai" if settings.secure_cookies else "justai"


def session_token(request: web.BaseRequest, settings: Settings) -> str | None:
    """What the browser sent, where it can be a token of ours."""
    token = request.cookies.get(_name(settings), "")
    return token if _TOKEN.fullmatch(token) else None


def set_session(response: web.StreamResponse, settings: Settings, token: str) -> None:
    """It ends with the browser; the server ends it earlier."""
    response.set_cookie(
        _name(settings), token, path="/", secure=settings.secure_cookies, httponly=True, samesite="Lax"
    )  # fmt: skip


def drop_session(response: web.StreamResponse, settings: Settings) -> None:
    """The browser forgets it, and what it kept of our pages. Not `"cookies"`: that would reach beyond this host."""
    response.del_cookie(_name(settings), path="/", secure=settings.secure_cookies, httponly=True, samesite="Lax")
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
