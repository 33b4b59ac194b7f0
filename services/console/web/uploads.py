"""Forms as they come, and the files that people send with them."""

import asyncio
from collections.abc import Iterator
from typing import Final, TypeAlias

from aiohttp import web
from multidict import MultiDictProxy

from services.console.web.errors import bad_request, slow_body

Posted: TypeAlias = MultiDictProxy[str | bytes | bytearray | web.FileField]

IS_SIGNED_IN: Final = web.RequestKey("is_signed_in", bool)
_STRANGERS_S: Final = 8.0
_SIGNED_IN_S: Final = 30.0  # an email's text, or some megabytes of files, over whatever line there is


async def posted_of(request: web.Request) -> Posted:
    """The form as it came, however often it is asked for. Raises the answer to one that is none, or does not come:
    strangers may send forms as well, and each that is waited for holds a connection."""
    try:
        async with asyncio.timeout(_SIGNED_IN_S if request.get(IS_SIGNED_IN) else _STRANGERS_S):
            return await request.post()
    except TimeoutError:
        raise slow_body() from None
    except ValueError:
        raise bad_request("The form could not be read.") from None


def uploaded(posted: Posted, field: str) -> Iterator[tuple[str, str]]:
    """Name and text of each file of a field. Raises UnicodeDecodeError."""
    for one in posted.getall(field, []):
        if isinstance(one, web.FileField) and one.filename:
            yield one.filename, one_way(one.file.read().decode("utf-8"))


def one_way(text: str) -> str:
    """Line ends as texts have them here: a browser sends a text on with others than it got."""
    return text.replace("\r\n", "\n")
