"""Log lines: one record is one line, ids come along, secrets and people's values do not."""

import asyncio
import io
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar
from uuid import UUID

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import logs
from shared.errors import Outage

log = logs.get("tests.logs")

KLAVIYO_KEY = "pk_0123456789abcdef0123456789abcdef01"
OUR_KEY = "jai_live_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"
E = TypeVar("E", bound=BaseException)
VALUES: st.SearchStrategy[object] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.uuids(), st.datetimes()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner), st.sets(st.text())),
    max_leaves=6,
)


@pytest.fixture(autouse=True)
def _root_logger_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class Written:
    """What a configured process would write to standard error."""

    def __init__(self, style: Literal["json", "text"] = "json", secrets: tuple[str, ...] = ()) -> None:
        self._stream = io.StringIO()
        stderr, sys.stderr = sys.stderr, self._stream
        try:
            logs.configure("gateway", level="DEBUG", style=style, secrets=secrets)
        finally:
            sys.stderr = stderr

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def line(self) -> dict[str, Any]:
        """The only line, as JSON."""
        [line] = self.text.splitlines()
        return dict(orjson.loads(line))


def raised(error: E, cause: BaseException | None = None) -> E:
    """An error with a stack."""
    with suppress(type(error)):
        raise error from cause
    return error


def test_a_line_says_when_where_how_bad_and_what() -> None:
    written = Written()

    log.warning("queue.slow", queue="write", waited_s=1.5, at_most=3, ok=False, none=None)

    line = written.line()
    assert datetime.fromisoformat(line.pop("at")).tzinfo is UTC
    assert line == {
        "level": "warning", "service": "gateway", "event": "queue.slow", "logger": "tests.logs", "queue": "write",
        "waited_s": 1.5, "at_most": 3, "ok": False, "none": None,
    }  # fmt: skip


def test_bound_ids_are_on_every_line_inside_and_on_none_after() -> None:
    written = Written()

    with logs.bound(org_id=UUID(int=1)), logs.bound(job="a"):
        log.info("inside")
    log.info("after")

    inside, after = (orjson.loads(line) for line in written.text.splitlines())
    assert (inside["org_id"], inside["job"]) == (str(UUID(int=1)), "a")
    assert after.keys().isdisjoint({"org_id", "job"})


async def test_ids_bound_in_one_task_do_not_show_in_another() -> None:
    written = Written()
    both_bound = asyncio.Barrier(2)

    async def work(name: str) -> None:
        with logs.bound(job=name):
            await both_bound.wait()
            log.info("working", of=name)

    await asyncio.gather(work("a"), work("b"))

    lines = [orjson.loads(line) for line in written.text.splitlines()]
    assert sorted((line["job"], line["of"]) for line in lines) == [("a", "a"), ("b", "b")]


def test_a_field_never_takes_the_place_of_what_every_line_has() -> None:
    written = Written()

    log.info("real", **{"event": "forged", "level": "error", "service": "other", "at": "never", "self": "x"})

    line = written.line()
    assert (line["event"], line["level"], line["service"], line["self"]) == ("real", "info", "gateway", "x")
    assert line["at"] != "never"


@pytest.mark.parametrize(
    "name",
    [
        "password", "secret_key", "client_secret", "api_key", "apikey", "X-Api-Key", "x_api_key", "private_key",
        "sealed_key", "seal_keys", "api_key_peppers", "authorization", "Authorization", "Set-Cookie", "token",
        "access_token", "email", "phone", "first_name", "subject", "jai_subject", "preheader", "jai_body", "body",
        "fields", "attrs", "vars",
    ],
)  # fmt: skip
def test_what_is_named_like_a_secret_or_a_persons_value_is_masked_at_any_depth(name: str) -> None:
    written = Written()

    log.info(
        "x", **{name: "canary"}, inside={"headers": [{name: "canary"}]}, listed={name: ["canary", {"a": "canary"}]}
    )

    assert "canary" not in written.text
    assert written.line()[name] == "…"


def test_counts_are_shown_whatever_they_count() -> None:
    written = Written()

    log.info("x", body_bytes=10, emails=2, email_count=3, api_key_peppers="set", tokens=4.5)

    line = written.line()
    assert (line["body_bytes"], line["emails"], line["email_count"], line["tokens"]) == (10, 2, 3, 4.5)
    assert line["api_key_peppers"] == "set"


@pytest.mark.parametrize(
    "text",
    [
        KLAVIYO_KEY, OUR_KEY, f"Klaviyo-API-Key {KLAVIYO_KEY}", f"key={KLAVIYO_KEY},", f"Bearer {OUR_KEY}",
        "Bearer canary-of-another-kind", "postgresql://canary:canary@db:5432/justai", "amqp://canary:ca:na/ry@mq/",
        "-----BEGIN OPENSSH PRIVATE KEY-----\ncanary\n-----END OPENSSH PRIVATE KEY-----",
    ],
)  # fmt: skip
@pytest.mark.parametrize("style", ["json", "text"])
def test_what_has_the_shape_of_a_secret_is_masked_wherever_it_stands(text: str, style: Literal["json", "text"]) -> None:
    written = Written(style)

    log.info("x", said=f"before {text} after", deep={"list": [text]})
    logging.getLogger("a.library").warning("it said %s", text)
    log.error("x", exc_info=raised(OSError(f"could not use {text}")))

    for canary in ("canary", KLAVIYO_KEY, OUR_KEY):
        assert canary not in written.text
    assert "before" in written.text


def test_what_the_process_was_told_in_confidence_is_masked_wherever_it_turns_up() -> None:
    written = Written(secrets=("hunter2hunter2", "hunter2hunter2-and-more", "ab", ""))

    log.info("x", said="it was hunter2hunter2-and-more, or hunter2hunter2", ab="ab")
    log.error("x", exc_info=raised(OSError("hunter2hunter2")))

    assert "hunter2" not in written.text
    assert '"it was …, or …"' in written.text
    assert '"ab":"ab"' in written.text  # too short to be told from a word


def test_the_text_of_an_unforeseen_error_is_not_shown_but_its_type_and_place_are() -> None:
    written = Written()
    group = ExceptionGroup("canary", [raised(KeyError("canary")), raised(ValueError("canary"), KeyError("canary"))])

    log.error("x", exc_info=raised(group, raised(UnicodeError("canary"))), error=ValueError("canary"))

    line = written.line()
    assert "canary" not in written.text
    assert line["error"] == "ValueError"
    for name in ("ExceptionGroup", "KeyError", "ValueError", "UnicodeError", "which led to:", "2 of 2:", "in raised"):
        assert name in line["exception"]


def test_the_text_of_our_own_failures_is_shown() -> None:
    written = Written()

    log.error("x", exc_info=raised(Outage("the database is out of reach")))

    assert "Outage: the database is out of reach" in written.line()["exception"]


@given(event=st.text(min_size=1), fields=st.dictionaries(st.text(), VALUES, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("style", ["json", "text"])
def test_whatever_is_logged_is_one_line(event: str, fields: Mapping[str, Any], style: Literal["json", "text"]) -> None:
    written = Written(style)

    log.info(event, **{f"field_{number}": value for number, value in enumerate(fields.values())}, more=dict(fields))

    assert written.text.count("\n") == 1
    assert written.text.endswith("\n")
    assert len(written.text.splitlines()) == 1 or style == "json"  # JSON readers split at \n alone
    if style == "json":
        assert orjson.loads(written.text)["service"] == "gateway"


@pytest.mark.parametrize("number", [2**63, -(2**200), float("nan"), float("inf")])
def test_a_number_that_json_does_not_know_costs_no_line(number: float) -> None:
    written = Written()

    log.info("x", number=number)

    assert "number" in written.line()


def test_a_value_cannot_forge_a_line_or_a_field_in_text_style() -> None:
    """ASVS 5.0 V16.4.1."""
    written = Written("text")

    log.info("x", said='a\nERROR   forged level=error "', plain="word", red="\x1b[31m")
    log.error("y", exc_info=raised(OSError("a\nERROR   forged")))

    first, second, *stack = written.text.splitlines()
    assert first == 'info    x said="a\\nERROR   forged level=error \\"" plain=word red="\\u001b[31m"'
    assert second == "error   y"
    assert all(line.startswith("    ") for line in stack)


def test_a_long_value_is_cut_and_bytes_are_only_counted() -> None:
    written = Written()

    log.info("x", long="a" * 10_000, raw=b"canary")

    assert written.line()["long"].endswith("… (+2000)")
    assert written.line()["raw"] == "<6 bytes>"


def test_libraries_are_heard_from_warnings_on_and_a_level_is_kept() -> None:
    written = Written()
    logs_of_library = logging.getLogger("aio_pika.connection")

    logs_of_library.info("chatter")
    logs_of_library.warning("lost %s", "it")

    assert written.line()["event"] == "lost it"
