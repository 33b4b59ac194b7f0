"""What a browser does without script: keeps cookies, follows nothing by itself, says where a form comes from."""

import html as text
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from tests.support.console import PASSWORD, said

COOKIE = "justai"


@dataclass(frozen=True, slots=True)
class Page:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    html: str

    @property
    def words(self) -> str:
        return said(self.html)

    def hidden(self, action: str) -> dict[str, str]:
        """What the form that is sent there brings along beside what people type. Raises LookupError."""
        form = re.search(rf'(?s)<form method="post" action="{re.escape(action)}"[^>]*>(.*?)</form>', self.html)
        if form is None:
            raise LookupError(f"no form for {action}")
        found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form[1])
        return {name: text.unescape(value) for name, value in found}

    @property
    def location(self) -> str:
        return self.headers["Location"]


def answer(page: Page, *, yes: bool = True) -> dict[str, str]:
    """What a browser sends for the page's Yes, or for its Cancel. Raises LookupError where that is only a link."""
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page.html)
    buttons = re.findall(r'<button type="submit" class="[^"]*" name="(agreed)" value="([^"]*)">([^<]*)', page.html)
    said = [(name, value) for name, value, label in buttons if (label == "Cancel") is not yes]
    if len(said) != 1:
        raise LookupError("no such button")
    return {name: text.unescape(value) for name, value in (*found, *said)}


class Browser:
    """One cookie jar."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self.url, self._headers = url, dict(headers or {})
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self._http.close()

    @property
    def token(self) -> str | None:
        cookie = self._http.cookie_jar.filter_cookies(URL(self.url)).get(COOKIE)
        return cookie.value if cookie else None

    @token.setter
    def token(self, token: str) -> None:
        self._http.cookie_jar.update_cookies({COOKIE: token}, URL(self.url))

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self._http.cookie_jar}

    def set_cookie(self, name: str, value: str) -> None:
        self._http.cookie_jar.update_cookies({name: value}, URL(self.url))

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Page:
        return await self.ask("GET", path, headers=headers)

    async def post(self, path: str, headers: Mapping[str, str] | None = None, /, **form: str) -> Page:
        return await self.ask("POST", path, headers={"Sec-Fetch-Site": "same-origin", **(headers or {})}, form=form)

    async def upload(self, path: str, files: Mapping[str, bytes], /, **form: str) -> Page:
        """Files by their names, in the field `file`."""
        sent = aiohttp.FormData(form)
        for name, content in files.items():
            sent.add_field("file", content, filename=name, content_type="application/yaml")
        return await self.ask("POST", path, headers={"Sec-Fetch-Site": "same-origin"}, form=sent)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | aiohttp.FormData | None = None,
    ) -> Page:
        async with self._http.request(
            method, self.url + path, headers={**self._headers, **(headers or {})}, data=form, allow_redirects=False
        ) as answer:
            html = await answer.text()
            return Page(answer.status, dict(answer.headers), html)

    async def sign_in(self, email: str, password: str = PASSWORD, next_path: str = "/") -> Page:
        return await self.post("/_sign-in", email=email, password=password, next=next_path)
