"""What is served is what was written, cleaned: Liquid comes through untouched, and what is not for mail does not."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from liquid.exceptions import LiquidError

from shared.content.clean import ATTRIBUTES, TAGS
from shared.content.served import CannotServe, serve
from shared.rendering.copy import compile_copy
from shared.rendering.language import NotInTheLanguage, parse_body
from tests.unit.rendering.given import source

SLOT = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
VALUES: tuple[dict[str, str], ...] = ({}, {"a": "1"}, {"a": "1", "b": "2"}, {"b": "<i>&'\""})

text = st.sampled_from(["Hello", "5 &gt; 4 &amp; more", 'O\'Neil "said"', "é ☕", "&nbsp;", " \n ", "100%", "{ }"])
slot = st.sampled_from(
    [
        "{{ a | default: 'x' }}", "{{- a | default: \"5 > 4\" -}}", "{{ b | default: 'é' | upcase | truncate: 9 }}",
        "{%- comment -%} not <b>shown {%- endcomment -%}", "{% assign c = 'y' %}{{ c }}", "{{ 'x' | append: 'y' }}",
    ]
)  # fmt: skip
attribute = st.sampled_from(
    [
        "", ' title="{{ a | default: \'x\' }}"', ' class="big" style="color:red;padding:0 4px"', ' align="center"',
        ' style="font-family:Georgia, serif"', ' title="a &amp; b{% if a %} {{ a }}{% endif %}"', ' aria-label="x"',
    ]
)  # fmt: skip


def wrapped(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    many = st.lists(inner, min_size=1, max_size=3).map("".join)
    return st.one_of(
        st.builds("<div{}>{}</div>".format, attribute, many),
        st.builds("<strong{}>{}</strong>".format, attribute, st.one_of(text, slot)),
        st.builds("{{% if a == '1' %}}{}{{% else %}}{}{{% endif %}}".format, many, many),
        st.builds("{{% for i in (1..2) %}}{}{{% endfor %}}".format, many),
        st.builds(
            "<table{}>{{% if b %}}<tr><td{}>{}</td></tr>{{% endif %}}<tr><td>{}</td></tr></table>".format,
            attribute, attribute, many, many,
        ),
        st.builds('<a href="https://shop.example/?q={}"{}>{}</a>'.format, slot, attribute, st.one_of(text, slot)),
        st.builds("<!--[if mso]><p{}>{}</p><![endif]-->".format, attribute, st.one_of(text, slot)),
    )  # fmt: skip


clean_bodies = st.recursive(st.one_of(text, slot), wrapped, max_leaves=12)


class Markup(HTMLParser):
    """The names of all elements and attributes, those that Outlook sees in comments too."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.values: set[str] = set()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names |= {tag, *(f"{tag} {name}" for name, _ in attrs)}
        self.values |= {value or "" for _, value in attrs}

    def handle_comment(self, data: str) -> None:
        inside = Markup(data)
        self.names |= inside.names
        self.values |= inside.values


@given(body=clean_bodies)
@settings(max_examples=300)
def test_what_is_clean_already_renders_after_it_exactly_as_before(body: str) -> None:
    served = serve(body)

    assert served.removed == []
    for values in VALUES:
        assert parse_body(served.body).render(values) == parse_body(body).render(values)


@given(parts=st.lists(st.one_of(
    clean_bodies, slot, st.sampled_from(
        ["<p>", "</p>", "<td>", "</td>", "<tr>", "<table>", "</table>", "<script>", "</script>", "<b onclick='x'>",
         "<!-- {{ a }} -->", "<!--[if mso]>", "<![endif]-->", "<svg><style>", "--!>", "<a href='javascript:x'>",
         "{% if a %}", "{% endif %}", "<p title='", "'>", '">', "<style>", "</style>", "<math><mi>", "<form>", "&lt;"],
    )), max_size=8))  # fmt: skip
@example(parts=["<a href='javascript:x'>", "<table>", "<a href='javascript:x'>"])  # a link in a table in a link
@settings(max_examples=300)
def test_whatever_is_written_no_tag_of_liquid_is_lost_or_moved_and_no_foreign_markup_is_left(parts: list[str]) -> None:
    """ASVS 5.0 V1.3.1: markup that people write is cleaned by a library, by a list of what is allowed."""
    body = "".join(parts)

    try:
        parse_body(body)
        served = serve(body).body
    except (CannotServe, LiquidError, NotInTheLanguage):
        return  # no copy at all, or refused: the cases are below

    assert SLOT.findall(served) == SLOT.findall(body)
    assert serve(served).body == served
    allowed = TAGS | {"style"}
    for name in Markup(SLOT.sub("", served)).names:
        tag, _, attribute = name.partition(" ")
        assert tag in allowed
        assert not attribute.startswith("on")


@pytest.mark.parametrize(
    ("body", "line", "said"),
    [
        ("<p>\n<b {{ a }}>x</b></p>", 2, "{{ a }} stands in an element's tag but outside quotes"),
        ("<p>\n\n<b {% if a %}class='x'{% endif %}>x</b></p>", 3, "{% if a %} stands in an element's tag"),
        ("<style>\np { color: {{ a }} }</style><p>x</p>", 2, "{{ a }} stands in <style>"),
        ("<p>x</p>\n<script>{{ a }}</script>", 2, "{{ a }} stands in <script>"),
        ("<p>x</p>\n<iframe src='{{ a }}'></iframe>", 2, "{{ a }} stands where HTML cannot keep it"),
        ("<p>x</p>\n<!-- {{ a }} -->", 2, "{{ a }} stands where HTML cannot keep it"),
        ("<p style='{% if a %}color:red{% endif %}'>x</p>", 1, "{% if a %} stands where HTML cannot keep it"),
        ("<p>x</p>{% raw %}x{% endraw %}", 1, "has no use in copy"),
        ("<table><tr><td>1</td>{% if a %}\n<p>{% endif %}2</p></tr></table>", 2, "{% endif %} stands where HTML"),
        ("<p>1</p>\n{% if a %}<p>{% endif %}<div>2</div>", 2, "close each where it is opened"),
        ("<p>{{ '<script>' }}</p>", 1, "holds markup in a text of its own"),
        ("<p>{{ a | append: '<b>' }}</p>", 1, "holds markup in a text of its own"),
        ("{% assign x = '<b>' %}<p>{{ x }}</p>", 1, "holds markup in a text of its own"),
        ("<p title='{{ a | default: \"'\" }}'>x</p>", 1, "holds a quote in a text of its own"),
        ("{% capture x %}<b>{% endcapture %}{{ x | slice: 0, 1 }}", 1, "changes or quotes what x has captured"),
        ("{% capture x %}\" on='{% endcapture %}<p title='{{ x }}'>x</p>", 1, "changes or quotes what x has captured"),
    ],
)  # fmt: skip
def test_a_tag_that_html_cannot_hold_is_refused_with_its_line_and_itself(body: str, line: int, said: str) -> None:
    with pytest.raises(CannotServe) as caught:
        serve(body)

    assert said in str(caught.value)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("body", "served", "gone"),
    [
        ("<p>a</p><script>alert(1)</script>", "<p>a</p>", "<script>"),
        ("<p onclick='x'>a</p>", "<p>a</p>", "onclick of <p>"),
        ("<form action='https://x.example'><input name='a'>b</form>", "b", "<form>"),
        ("<iframe src='https://x.example'></iframe>a", "a", "<iframe>"),
        ("<a href='javascript:alert(1)'>a</a>", "<a>a</a>", "href of <a>"),
        ("<a href='JaVa&#9;ScRiPt:alert(1)'>a</a>", "<a>a</a>", "href of <a>"),
        ("<img src='http://x.example/a.png' alt='a'>", '<img alt="a">', "src of <img>"),
        ("<img src='data:image/png;base64,x' alt='a'>", '<img alt="a">', "src of <img>"),
        ("<p style='position:fixed;color:red'>a</p>", '<p style="color:red">a</p>', "style position of <p>"),
        ("<p style='background:url(http://x.example)'>a</p>", "<p>a</p>", "style background of <p>"),
        ("<p style=\"background:url('//x.example')\">a</p>", "<p>a</p>", "style background of <p>"),
        ("<!--[if mso]><script>x</script><![endif]-->a", "a", "a conditional comment"),
        ("<!--[if mso]><p onclick='x'>x</p><![endif]-->a", "a", "a conditional comment"),
        ("<style>@import url(https://x.example/a.css);</style>a", "a", "@import"),
    ],
)
def test_what_is_not_for_mail_is_taken_out_and_named(body: str, served: str, gone: str) -> None:
    made = serve(body)

    assert made.body == served
    assert gone in made.removed


@pytest.mark.parametrize("quote", ["", "'", "&quot;"])
def test_a_picture_of_a_style_is_judged_by_its_address_however_it_is_quoted(quote: str) -> None:
    made = serve(f'<p style="width:9px;background:url({quote}https://x.example/a.png{quote})">a</p>')

    assert made.body == '<p style="width:9px;background:url(&quot;https://x.example/a.png&quot;)">a</p>'


def test_every_kind_of_link_that_a_mail_may_have_stays() -> None:
    body = "".join(f'<a href="{url}">x</a>' for url in (
        "https://x.example", "http://x.example", "mailto:a@x.example", "tel:+1", "#top", "{{ a | default: '#' }}",
        "{% if a %}https://x.example/a{% else %}https://x.example/b{% endif %}", "{{ a }}/path?q={{ b }}",
    ))  # fmt: skip

    assert serve(body).body == body


@pytest.mark.parametrize(
    "url",
    [
        "{% if a %}https://x.example/{% else %}javascript:alert(1){% endif %}",
        "{% if a %}java{% endif %}script:alert(1)",
        "{% if a %}javascript{% endif %}:alert(1)",
        "{% if a %}https://x.example/{% else %}javascript{% endif %}:alert(1)",
        "{% if a %}https://x.example/{% else %}javascript{% endif %}{{ b }}",
        "{% if a %}{% endif %} JavaScript:alert(1)",
        "java{% if a %}{% endif %}script:alert(1)",
    ],
)
def test_no_branch_of_a_link_may_have_another_scheme(url: str) -> None:
    with pytest.raises(CannotServe, match="stands where HTML cannot keep it"):
        serve(f'<p>x</p><a href="{url}">x</a>')


def test_style_sheets_move_into_the_elements_and_media_rules_stay_a_sheet() -> None:
    media = "@media (max-width:400px) { .x { color: blue !important } }"
    body = f"<style>.x {{ color: red }} {media}</style><p class='x'>{{{{ a }}}}</p>"

    assert serve(body).body == f'<style>{media}</style><p class="x" style="color:red">{{{{ a }}}}</p>'


def test_a_whole_document_is_served_as_what_is_in_it() -> None:
    body = (
        "<!DOCTYPE html><html><head><meta charset='utf-8'><title>Hello</title><style>.a { color: red }</style></head>"
        "<body><table class='a'><tr><td>Hi {{ a | default: \"you\" }}</td></tr></table></body></html>"
    )

    assert serve(body).body == (
        '<table class="a" style="color:red"><tr><td>Hi {{ a | default: "you" }}</td></tr></table>'
    )


def test_outlooks_comments_stay_with_the_tags_inside() -> None:
    body = (
        '<!--[if mso]><table><tr><td style="width:600px"><![endif]--><p>{{ a }}</p>'
        '<!--[if mso]><a href="https://x.example/{{ a }}">x</a></td></tr></table><![endif]-->'
        "<!--[if !mso]><!--><p>b</p><!--<![endif]-->"
    )

    assert serve(body).body == body


VML_BUTTON = (
    '<!--[if mso]><v:roundrect href="https://x.example" arcsize="10%"><w:anchorlock/><center>Go</center></v:roundrect>'
    "<![endif]-->"
)
GHOST = "<!--[if mso]><table><tr><td{}><![endif]-->", "<!--[if mso]></td></tr></table><![endif]-->"


@pytest.mark.parametrize(
    ("body", "served"),
    [
        (
            f'{VML_BUTTON}<a href="https://x.example" style="color:red;mso-hide:all">Go</a>',
            '<a href="https://x.example" style="color:red">Go</a>',
        ),
        (f"{VML_BUTTON}<!--[if !mso]><!--><b>Go</b><!--<![endif]-->", "<b>Go</b>"),
        ("<p>a</p>".join(GHOST).format(" onclick='x'"), "<p>a</p>"),
        (f"{VML_BUTTON}<!--[if !mso]><!-- --><b>Go</b><!-- <![endif]-->", "<b>Go</b>"),
    ],
)
def test_one_of_outlooks_comments_that_is_not_for_mail_takes_its_other_half_along(body: str, served: str) -> None:
    """Half a pair is worse than none: no button, or a closing that closes a table of Klaviyo's own."""
    made = serve(body)

    assert made.body == served
    assert [one for one in made.removed if "conditional comment" in one]


def test_that_all_of_outlooks_comments_went_is_said_with_why() -> None:
    assert serve("<p>a</p>".join(GHOST).format(" onclick='x'")).removed == [
        "all conditional comments, since one of them holds more than mail may"
    ]


@pytest.mark.parametrize("opened", ["<!-- -->", "<!---->", "<!-->", " -->", "-->"])
@pytest.mark.parametrize("closed", ["<!--<![endif]-->", "<!-- <![endif]-->"])
def test_what_all_but_outlook_show_stays_so_however_it_is_written(opened: str, closed: str) -> None:
    made = serve(f"<!--[if !mso]>{opened}<p>b</p>{closed}")

    assert made.removed == []
    assert made.body == f"<!--[if !mso]>{opened}<p>b</p>{closed}"


def test_settings_for_outlook_have_no_other_half() -> None:
    """They stand in the head of most whole documents."""
    settings = (
        "<!--[if gte mso 9]><noscript><xml><o:AllowPNG/></xml></noscript><![endif]-->"
        "<!--[if mso]><style>p { color: red }</style><meta name='x'><![endif]-->"
    )
    ghost = '<p style="mso-hide:all">a</p>'.join(GHOST).format("")

    assert serve(f"<html><head>{settings}</head><body>{ghost}</body></html>").body == ghost


TWO_COLUMNS = "<mj-column><mj-text>A</mj-text></mj-column><mj-column><mj-text>B</mj-text></mj-column>"
PICTURE = 'background-url="https://x.example/a.png"'


@pytest.mark.parametrize(
    ("mjml", "comments"),
    [
        (f"<mj-section {PICTURE}>{TWO_COLUMNS}</mj-section>", 8),
        (f'<mj-section full-width="full-width" {PICTURE}>{TWO_COLUMNS}</mj-section>', 10),
        (f"<mj-wrapper {PICTURE}><mj-section>{TWO_COLUMNS}</mj-section></mj-wrapper>", 12),
        (f"<mj-hero {PICTURE}><mj-text>Hi</mj-text></mj-hero><mj-section>{TWO_COLUMNS}</mj-section>", 12),
    ],
)
def test_a_picture_behind_a_section_of_mjml_costs_no_ghost_table(mjml: str, comments: int) -> None:
    """Outlook is shown none, but columns stay beside each other."""
    made = serve(f"<mjml><mj-body>{mjml}</mj-body></mjml>")

    assert made.body.count("<!--[if mso") == comments
    assert "v:" not in made.body
    assert [one for one in made.removed if "conditional comment" in one] == ["VML in a conditional comment"]


@pytest.mark.parametrize("other", [VML_BUTTON, "<!--[if mso]><v:rect><![endif]--><!--[if mso]></v:rect><![endif]-->"])
def test_what_is_whole_without_a_comment_that_goes_stays(other: str) -> None:
    """Nothing is hidden from Outlook, and what stays closes what it opens."""
    ghost = "<p>a</p>".join(GHOST).format("")

    made = serve(other + ghost)

    assert made.body.replace("<!--[if mso]><![endif]-->", "") == ghost


@pytest.mark.parametrize(
    "hidden",
    ['<b style="mso-hide:all">Go</b>', "<!--[if (!mso)&(!IE)]><!--><b>Go</b><!--<![endif]-->"],
)
def test_a_button_that_goes_takes_ghost_tables_along_where_something_is_hidden_from_outlook(hidden: str) -> None:
    """Which comment that was hidden for is not told by the markup."""
    assert "<!--" not in serve("<p>a</p>".join(GHOST).format("") + VML_BUTTON + hidden).body


def test_a_tag_of_liquid_in_a_comment_that_goes_is_told_why() -> None:
    with pytest.raises(CannotServe, match="as all conditional ones are where one holds more than mail may"):
        serve(f'{VML_BUTTON}<!--[if mso]><p>{{{{ a }}}}</p><![endif]--><b style="mso-hide:all">Go</b>')


def test_mjml_becomes_html_with_its_liquid_in_place() -> None:
    body = (
        "<mjml><mj-body><mj-section><mj-column><mj-text>Hi {{ a | default: 'you' }}</mj-text>{% if b %}"
        '<mj-button href="https://x.example/{{ b }}">Go</mj-button>{% endif %}'
        "</mj-column></mj-section></mj-body></mjml>"
    )

    made = serve(body)

    assert made.removed == []
    assert SLOT.findall(made.body) == SLOT.findall(body)
    compiled = compile_copy(source(body=made.body))
    assert ">Hi you</div>" in compiled.render({}).body
    assert 'href="https://x.example/7"' in compiled.render({"b": "7"}).body
    assert "x.example" not in compiled.render({}).body


def test_mjml_that_cannot_be_read_or_would_fetch_is_refused() -> None:
    for body in (
        "<mjml><mj-body><mj-text></mj-body></mjml>",
        "<mjml><mj-body><mj-include path='https://x.example/a'/>",
    ):
        with pytest.raises(CannotServe, match="is no MJML"):
            serve(body)


def test_the_allow_list_has_nothing_that_runs_or_asks() -> None:
    assert not TAGS & set(
        ["script", "form", "input", "button", "iframe", "object", "embed", "svg", "math", "link", "meta", "base"]
    )
    assert not any(name.startswith("on") for names in ATTRIBUTES.values() for name in names.split())
