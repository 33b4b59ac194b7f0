"""The preview grid and its page: rendered as it would be served, worst first, and nothing in the page can act."""

from html.parser import HTMLParser
from uuid import UUID

import pytest

from cli.preview_page import MOST_CELLS, page
from services.generator.render import Renderer
from shared.admin.variants.preview_grid import (
    LONG_LINK,
    LONG_VALUE,
    Cell,
    Person,
    Variant,
    example,
    fields_of,
    grid,
    link_fields_of,
    sampled,
)
from shared.schemas.copy import VariantSource

HOSTILE = '"></iframe><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 }}'


def variant(name: str = "Warm", **texts: str) -> Variant:
    given = {"subject": "Hi {{ first_name | default: 'you' }}", "preheader": "News", "body": "<p>Hello</p>", **texts}
    return Variant(UUID(int=7), name, "approved", 1, **given)


def person(name: str = "Ada", **fields: str) -> Person:
    return Person(name, {}, fields)


def test_every_cell_is_what_the_generator_would_render() -> None:
    one, somebody = variant(body="<p>{{ first_name }} & {{ city | default: 'there' }}</p>"), person(first_name="<Ada>")

    [cell] = grid([one], [somebody])

    source = VariantSource(one.copy_id, 1, one.subject, one.preheader, one.body)
    assert cell.shown == Renderer().render(source, {"first_name": "<Ada>"})
    assert (cell.reason, cell.missing) == (None, ["city"])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("<p>{{ nothing }}</p>", "field_missing"),
        ("{% nonsense %}", "copy_broken"),
        ("<a {{ x }}>y</a>", "unsafe_place"),
    ],
)
def test_what_cannot_be_shown_says_why_and_stops_no_neighbour(body: str, reason: str) -> None:
    cells = grid([variant("Good"), variant("Bad", body=body)], [person()])

    assert [(cell.variant.name, cell.reason) for cell in cells] == [("Bad", reason), ("Good", None)]
    assert cells[0].shown is None


def test_the_worst_comes_first_control_then_complaints_then_missing_fields_then_long_subjects() -> None:
    careless = variant("D careless", subject="Tom &amp; you")
    asking = variant("C asking", subject="Hi", body="<p>{{ city | default: 'there' }}</p>")
    broken = variant("E broken", body="{% nonsense %}")
    variants = [variant("A short", subject="Hi"), variant("B long", subject="Hi, you there"), asking, careless, broken]

    names = [cell.variant.name for cell in grid(variants, [person(first_name="Ada")])]

    assert names == ["E broken", "D careless", "C asking", "B long", "A short"]


def test_sampled_people_have_examples_and_the_two_that_break_copy_are_among_them() -> None:
    one = variant(body="<p>{{ first_name }} {{ city | default: '' }} {{ points | plus: 1 }}</p>")
    people = sampled([{"plan": "pro", "likes": ["tea", "rum"]}, {}], fields_of(one))

    shown = {cell.person.name: cell for cell in grid([one], people)}

    assert shown.keys() == {"plan=pro, likes=tea, rum", "no attrs", "nobody's fields", "long values"}
    ordinary = shown["plan=pro, likes=tea, rum"].shown
    assert ordinary is not None
    assert ordinary.body == "<p>Ada London 4</p>"
    assert shown["nobody's fields"].reason == "field_missing"
    assert shown["long values"].person.fields["city"] == LONG_VALUE
    assert [one.name for one in sampled([], {"x"})] == ["example", "nobody's fields", "long values"]


def test_a_field_that_a_link_begins_with_has_a_link_in_both_made_up_people() -> None:
    link = "{% if cta %}{{ cta }}{% else %}{{ shop }}{% endif %}"
    one = variant(body=f'<img src="{{{{ photo }}}}" alt="{{{{ name }}}}"><a href="{link}">x</a>')
    people = sampled([], fields_of(one), link_fields_of(one))

    shown = {cell.person.name: cell for cell in grid([one], people)}

    assert {name: cell.reason for name, cell in shown.items()} == {
        "example": None, "nobody's fields": "field_missing", "long values": None,
    }  # fmt: skip
    assert shown["example"].person.fields == {
        "photo": "https://shop.example/", "cta": "https://shop.example/", "shop": "https://shop.example/",
        "name": "Ada Lovelace", "first_name": "Ada",
    }  # fmt: skip
    assert [name for name, value in shown["long values"].person.fields.items() if value == LONG_LINK] == [
        "cta", "photo", "shop",
    ]  # fmt: skip


def test_a_field_that_nobody_foresaw_is_exampled_by_its_name() -> None:
    assert example("favourite_colour") == "favourite colour"


class _Reader(HTMLParser):
    """Tags outside of frames, and the frames' documents."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.frames: list[dict[str, str | None]] = []
        self.policies: list[str | None] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.handlers += [name for name in given if name.startswith("on") or name in ("src", "href")]
        if tag == "iframe":
            self.frames.append(given)
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policies.append(given["content"])


def read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader


def test_a_hostile_copy_and_person_stay_inside_frames_that_may_do_nothing() -> None:
    evil = variant(HOSTILE, subject="{{ first_name }}", preheader="{{ first_name }}", body=f"<p>x</p>{HOSTILE[:60]}")
    html = page(HOSTILE, grid([evil], [person(HOSTILE, first_name=HOSTILE.replace("{{ 7 }}", ""))]))

    outside = read(html)
    [frame] = outside.frames

    assert set(outside.tags) <= {
        "html", "head", "meta", "title", "style", "body", "header", "main", "article", "div", "span", "h1", "h2", "p",
        "ul", "li", "iframe",
    }  # fmt: skip
    assert outside.handlers == []
    assert frame["sandbox"] == ""
    inside = read(frame["srcdoc"] or "")
    for policy in (*outside.policies, *inside.policies):
        assert policy is not None
        assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert (len(outside.policies), len(inside.policies), inside.tags[0]) == (1, 1, "meta")
    assert (outside.policies[0] or "").endswith("; frame-src about:")
    assert "script" in inside.tags  # as the author wrote it: there it cannot run


def test_a_frame_holds_the_body_as_it_would_be_served() -> None:
    [cell] = grid([variant(body="<p title=\"it's &lt;\">Ünï & 'x'</p>")], [person()])
    [frame] = read(page("x", [cell])).frames

    assert cell.shown is not None
    assert (frame["srcdoc"] or "").endswith(cell.shown.body)


def test_control_is_told_with_its_meaning_and_the_page_has_an_end() -> None:
    [cell] = grid([variant(body="<p>{{ city }}</p>")], [person()])
    many: list[Cell] = [cell] * (MOST_CELLS + 1)

    html = page("x", many)

    assert html.count("<article") == MOST_CELLS
    assert f"{MOST_CELLS + 1} renderings" in html
    assert f"The worst {MOST_CELLS} are here." in html
    assert "field_missing: copy prints a field that this person" in html
    assert "<iframe" not in html
    assert 'name="viewport"' in html
