"""Which session a browser has; and, while somebody is at the provider, which sign-in is theirs."""

import re
from typing import Final

from aiohttp import web

from services.console.settings import Settings

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")


def _name(settings: Settings) -> str:
    """With `__Host-` a browser takes it from this very host alone, over https alone, and gives it to no other."""
    return "__Host-justai" if settings.secure_cookies else "justai"


def _flow_name(settings: Settings) -> str:
    return f"{_name(settings)}-sign-in"


def flow(request: web.BaseRequest, settings: Settings) -> str:
    """The sealed sign-in under way; empty where there is none."""
    return request.cookies.get(_flow_name(settings), "")


def set_flow(response: web.StreamResponse, settings: Settings, sealed: str, life_s: int) -> None:
    """Lax, not Strict: the answer comes with a person whom another site sends."""
    response.set_cookie(
        _flow_name(settings), sealed, path="/", max_age=life_s, secure=settings.secure_cookies, httponly=True,
        samesite="Lax",
    )  # fmt: skip


def drop_flow(response: web.StreamResponse, settings: Settings) -> None:
    """It was answered."""
    response.del_cookie(
        _flow_name(settings), path="/", secure=settings.secure_cookies, httponly=True, samesite="Lax"
    )  # fmt: skip


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
