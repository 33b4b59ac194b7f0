"""The corpus of hostile fields and templates: values stay values in the email, templates that run away are stopped."""

import json
import time
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import pytest

from shared.content.served import serve
from shared.rendering.copy import CompiledCopy, RenderError, compile_copy
from shared.schemas.copy import Vars
from tests.unit.rendering.given import source

CORPUS = Path(__file__).parents[2] / "corpus" / "content"
STOPPED_WITHIN_S = 0.010
FIELDS = {one["name"]: one["value"] * one.get("times", 1) for one in json.loads((CORPUS / "fields.json").read_text())}
TEMPLATES = {path.stem: path.read_text() for path in sorted((CORPUS / "templates").glob("*.liquid"))}
SCHEMES = {"https", "http", "mailto", "tel", "sms", ""}
BODY = (
    '<table><tr><td title="{{ v }}" class=\'{{ v }}\' align="{{ v }}">{{ v }}</td></tr></table>'
    '<p><a href="https://shop.example/{{ v | url_encode }}?q={{ v }}#{{ v }}">{{ v | upcase }}</a>{{ v | escape }}</p>'
    '<img src="https://shop.example/{{ v }}.png" alt="{{ v }}">{{ v | default: \'x\' | truncate: 20 }}'
    "{% assign w = v | append: v | strip_newlines %}{{ w }}{% capture c %}<i>{{ v }}</i>{% endcapture %}{{ c }}"
    "{% if v contains '<' %}<b>{{ v | remove: ';' }}</b>{% else %}<b>{{ v }}</b>{% endif %}"
    '<!--[if mso]><p title="{{ v }}">{{ v }}</p><![endif]-->'
)
LINK = '<p>Hello</p><a href="{{ v }}">Go</a><img src="{{ v }}" alt="">'


class Email(HTMLParser):
    """What an HTML parser finds in a body: elements with their attributes, comments as Outlook reads them, schemes."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.markup: list[object] = []
        self.schemes: set[str] = set()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.markup.append((tag, [name for name, _ in attrs]))
        for name, value in attrs:
            if name in ("href", "src"):
                url = "".join(char for char in value or "" if char > " " and not char.isspace() and char != "\x7f")
                head, colon, _ = url.partition(":")
                is_scheme = bool(colon) and head[:1].isalpha() and head.replace("+", "").replace("-", "").isalnum()
                self.schemes.add(head.lower() if is_scheme else "")

    def handle_endtag(self, tag: str) -> None:
        self.markup.append(f"/{tag}")

    def handle_comment(self, data: str) -> None:
        inside = Email(data)
        self.markup.append(inside.markup)
        self.schemes |= inside.schemes

    def handle_decl(self, decl: str) -> None:
        self.markup.append("a declaration")

    def handle_pi(self, data: str) -> None:
        self.markup.append("an instruction")

    def unknown_decl(self, data: str) -> None:
        self.markup.append("a declaration")


def compiled(body: str) -> CompiledCopy:
    """As it is served: cleaned, then compiled."""
    return compile_copy(source(subject="Hi {{ v }}, hello", preheader="News {{ v }}", body=serve(body).body))


def shown(copy: CompiledCopy, value: str) -> Vars | str:
    """The email, or why there is none and the person gets the control content."""
    try:
        return copy.render({"v": value})
    except RenderError as error:
        return error.reason


COPY = compiled(BODY)
PLAIN = {kind: Email(COPY.render({"v": value}).body) for kind, value in {"with": "<x", "without": "x"}.items()}


@pytest.mark.parametrize("name", FIELDS)
def test_a_hostile_field_makes_no_element_attribute_or_scheme(name: str) -> None:
    """ASVS 5.0 V1.3.7: what a person wrote is never a part of the template."""
    value = FIELDS[name]

    rendered = shown(COPY, value)

    if isinstance(rendered, str):
        assert rendered in ("unfilled_tag", "render_limit", "render_failed", "body_too_large", "field_missing")
        return
    email = Email(rendered.body)
    assert email.markup == PLAIN["with" if "<" in value else "without"].markup
    assert email.schemes == {"https"}
    assert "{{" not in rendered.body
    assert "{%" not in rendered.body


@pytest.mark.parametrize("name", FIELDS)
def test_a_hostile_field_as_a_whole_link_has_a_harmless_scheme_or_the_person_gets_control(name: str) -> None:
    rendered = shown(compiled(LINK), FIELDS[name])

    if isinstance(rendered, str):
        assert rendered in ("unsafe_link", "unfilled_tag", "render_limit", "body_too_large")
        return
    email = Email(rendered.body)
    assert email.markup == [("p", []), "/p", ("a", ["href"]), "/a", ("img", ["src", "alt"])]
    assert email.schemes <= SCHEMES


@pytest.mark.parametrize("name", FIELDS)
def test_a_hostile_field_leaves_subject_and_preheader_one_line_without_controls(name: str) -> None:
    rendered = shown(COPY, FIELDS[name])

    if isinstance(rendered, str):
        return  # told by the first test
    for line in (rendered.subject, rendered.preheader):
        assert line == " ".join(line.split())
        assert not [char for char in line if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")]
        assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") & set(line)
        line.encode()


def test_the_corpus_reaches_both_ends() -> None:
    results = {name: shown(COPY, value) for name, value in FIELDS.items()}

    assert len(FIELDS) >= 120
    assert sum(isinstance(one, Vars) for one in results.values()) >= 80
    assert {"unfilled_tag", "render_limit"} <= {one for one in results.values() if isinstance(one, str)}


def stopped_after_s(body: str, value: str) -> tuple[float, str]:
    """Processor time until this template was refused, or once compiled was stopped, and the reason."""
    began = time.process_time()
    try:
        copy = compile_copy(source(body=body))
        began = time.process_time()
        copy.render({"long": value})
    except RenderError as error:
        return time.process_time() - began, error.reason
    return time.process_time() - began, "rendered"


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_hostile_template_is_stopped_within_ten_milliseconds(name: str) -> None:
    body, value = TEMPLATES[name], "a" * 2_000

    tries = [stopped_after_s(body, value) for _ in range(5)]

    assert {reason for _, reason in tries} <= {
        "copy_broken", "render_limit", "render_failed", "body_too_large", "field_missing",
    }  # fmt: skip
    assert min(took for took, _ in tries) < STOPPED_WITHIN_S
