"""Where values land: escaping protects as text and inside quotes; everywhere else copy is refused."""

import time

import pytest

from shared.rendering.copy import RenderError, compile_copy
from shared.rendering.places import UnsafePlace, links_are_safe, marked, value_may_start_link
from tests.unit.rendering.given import source


def starts_link(body: str) -> bool:
    """`@` stands for an output tag."""
    pieces: list[str | None] = []
    for piece in body.split("@"):
        pieces += [piece, None]
    return value_may_start_link(pieces[:-1])


@pytest.mark.parametrize(
    "body",
    [
        "<a href=@>x</a>", "<@>", "<p @>", "<p @='x'>", "<p x@='x'>", '<p class="a"@>', '<p style="width:@px">',
        '<p onclick="f(\'@\')">', "<style>p { color: @ }</style>", "<script>f('@')</script>",
        '<a href="javascript:f(@)">x</a>', '<a href="data:text/html,@">x</a>', '<iframe srcdoc="@"></iframe>',
        '<meta http-equiv="refresh" content="0;url=@">', "<!--[if mso]><a href=@>x</a><![endif]-->", "<!-- <p @> -->",
    ],
)  # fmt: skip
def test_a_value_where_escaping_does_not_protect_is_refused(body: str) -> None:
    with pytest.raises(UnsafePlace):
        starts_link(body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<p>@</p>@", False),
        ('<p title="a @ b">@</p>', False),
        ("<p title='@'>x</p>", False),
        ('<a href="https://shop.example/@?q=@">x</a>', False),
        ('<a href="mailto:@">x</a>', False),
        ('<a href="/@">x</a>', False),
        ('<a href="@">x</a>', True),
        ('<a href=" @/path">x</a>', True),
        ('<img SRC="@">', True),
        ('<!--[if mso]><a href="@">x</a><![endif]-->', True),
        ('<table background="@"><tr><td>@</td></tr></table>', True),
        ("<title>@</title>", False),
        ("<!-- @ -->", False),
        ("no markup @ at all", False),
    ],
)
def test_links_are_checked_only_where_a_value_may_choose_the_scheme(body: str, expected: bool) -> None:
    assert starts_link(body) is expected


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:x", "java\nscript:x", "java&#10;script:x",
        "&#106;avascript:x", "javascript&colon;x", "\x01javascript:x", "data:text/html,x", "vbscript:x", "file:///etc",
    ],
)  # fmt: skip
def test_a_link_with_another_scheme_is_unsafe(url: str) -> None:
    assert not links_are_safe(f'<p>Hi</p><a class="b" href="{url}">x</a>')
    assert not links_are_safe(f"<img SRC = '{url}'>")


@pytest.mark.parametrize(
    "url", ["https://a.example/?b=c:d", "HTTP://a.example", "mailto:a@b.example", "tel:+1", "/x:y", "", "#x"]
)
def test_a_link_without_a_scheme_or_with_one_for_mail_is_harmless(url: str) -> None:
    assert links_are_safe(f'<a href="{url}">x</a>')


def test_a_value_that_makes_a_link_dangerous_is_control() -> None:
    copy = compile_copy(source(body='<a href="{{ link }}">Go</a>'))

    assert copy.render({"link": "https://shop.example/?a=1&b=2"}).body == (
        '<a href="https://shop.example/?a=1&amp;b=2">Go</a>'
    )
    with pytest.raises(RenderError) as caught:
        copy.render({"link": "javascript:alert(1)"})
    assert caught.value.reason == "unsafe_link"


@pytest.mark.parametrize(
    "value",
    [
        "https://shop.example/?a=1", "HTTP://a.example", "mailto:a@b.example", "tel:+1", "sms:+1", "#offers",
    ],
)  # fmt: skip
@pytest.mark.parametrize("body", ['<a href="{{ link }}">Go</a>', "<p>x</p><img alt='' src = ' {{- link }}'>"])
def test_a_value_that_is_a_link_for_mail_stays_as_it_is(value: str, body: str) -> None:
    rendered = compile_copy(source(body=f"<p>Hi</p>{body}")).render({"link": value}).body

    assert rendered == f"<p>Hi</p>{body}".replace(" {{- link }}", value).replace("{{ link }}", value)


@pytest.mark.parametrize(
    "value", ["www.shop.example/x", "/products/x", "products", "?a=1", "/\\evil.example", "//", "///x", "\\\\x"]
)
@pytest.mark.parametrize(
    "body",
    [
        '<a href="{{ link }}">Go</a>', "<img alt='' SRC = '{{ link }}'>",
        '<a href="{% if a %}{% endif %}{{ link }}">x</a>',
        '<!--[if mso]><td background="{{ link }}"><![endif]-->', "{% assign u = link %}<a href='{{ u }}'>x</a>",
        '<a href="&#32;&#xA0; &nbsp;{{ link }}">x</a>', "<a title='>' href='{{ link | default: \"'\" }}'>x</a>",
        '<a title="{{ "a" }} >"href="{{ link }}">x</a>', '<a title = x\'y href="{{ link }}">x</a>',
    ],
)  # fmt: skip
def test_a_value_that_leads_nowhere_in_a_mail_is_control(value: str, body: str) -> None:
    """No page is there that it could belong to: a dead button."""
    copy = compile_copy(source(body=f"<p>Hi</p>{body}"))

    with pytest.raises(RenderError) as caught:
        copy.render({"link": value})
    assert caught.value.reason == "unsafe_link"


def test_a_value_that_lacks_the_scheme_alone_gets_it() -> None:
    copy = compile_copy(source(body='<p>//x</p><img alt="" src="{{ link }}?w=1"><a href=\'{{ link }}\'>x</a>'))

    assert copy.render({"link": "//cdn.shop.example/a.png"}).body == (
        '<p>//x</p><img alt="" src="https://cdn.shop.example/a.png?w=1">'
        "<a href='https://cdn.shop.example/a.png'>x</a>"
    )


def test_only_links_that_begin_with_a_value_must_have_a_scheme() -> None:
    """What an author has written is judged when it is saved."""
    body = '<a href="/old">x</a><a href="#top">y</a><p>data="5" href="z"</p><a href="{{ link }}">Go</a>'

    assert compile_copy(source(body=body)).render({"link": "https://a.example"}).body == body.replace(
        "{{ link }}", "https://a.example"
    )


@pytest.mark.parametrize(
    "elsewhere",
    [
        '<p>Your profile="{{ link }}"</p>', "<p title='src=\"{{ link }}\"'>x</p>", '<p data-src="{{ link }}">x</p>',
        '<!--[if mso]><p>a > href="{{ link }}"</p><![endif]-->', '<p>a < b href="{{ link }}"</p>',
    ],
)  # fmt: skip
def test_what_only_looks_like_a_link_may_begin_with_any_value(elsewhere: str) -> None:
    body = f'{elsewhere}<a href="{{{{ real }}}}">Go</a>'

    shown = compile_copy(source(body=body)).render({"link": "7", "real": "https://a.example"}).body

    assert shown == body.replace("{{ link }}", "7").replace("{{ real }}", "https://a.example")


def test_blanks_before_a_value_do_not_keep_it_from_getting_its_scheme() -> None:
    copy = compile_copy(source(body='<p>Hi</p><a href="&nbsp;&#9;{{ link }}">Go</a>'))

    assert copy.render({"link": "//a.example"}).body == '<p>Hi</p><a href="https://a.example">Go</a>'


@pytest.mark.parametrize(
    "opening", ["<a ", "<a '", '<a ="', "<a =\"'", "<a x={{", "<a x='{%", "<a {{", "<a x", "<a x ="]
)
def test_links_are_marked_in_time_that_grows_as_the_text_does(opening: str) -> None:
    begun = time.process_time()
    marked(opening * (200_000 // len(opening)))
    marked(opening + "x " * 100_000)
    marked(opening + "x" * 200_000)

    assert time.process_time() - begun < 2  # looked at anew from each opening it is minutes


def test_no_picture_is_none_and_no_link_is_dead() -> None:
    picture, link = '<img src="{{ a | default: \'\' }}" alt="">', '<a href="{% if a %}{{ a }}{% endif %}">x</a>'

    assert compile_copy(source(body=f"<p>Hi</p>{picture}")).render({}).body == '<p>Hi</p><img src="" alt="">'
    with pytest.raises(RenderError, match="empty_body"):
        compile_copy(source(body=picture)).render({})
    with pytest.raises(RenderError, match="unsafe_link"):
        compile_copy(source(body=link)).render({})


def test_an_unsafe_place_tells_its_author_where() -> None:
    with pytest.raises(RenderError, match="attribute style of <p>") as caught:
        compile_copy(source(body='<p>{{ a }}</p><p style="color:{{ b }}">x</p>'))
    assert caught.value.reason == "unsafe_place"
