"""What was kept of hostile input, changed at random: bodies of webhooks, batches of hooks, event files, copy.

A short run each time, a long one with `make chaos`. What a run finds is kept by writing its bytes to
`tests/corpus/found/<reader>/`: everything there is read again by each run, and is what further runs start from.
"""

import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from liquid.exceptions import LiquidError

from services.gateway.acceptance import accept
from services.gateway.hook_batches import BadBatch, lines_of
from services.gateway.reader import Unusable, read_webhook
from services.ingest.reading.parse import read_pieces
from services.ingest.records import Unreadable
from shared.content.served import CannotServe, serve
from shared.rendering.copy import RenderError, compile_copy
from shared.rendering.language import NotInTheLanguage
from shared.schemas.jobs import Batch, GenerateJob, join_encoded
from tests.unit.ingest.bad_files import BAD_FILES
from tests.unit.ingest.given_files import READING, csv_text, event, klaviyo_event, page
from tests.unit.rendering.given import source

CORPUS: Final = Path(__file__).parents[1] / "corpus"
SHORT, LONG = 150, 5_000
MOST_BYTES: Final = 20_000
_DEAR: Final = re.compile(r"bomb|million|twelve thousand|long table|brackets|Parquet")
"""Takes seconds each; damaged tables have a test of their own beside the other formats."""

_HOOK: Final = json.dumps({
    "meta": {"klaviyo_webhook_id": "W1"},
    "data": [{"topic": "event:klaviyo.opened_email", "external_id": "E1", "payload": {"data": klaviyo_event(1)}}],
}).encode()  # fmt: skip
_TOKENS: Final = [
    b"{", b"}", b"[", b"]", b'"', b"'", b",", b":", b"\\", b"\\u0000", b"\\ud800", b"\x00", b"\xff",
    b"\xef\xbb\xbf", b"\n",
    b"\r\n", b"\r", b"\t", b";", b"null", b"NaN", b"1e400", b"-0", b"18446744073709551616", b"{{ v }}", b"{{",
    b"{%", b"%}",
    b"{% if v %}", b"{% endif %}", b"<script>", b"</script>", b"<a href='", b"javascript:", b"<svg/onload=x>",
    b"<!--", b"-->",
    b"&#x6a;", b"<style>", b"<table>", b"]]>", b"<![CDATA[", b"template_id", b"user_id", b"2026-11-23T09:00:00Z",
    b"9999-99-99",
    b"Opened Email", b"\xe2\x80\xae", b"\xed\xa0\x80", b'"","', b"=cmd|' /C'!A0",
]  # fmt: skip


def kept(reader: str) -> list[bytes]:
    """What runs have found."""
    return [path.read_bytes() for path in sorted((CORPUS / "found" / reader).glob("*")) if path.name != ".gitkeep"]


def small_files() -> list[bytes]:
    found = [make().data for name, make in BAD_FILES.items() if not _DEAR.search(name)]
    found += [csv_text(3).encode(), page([klaviyo_event(1), klaviyo_event(2)]).encode()]
    found.append("\n".join(json.dumps(event(number)) for number in range(3)).encode())
    return [one for one in found if len(one) <= MOST_BYTES]


def bodies_of_copy() -> list[bytes]:
    fields = json.loads((CORPUS / "content" / "fields.json").read_text())
    hostile = [(one["value"] * one.get("times", 1))[:2_000].encode("utf-8", "replace") for one in fields]
    good = [
        b"<table><tr><td title=\"{{ v }}\">{{ v | default: 'x' }}</td></tr></table>",
        b'<p><a href="https://shop.example/{{ v | url_encode }}">{{ v | upcase }}</a></p><img src="https://x.example/a.png">',
        b"{% if v contains 'a' %}<b>{{ v }}</b>{% else %}<i>x</i>{% endif %}<!--[if mso]><p>{{ v }}</p><![endif]-->",
        b"<style>p { color: red } @media print { p { color: blue } }</style><p class='a'>{{ v }}</p>",
    ]
    return good * 8 + [good[at % len(good)] + one for at, one in enumerate(hostile)]


SEEDS: Final[dict[str, list[bytes]]] = {
    "webhook": [path.read_bytes() for path in sorted((CORPUS / "webhook").glob("*.body"))],
    "hook": [_HOOK],
    "events": small_files(),
    "copy": bodies_of_copy(),
}


@st.composite
def changed(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """One of the seeds after some edits: bytes cut, tokens put in, a part said twice, the end of another one."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 4)):
            case 0:
                data = data[:at] + data[at + draw(st.integers(1, 12)) :]
            case 1:
                data = data[:at] + draw(st.sampled_from(_TOKENS)) + data[at:]
            case 2:
                data = data[:at] + draw(st.binary(min_size=1, max_size=4)) + data[at + draw(st.integers(0, 4)) :]
            case 3:
                data = data[:at] + data[at : at + draw(st.integers(1, 200))] * 2 + data[at:]
            case _:
                other = draw(st.sampled_from(seeds))
                data = data[:at] + other[draw(st.integers(0, len(other))) :]
    return data[:MOST_BYTES]


# --- what must hold whatever the bytes are ---------------------------------------------------------------------------


def reads_webhook(body: bytes) -> None:
    """Read, or refused by a word; ids are short printable ASCII, and no text holds what a database cannot. The job is
    one that its consumer reads: an unreadable one would take along all that came in the same message."""
    try:
        webhook = read_webhook(body)
    except Unusable:
        return
    for one in (webhook.template_id, webhook.user_id, webhook.tracking_id):
        assert re.fullmatch(r"[!-~]{1,600}", one)
    values = [*webhook.attrs, *webhook.fields, *webhook.fields.values()]
    for value in webhook.attrs.values():
        values += [value] if isinstance(value, str) else value
    for text in values:
        assert "\x00" not in text
        text.encode()
    _, job = accept(UUID(int=1), webhook, body, datetime(2026, 11, 23, 10, tzinfo=UTC))
    [asked] = Batch[GenerateJob].model_validate_json(join_encoded("generate", [job])).jobs
    assert (asked.user_id, asked.attrs, asked.fields) == (webhook.user_id, webhook.attrs, webhook.fields)


def reads_hook(body: bytes) -> None:
    """Refused, or a line of JSON for each event."""
    try:
        lines = lines_of(body, "")
    except BadBatch:
        return
    for line in lines.splitlines():
        assert json.loads(line).keys() >= {"id", "metric", "profile_id"}


def reads_events(data: bytes) -> None:
    """Rows are events or rejects, or the file is held; the quick reader says what the careful one says
    (ASVS 5.0 V1.5.3)."""

    def outcome(quick_from_bytes: int) -> tuple[int, int, str]:
        rows = rejects = 0
        try:
            for piece in read_pieces(io.BytesIO(data), len(data), READING, quick_from_bytes=quick_from_bytes):
                rows, rejects = rows + piece.rows, rejects + len(piece.rejects)
                assert all("\x00" not in one.event_id for one in piece.events)
        except Unreadable as problem:
            return 0, 0, problem.reason
        return rows, rejects, ""

    assert outcome(0) == outcome(1 << 60)


class Dangers(HTMLParser):
    """What no email may hold."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "form", "input", "base", "meta", "link", "svg", "math"):
            self.found.append(tag)
        for name, value in attrs:
            url = "".join((value or "").split()).lower()
            leads = name in ("href", "src", "background", "action", "formaction", "srcset", "xlink:href")
            if name.startswith("on") or (leads and url.startswith(("javascript:", "vbscript:", "data:text"))):
                self.found.append(f"{tag} {name}={value!r}")

    def handle_comment(self, data: str) -> None:
        self.found += Dangers(data).found


def serves_copy(body: bytes) -> None:
    """Refused when it is saved, or for one person; else an email in which nothing runs, whoever the person is."""
    try:
        copy = compile_copy(source(body=serve(body.decode("utf-8", "replace")).body))
    except (CannotServe, LiquidError, NotInTheLanguage, RenderError):
        return
    for value in ("Ann", "<script>x</script>", '"><img src=x onerror=y>', "javascript:alert(1)", "{{ v }}"):
        try:
            rendered = copy.render({"v": value})
        except RenderError:
            continue
        assert Dangers(rendered.body).found == []
        assert "{{" not in rendered.body


READERS: Final[dict[str, Callable[[bytes], None]]] = {
    "webhook": reads_webhook,
    "hook": reads_hook,
    "events": reads_events,
    "copy": serves_copy,
}


@pytest.mark.parametrize("reader", READERS)
def test_whatever_was_found_stays_mended(reader: str) -> None:
    for data in [*SEEDS[reader], *kept(reader)]:
        READERS[reader](data)


@pytest.mark.parametrize("examples", [SHORT, pytest.param(LONG, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
@pytest.mark.parametrize("reader", READERS)
def test_no_change_of_hostile_input_breaks_its_reader(reader: str, examples: int) -> None:
    @settings(max_examples=examples, database=None, suppress_health_check=list(HealthCheck))
    @given(data=changed(SEEDS[reader] + kept(reader)))
    def fuzz(data: bytes) -> None:
        READERS[reader](data)

    fuzz()
