"""Rendering: hostile values stay text, nothing is left unfilled, headers stay one line, every failure has a reason."""

import unicodedata
from html.parser import HTMLParser

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shared.rendering.copy import (
    BODY_BYTES,
    BODY_JSON_BYTES,
    PREHEADER_CHARS,
    SUBJECT_CHARS,
    RenderError,
    compile_copy,
)
from shared.schemas.copy import Vars
from shared.vars_codec import decode_vars, encode_vars
from tests.unit.rendering.given import source

HOSTILE = [
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' onmouseover='x", "</p></table><h1>", "&lt;b&gt;",
    "javascript:alert(1)", "{{ person.name }}", "{% unsubscribe %}", "a\r\nBcc: b@example.com", "\x00", "\u202egnp",
    "\ud800", "` onclick=x", "--><b>", "]]><b>", "\u2028", "&#60;b&#62;", "O'Neil & Söhne \"GmbH\"", "{", "%",
]  # fmt: skip
values = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40), st.text("<>\"'&/= {}%\n\r\tab!-", max_size=40))
BODY = (
    "<p>News</p><table><tr><td title=\"{{ note }}\" class='{{ note }}'>{{ name }}</td></tr></table>"
    '<a href="https://shop.example/?n={{ note }}">{{ name | upcase }} {{ name | escape }} {{ name | truncate: 9 }}</a>'
    "{% assign shown = name | append: note | replace: 'a', note %}<p>{{ shown }}{{ '<i>' | append: name }}</i></p>"
    "{% capture both %}<i>{{ name }}</i>{% endcapture %}{{ both }}{{ name | split: ' ' | join: note }}"
    "{% for part in (1..3) %}<b>{{ name | slice: part, 2 }}{{ name | url_encode }}</b>{% endfor %}"
    "{{ name | escape_once }}{{ name | strip_newlines | squish | remove: ';' | capitalize }}"
    '<!--[if mso]><p title="{{ note }}">{{ name }}</p><![endif]-->'
)


class Outline(HTMLParser):
    """Every element with the names of its attributes, and the comments, which Outlook reads as HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[object] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, [name for name, _ in attrs]))

    def handle_endtag(self, tag: str) -> None:
        self.seen.append(f"/{tag}")

    def handle_comment(self, data: str) -> None:
        self.seen.append(Outline(data).seen)


def render(
    fields: dict[str, str] | None = None, subject: str = "Hello", preheader: str = "News", body: str = "<p>Hello</p>"
) -> Vars:
    return compile_copy(source(subject=subject, preheader=preheader, body=body)).render(fields or {})


def reason(fields: dict[str, str] | None = None, **texts: str) -> str:
    with pytest.raises(RenderError) as caught:
        render(fields, **texts)
    return caught.value.reason


@given(name=values, note=values)
@settings(max_examples=300)
def test_values_never_create_elements_attributes_or_comments(name: str, note: str) -> None:
    assume("{" not in name + note)

    body = render({"name": name, "note": note}, body=BODY).body

    assert Outline(body).seen == Outline(render({"name": "x", "note": "x"}, body=BODY).body).seen


@given(name=values, note=values)
@settings(max_examples=300)
def test_no_rendered_text_holds_an_unfilled_tag_a_nul_or_a_lone_surrogate(name: str, note: str) -> None:
    texts = {"subject": "{ {{ name }}, {{ note }}", "preheader": "{{ note }}{{ name }}", "body": BODY}

    try:
        rendered = render({"name": name, "note": note}, **texts)
    except RenderError as error:
        assert error.reason == "unfilled_tag"  # noqa: PT017  # the other branch asserts too
        assert "{" in name + note
    else:
        for text in rendered:
            assert not {"{{", "{%"} & {text[at : at + 2] for at in range(len(text))}
            assert "\x00" not in text
            text.encode()


@given(name=values, note=values)
@settings(max_examples=300)
def test_subject_and_preheader_are_one_normalised_line_of_plain_text(name: str, note: str) -> None:
    assume("{" not in name + note)

    rendered = render({"name": name, "note": note}, subject="Hello {{ name }}\r\n {{ note }}", preheader="{{ note }}")

    for text, limit in ((rendered.subject, SUBJECT_CHARS), (rendered.preheader, PREHEADER_CHARS)):
        assert len(text) <= limit
        assert text == " ".join(text.split()) == unicodedata.normalize("NFC", text)
        assert not any(unicodedata.category(char) == "Cc" for char in text)


def test_header_values_are_not_escaped_and_body_values_are() -> None:
    rendered = render({"name": "O'Neil & <Sons>"}, subject="{{ name }}", preheader="{{ name }}", body="{{ name }}")

    assert rendered == ("O'Neil & <Sons>", "O'Neil & <Sons>", "O&#39;Neil &amp; &lt;Sons&gt;")


def test_the_reading_direction_of_a_value_cannot_leak_into_the_copy() -> None:
    assert render({"name": "a\u202eb\u2066c\u200f"}, body="{{ name }}").body == "abc\u200f"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{{ name | default: 'there' }}", "there"),
        ("{% if name %}Hi {{ name }}{% else %}Hi{% endif %}", "Hi"),
        ("{% unless name %}Hi{% endunless %}", "Hi"),
        ("{% if name == blank %}Hi{% endif %}", "Hi"),
        ("{% if name != blank %}{{ name }}{% endif %}Hi", "Hi"),
        ("{% if name == nil and name != 'Ann' %}Hi{% endif %}", "Hi"),
        ("{% case name %}{% when 'Ann' %}Ann{% else %}Hi{% endcase %}", "Hi"),
        ("{% for part in name %}x{% endfor %}Hi", "Hi"),
        ("{% assign shown = name | default: 'Hi' %}{{ shown }}", "Hi"),
    ],
)
def test_a_missing_field_may_be_asked_about(body: str, expected: str) -> None:
    assert render(body=body).body == expected


@pytest.mark.parametrize(
    "body",
    [
        "{{ name }}",
        "{{ name | upcase }}",
        "{{ name | plus: 1 }}",
        "{{ 1 | plus: name }}",
        "{{ name.first }}",
        "{{ now }}",
        "{{ today }}",
    ],
)  # fmt: skip
def test_a_missing_field_may_not_be_printed(body: str) -> None:
    assert reason(body=body) == "field_missing"


def test_the_clock_is_no_variable_but_a_field_may_have_its_name() -> None:
    assert render({"now": "soon"}, body="{{ now }}").body == "soon"


@pytest.mark.parametrize(
    "body",
    [
        "{{ name | safe }}", "{{ name | date: '%Y' }}", "{% include 'x' %}", "{% render 'x' %}", "{% liquid echo 1 %}",
        "{% increment x %}", "{{ name ", "{% if name %}", "{% endif %}", "{{ name | nothing }}",
        "{% if (1..1000000000) contains 'x' %}{% endif %}", "{{ (1..1000000000) | join: 'x' }}",
        "{% assign all = (1..1000000000) %}", "x" * 200_001,
    ],
)  # fmt: skip
def test_copy_outside_the_language_is_broken(body: str) -> None:
    assert reason({"name": "x"}, body=body) == "copy_broken"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{% for i in (1..1001) %}x{% endfor %}", "render_limit"),
        ("{% for i in (1..40) %}{% for j in (1..40) %}x{% endfor %}{% endfor %}", "render_limit"),
        ("{% for i in (1..1000) %}{{ long }}{% endfor %}", "render_limit"),
        ("{% for i in (1..1000) %}{% assign long = long | append: long %}{% endfor %}", "render_limit"),
        ("{{ long | replace: 'a', long }}", "render_failed"),
        ("{{ long | split: '' | join: long }}", "render_failed"),
        ("{{ long | divided_by: 0 }}", "render_failed"),
    ],
)
def test_copy_that_would_run_away_is_stopped(body: str, expected: str) -> None:
    assert reason({"long": "a" * 2_000}, body=body) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (" {{ name | strip }}\n", "empty_body"),
        ("<table><tr><td>{% if vip %}<p>For you</p>{% endif %}</td></tr></table>", "empty_body"),
        ("<style>@media print { p { color: red } }</style><p>&nbsp;{{ name }}</p><br>", "empty_body"),
        ('<div style="display:none">Only a preheader<br></div><p>{{ name }}</p>', "empty_body"),
        ('<div style="max-height:0;overflow:hidden">Only a preheader</div><p>{{ name }}</p>', "empty_body"),
        ('<div style="visibility: hidden">Hello</div><p style="opacity:0.0">Hello</p>', "empty_body"),
        ("{% if name %}<div style='display:none'>{% endif %}Hello{% if name %}</div>{% endif %}", "empty_body"),
        ("<p style='display:{% if name %}none{% else %}block{% endif %}'>Hello</p>", "empty_body"),
        ('<p>{{ name }}</p><img src="https://shop.example/open.gif" width="1" height="1" alt="">', "empty_body"),
        ('<p>{{ name }}</p><img src="{{ picture | default: \'\' }}" alt="">', "empty_body"),
        ("{% raw %}{{ name }}{% endraw %}", "unfilled_tag"),
        ("<p>{{ name }}</p>" + "ü" * (BODY_BYTES // 2), "body_too_large"),
        ("<p>{{ name }}</p>" + '"' * (BODY_JSON_BYTES // 2), "body_too_large"),
    ],
)
def test_a_body_that_must_not_be_sent_is_control_with_its_reason(body: str, expected: str) -> None:
    assert reason({"name": " "}, body=body) == expected


def test_the_largest_body_fits_the_request_that_writes_it() -> None:
    body = render(body="é" * (BODY_BYTES // 2), subject="ü" * SUBJECT_CHARS, preheader="ü" * PREHEADER_CHARS)

    assert len(orjson.dumps(tuple(body))) < 95_000


def test_an_empty_subject_is_control_and_an_empty_preheader_is_not() -> None:
    assert reason({"name": "\u00a0\n"}, subject=" {{ name }} ") == "empty_subject"
    assert render({"name": " "}, preheader="{{ name }}").preheader == ""


@pytest.mark.parametrize(
    "unseen",
    ["\u200b", "\ufeff\u2060", "\u00ad \u200d", "\u3164", "\u2800", "\u034f\u00a0", "\ufe0f", "\U000e0100\u17b4"],
)
def test_what_nobody_sees_is_no_subject_and_no_body(unseen: str) -> None:
    assert reason({"name": unseen}, subject="{{ name }}") == "empty_subject"
    assert reason({"name": unseen}, body="<p>{{ name }}</p>") == "empty_body"


@pytest.mark.parametrize(
    "body",
    [
        "<p>{% if vip %}For you{% else %}For all{% endif %}</p>",
        '<div style="display: none">{{ name }}</div><p>{{ name }}Hello</p>',
        '<p>{{ name }}</p><img src="https://shop.example/a.png" alt="">',
        '<p>{{ name }}</p><img src="https://shop.example/{{ name | strip }}" width="100" alt="">',
        '<div style="max-height:0;opacity:0.999">Laid over a picture</div>',
        "<p style='opacity:0.5;max-height:0.5em'>Hi</p>{% if name %}<b style='display:block'>{{ name }}</b>{% endif %}",
        "<p>{{ name | default: '·' }}{% for part in (1..2) %}{{ part }}{% endfor %}</p>",
    ],
)
def test_a_body_that_shows_a_word_or_a_picture_is_sent(body: str) -> None:
    assert render({"name": " "}, body=body).body


def test_a_subject_that_grew_too_long_is_cut() -> None:
    subject = render({"name": "ab " * 200}, subject="{{ name }}").subject

    assert len(subject) <= SUBJECT_CHARS
    assert subject.endswith("…")


@given(name=values, note=values)
def test_what_is_stored_against_the_source_is_what_was_rendered(name: str, note: str) -> None:
    assume("{" not in name + note)
    copy = source(body=BODY, subject="Hello {{ name }}")

    rendered = compile_copy(copy).render({"name": name, "note": note})

    assert decode_vars(encode_vars(rendered, copy), copy) == rendered


@pytest.mark.parametrize("rows", [10, 100, 1_000, 3_600])
def test_a_body_of_any_size_is_stored_in_a_few_hundred_bytes(rows: int) -> None:
    filler = "".join(f"<p>{number}: {number * 7919 % 99991} ü</p>" for number in range(rows))
    copy = source(body=f"<p>{{{{ name }}}}</p>{filler}<p>{{{{ name }}}}</p>")

    rendered = compile_copy(copy).render({"name": "Ann"})

    assert len(encode_vars(rendered, copy)) < 400


def test_copy_nested_too_deeply_is_broken_and_stops_nothing_else() -> None:
    assert reason(body="{% if " + " and ".join(["a"] * 20_000) + " %}x{% endif %}") == "copy_broken"
