"""Files that people send with a form."""

from collections.abc import Iterator
from typing import TypeAlias

from aiohttp import web
from multidict import MultiDictProxy

from services.console.web.errors import bad_request

Posted: TypeAlias = MultiDictProxy[str | bytes | bytearray | web.FileField]


async def posted_of(request: web.Request) -> Posted:
    """The form as it came. Raises the answer to one that is none."""
    try:
        return await request.post()
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
