"""`justai` as a person runs it, and what it left in the database."""

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
from click.testing import CliRunner, Result

from cli.__main__ import main

KEY = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OTHER_KEY = "k2:HxAREhMUFRYXGBkaGxwdHh8AAQIDBAUGBwgJCgsMDQ4="
_HASTE = 20  # reading calls keep below the smallest quota: 3 a second
PEPPER = KEY.replace("k1", "1")


@dataclass(frozen=True, slots=True)
class Cli:
    """Runs commands in this process, each with an event loop and connections of its own."""

    env: Mapping[str, str]

    def run(self, *arguments: str, given: str = "") -> Result:
        """Whatever comes of it; an exception that nobody turned into a message is the test's failure."""
        result = CliRunner().invoke(main, arguments, input=given, env=self.env)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def ok(self, *arguments: str, given: str = "") -> str:
        """Standard output of a command that succeeds."""
        result = self.run(*arguments, given=given)
        assert result.exit_code == 0, result.output
        return result.stdout

    def error(self, *arguments: str, given: str = "") -> str:
        """The message of a command that fails, with nothing on standard output."""
        result = self.run(*arguments, given=given)
        assert result.exit_code != 0, result.output
        assert result.stdout == ""
        assert "Traceback" not in result.output
        return result.stderr.strip()

    def line(self, *arguments: str, given: str = "") -> str:
        """The message of a command that fails with one line."""
        message = self.error(*arguments, given=given)
        assert message.startswith("Error: ")
        assert "\n" not in message
        return message.removeprefix("Error: ")

    def with_settings(self, **settings: str) -> "Cli":
        return Cli({**self.env, **{f"JUSTAI_{name.upper()}": value for name, value in settings.items()}})

    def rows(self, sql: str, *arguments: object) -> list[dict[str, Any]]:
        """What a superuser finds in the database."""
        return asyncio.run(self._rows(sql, arguments))

    def value(self, sql: str, *arguments: object) -> Any:
        [row] = self.rows(sql, *arguments)
        [value] = row.values()
        return value

    async def _rows(self, sql: str, arguments: tuple[object, ...]) -> list[dict[str, Any]]:
        connection = await asyncpg.connect(self.env["JUSTAI_DATABASE_URL"])
        try:
            return [dict(row) for row in await connection.fetch(sql, *arguments)]
        finally:
            await connection.close()

    def everything(self) -> str:
        """Every row of every table as text, for looking for what must not be there."""
        tables = self.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return "\n".join(
            str(row) for table in tables for row in self.rows(f"SELECT t::text FROM {table['tablename']} t")
        )


def settings(database_url: str, amqp_url: str) -> dict[str, str]:
    return {
        "JUSTAI_DATABASE_URL": database_url,
        "JUSTAI_AMQP_URL": amqp_url,
        "JUSTAI_SEAL_KEYS": KEY,
        "JUSTAI_API_KEY_PEPPERS": PEPPER,
    }


@dataclass(frozen=True, slots=True)
class Box:
    """A Klaviyo account in a box, a process of its own."""

    url: str
    account: str
    clock: str  # of the box, for whoever shall live in its time

    def ask(self, method: str, path: str, body: object = None) -> Any:
        return _ask(self.url, method, f"{self.account}{path}", body)

    def switch(self, **settings: object) -> None:
        """What the box is told of Klaviyo that public material leaves open."""
        _ask(self.url, "PUT", "/_sim/settings", settings)

    def key(self, *scopes: str) -> str:
        """A new private key; without scopes: those of the integration page."""
        return str(self.ask("POST", "/keys", {"scopes": list(scopes) or "page"})["key"])


@contextmanager
def klaviyo_box() -> Iterator[Box]:
    clock = f"scaled:{_HASTE}:{time.time()}:{datetime.now(UTC).isoformat()}"
    command = [sys.executable, "-m", "simulator", "--clock-spec", clock]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            account = _ask(url, "POST", "/_sim/accounts", {"name": "Acme Coffee"})
            yield Box(url, f"/_sim/accounts/{account['id']}", clock)
        finally:
            process.terminate()
            process.wait(10)


def _ask(url: str, method: str, path: str, body: object) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data=data, method=method)
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)
