"""Which fields links begin with, whatever is written around them."""

import pytest

from shared.rendering.copy import compile_copy
from shared.rendering.link_fields import link_fields
from tests.unit.rendering.given import source


@pytest.mark.parametrize(
    ("link", "names"),
    [
        ("{{ a }}", "a"),
        (" &nbsp;{{ a }}", "a"),
        ("{{ a }}/{{ b }}", "a"),
        ("https://x.example/{{ a }}", ""),
        ("{% if b %}{{ a }}{% endif %}", "a"),
        ("{% if b %}{{ a }}{% else %}{{ c }}{% endif %}{{ d }}", "ac"),
        ("{% if b %}{{ a }}{% elsif c %}{{ c }}{% endif %}{{ d }}", "acd"),
        ("{% if b %}https://x.example/{% else %}https://y.example/{% endif %}{{ a }}", ""),
        ("{% unless b %}{{ a }}{% endunless %}", "a"),
        ("{% case a %}{% when 'x' %}{{ b }}{% else %}https://x.example/{% endcase %}{{ c }}", "b"),
        ("{{ a | default: b }}", "ab"),
        ("{{ a | prepend: 'https://x.example/' }}", ""),
        ("{{ a | prepend: '/' | prepend: b }}", "b"),
        ("{{ a | append: b | replace: 'x', c }}", "ac"),
        ("{% assign u = a | default: 'x' %}{{ u }}", "a"),
        ("{% assign u = a %}{% if b %}{% assign u = b %}{% endif %}{{ u | upcase }}", "ab"),
        ("{% assign a = b %}{{ a }}", "b"),
        ("{% capture u %}{{ a }}/x{% endcapture %}{{ u }}", "a"),
        ("{% capture u %}https://x.example/{{ a }}{% endcapture %}{{ u }}", ""),
        ("{% for u in a %}{{ u }}{% endfor %}", "a"),
    ],
)
def test_a_field_that_a_link_begins_with_is_found(link: str, names: str) -> None:
    compiled = compile_copy(
        source(body=f'<p>{{{{ z }}}}</p><a href="{link}">{{{{ z }}}}</a><p title="{{{{ z }}}}">x</p>')
    )

    assert link_fields(compiled.body) == set(names)


def test_where_no_link_begins_with_a_value_there_is_none() -> None:
    assert link_fields(compile_copy(source(body='<p>href="{{ a }}"</p>')).body) == set()
