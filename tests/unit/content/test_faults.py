"""What import says of a variant's texts: refused, warned of, or fine."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.content.faults import CLIPPED_BYTES, check_variant
from shared.rendering.copy import RenderError, compile_copy
from shared.schemas.template_file import VariantCopy
from tests.unit.rendering.given import source

BODY = "<p>Hello {{ first_name | default: 'there' }}</p>"


def check(*required: str, **texts: str) -> list[str]:
    copy = {"name": "Warm hello", "subject": "Hello", "body": BODY, **texts}
    return [str(found) for found in check_variant(VariantCopy.model_validate(copy), required)]


def faults(*required: str, **texts: str) -> list[str]:
    copy = {"name": "Warm hello", "subject": "Hello", "body": BODY, **texts}
    found = check_variant(VariantCopy.model_validate(copy), required)
    return [str(one) for one in found if not one.warning]


def test_copy_that_everybody_can_be_shown_is_fine() -> None:
    body = (
        f"{BODY}<a href='https://shop.example/?n={{{{ first_name | default: '' }}}}'>Go</a>"
        "<a href='mailto:a@shop.example'>Mail</a><a href='tel:+1'>Call</a><a href='#top'>Up</a>"
        '{% if link %}<a href="{{ link }}">Yours</a>{% endif %}'
    )

    assert check(subject="{{ first_name | default: 'You' }}, hello", preheader="", body=body) == []


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("<p>\n{% unsubscribe %}</p>", 2, "keep it in the email template"),
        ("{% web_view 'x' %}", 1, "keep it in the email template"),
        ("<p>\n\n{{ person.first_name }}</p>", 3, "write {{ first_name | default: 'words' }}"),
        ("{{ person.first_name|default:'x' }}", 1, "write {{ first_name | default: 'words' }}"),
        ("{{ person|lookup:'first name' }}", 1, "send the value as a field"),
        ("{{ event.Total }} {{ organization.name }}", 1, "send the value as a field"),
    ],
)
@pytest.mark.parametrize("place", ["subject", "preheader", "body"])
def test_klaviyos_own_tags_in_copy_are_refused_with_where_and_what_to_do(
    place: str, text: str, line: int, said: str
) -> None:
    text = text if place == "body" else " ".join(text.split())

    found = faults(**{place: text})

    where = f'variant "Warm hello", {place}, line {line if place == "body" else 1}: {{'
    assert found[0].startswith(where)
    assert "Klaviyo's" in found[0]
    assert said in found[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% shout %}", "line 1: unexpected tag 'shout'"),
        ("\n{% endif %}", "line 2: unexpected tag 'endif'"),
        ("{% if a %}x", "expected tag endif"),
        ("{{ first_name", "line 1: expected '}}'"),
        ("{{ first_name | nice }}", "no such filter: nice"),
        ("{% include 'x' %}", "unexpected tag 'include'"),
        ("{{ }}", "expected a primitive expression"),
    ],
)
def test_what_is_not_the_language_is_refused_with_what_the_language_is(text: str, said: str) -> None:
    [found] = faults(body=text)

    assert said in found
    assert "Copy is Liquid with the tags if, unless" in found


def test_every_field_without_a_fallback_is_named_with_the_ways_out() -> None:
    found = faults(
        subject="{{ first_name }}", body="<p>{{ city | upcase }}\n{{ first_name }}</p>{{ plan | default: 'x' }}"
    )

    assert [one.split(" has no fallback")[0] for one in found] == [
        'variant "Warm hello", subject, line 1: {{ first_name }}',
        'variant "Warm hello", body, line 1: {{ city }}',
        'variant "Warm hello", body, line 2: {{ first_name }}',
    ]
    assert "{{ first_name | default: 'words' }}" in found[0]
    assert "required_fields" in found[0]


def test_a_required_field_needs_no_fallback_and_the_others_still_do() -> None:
    assert check("first_name", subject="{{ first_name }}", body="<p>{{ first_name | upcase }}</p>") == []
    assert len(faults("first_name", subject="{{ first_name }}", body="<p>{{ city }}</p>")) == 1


def test_a_part_of_a_field_is_refused() -> None:
    [found] = faults(body="<p>{{ address.city | default: 'x' }}</p>")

    assert "address.city asks for a part of a field" in found


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ('href="javascript:alert(1)"', "none of"),
        ('href="JaVa\tScRiPt:alert(1)"', "none of"),
        ('href="ftp://shop.example/x"', "none of"),
        ('href="data:text/html,x"', "none of"),
        ('href="/first"', "with https://"),
        ('href="shop.example/first"', "with https://"),
        ('href="//shop.example/first"', "with https://"),
        ('href=""', "with https://"),
        ("href", "with https://"),
        ("href='/{{ first_name | default: \"\" }}'", "with https://"),
        ("href=shop.example", "with https://"),
    ],
)
def test_a_link_that_is_not_for_mail_is_refused(attribute: str, said: str) -> None:
    for body in (f"<p>Hello</p><a {attribute}>Go</a>", f"<p>Hello</p><!--[if mso]><a {attribute}>Go</a><![endif]-->"):
        [found] = faults(body=body)
        assert said in found
        assert 'href="' in found


@pytest.mark.parametrize(
    ("link", "refused"),
    [
        ("{{ a | default: '/shop' }}", True),
        ("{{ a | default: 'www.shop.example' }}", True),
        ("{% if a %}{{ a }}{% endif %}", True),
        ("{% if a %}{{ a }}{% else %}https://shop.example{% endif %}", False),
        ("{{ a | default: 'https://shop.example' }}", False),
        ("{{ a | default: '//shop.example' }}", False),
        ("{{ a | default: '#' }}", False),
        ("{{ b }}/path", False),
        ("{{ b | replace: '1', '2' }}", False),
        ("{{ b | replace: 'http:', 'https:' | append: '?n=1' }}", False),
        ("{% assign u = b | upcase %}{{ u }}", False),
        ("{{ b | prepend: '/p/' }}", True),
        ("{{ b | times: 2 | prepend: 'https://shop.example/?n=' }}", False),
        ("{{ b | default: '1.html' }}", False),
        ("{{ a | default: '1.html' }}", True),
    ],
)
def test_a_fallback_that_leads_nowhere_in_a_mail_is_refused(link: str, refused: bool) -> None:
    found = faults("b", body=f'<p>Hello</p><a href="{link}">Go</a>')

    assert [one for one in found if "let its fallback be a whole address" in one] == found
    assert bool(found) == refused


def test_each_faulty_link_is_told_once() -> None:
    body = '<p>Hi</p><a href="/a">1</a><a href="/a">2</a><img src="/b.png">'

    assert [one.split(": ")[1].split(" leads")[0] for one in faults(body=body)] == [
        'href="/a" of <a>',
        'src="/b.png" of <img>',
    ]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"body": "<p style=\"color:{{ colour | default: 'red' }}\">x</p>"}, "a value could become markup"),
        ({"body": "<p {{ a | default: 'x' }}>x</p>"}, "a value could become markup"),
        ({"body": "{% raw %}{{ first_name }}{% endraw %}"}, "Klaviyo fills in nothing"),
        ({"body": "{% if vip %}Hello{% endif %}"}, "neither words nor a picture to whoever lacks a field"),
        ({"body": "<div>{% if vip %}Hello{% endif %}</div>"}, "neither words nor a picture to whoever lacks a field"),
        ({"subject": "{% if vip %}Hello{% endif %}"}, "shows no subject"),
        ({"body": "<div><br>&nbsp;</div>"}, "neither words nor a picture"),
        ({"body": "<style>p { color: red }</style>"}, "neither words nor a picture"),
        ({"body": "<p>" + "ä" * 40_000 + "</p>"}, "larger than the 80 KB"),
        ({"body": "{% for i in (1..2000) %}x{% endfor %}"}, "loops or grows too much"),
        ({"body": "{{ 1 | divided_by: 0 }}"}, "cannot be computed"),
    ],
)
def test_what_only_shows_when_it_is_rendered_is_refused(texts: dict[str, str], said: str) -> None:
    [found] = faults(**texts)

    assert said in found


def test_a_picture_alone_is_something_to_see() -> None:
    assert check(body='<img src="https://shop.example/a.png" alt="">') == []


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"body": "<p>" + "x" * CLIPPED_BYTES + "</p>"}, "Gmail may cut"),
        ({"subject": "long " * 60}, "longer than 250"),
        ({"preheader": "long " * 120}, "longer than 500"),
        ({"subject": "Fish &amp; Chips"}, "plain text, so &amp; would be seen"),
        ({"preheader": "a&#39;b"}, "plain text, so &#39; would be seen"),
    ],
)
def test_what_can_be_served_but_hardly_was_meant_is_only_warned_of(texts: dict[str, str], said: str) -> None:
    [warned] = check(**texts)

    assert said in warned
    assert faults(**texts) == []


parts = st.sampled_from(
    [
        "<p>Hello", "</p>", "{{ a }}", "{{ a | default: 'x' }}", "{% if a %}{{ a }}{% endif %}", "{% if b %}",
        "{% endif %}", "{{ b | upcase }}", "{% raw %}{{ a }}{% endraw %}", "<a href=\"{{ a | default: '#' }}\">",
        '<a href="/x">', "{%", "}}",
    ]
)  # fmt: skip


@given(
    body=st.lists(parts, min_size=1, max_size=6).map("".join), fields=st.dictionaries(st.sampled_from("ab"), st.text())
)
@settings(max_examples=200)
def test_what_import_lets_in_the_generator_can_render_for_everybody(body: str, fields: dict[str, str]) -> None:
    if not body.strip() or faults(body=body):
        return

    try:
        compile_copy(source(body=body)).render(fields)
    except RenderError as error:
        # What the person's own values do is judged when they come.
        assert error.reason in ("unfilled_tag", "unsafe_link", "body_too_large", "empty_body")  # noqa: PT017  # else fine
