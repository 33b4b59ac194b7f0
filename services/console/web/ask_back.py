"""Asking back before something that cannot simply be taken back: a page of its own, so that it needs no script."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

from aiohttp import web

from services.console.web.uploads import posted_of
from services.console.web.visit import Visit

_AGREED: Final = "agreed"
_BACK: Final = "back"  # no digest is that short


async def agreed(visit: Visit, told: Sequence[str]) -> bool:
    """Whether the form comes from the page that told this; where there is nothing to tell, nobody is asked. What has
    changed since then is told anew, so nobody agrees to what they did not read."""
    said = (await posted_of(visit.request)).get(_AGREED)
    return said != _BACK and (not told or said == _digest(told))


async def ask_back(
    visit: Visit,
    title: str,
    told: Sequence[str],
    button: str,
    *,
    back: str | Callable[[], Awaitable[web.Response]],
    tone: Literal["danger", "primary"] = "danger",
) -> web.Response:
    """Say what it will touch. Yes sends the same form to the same path again, so it must hold no secret and no file.
    `back`: where No leads; where the form holds what somebody typed, what shows it again: No sends it, too. `tone`:
    primary where nothing is taken away."""
    posted = await posted_of(visit.request)
    if not isinstance(back, str) and posted.get(_AGREED) == _BACK:
        return await back()
    fields = [(name, text) for name, text in posted.items() if isinstance(text, str) and name != _AGREED]
    return visit.render(
        "ask_back.html", title=title, told=told, button=button, fields=fields, tone=tone,
        back=back if isinstance(back, str) else None, name=_AGREED, agreed=_digest(told), not_agreed=_BACK,
    )  # fmt: skip


def _digest(told: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
