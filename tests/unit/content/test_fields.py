"""Which fields copy prints without knowing that they came: never one too few, and few too many."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from liquid.exceptions import LiquidError, UndefinedError

from shared.content.fields import read_fields
from shared.rendering.language import NotInTheLanguage, parse_body

NAMES = ("a", "b", "c")


def unsure(text: str, *required: str) -> list[str]:
    return sorted(read_fields(parse_body(text), required).unsure)


@pytest.mark.parametrize(
    "text",
    [
        "{{ a | default: 'x' }}",
        "{{ a | default: 'x' | upcase }}",
        "{% if a %}{{ a }}{% endif %}",
        "{% if a and b %}{{ a }}{{ b }}{% endif %}",
        "{% if a == 'x' or a == 'y' %}{{ a }}{% endif %}",
        "{% if a != blank %}{{ a }}{% endif %}",
        "{% if a == nil %}-{% else %}{{ a }}{% endif %}",
        "{% if a > 3 %}{{ a }}{% endif %}",
        "{% if a contains 'x' %}{{ a }}{% endif %}",
        "{% if b %}-{% elsif a %}{{ a }}{% endif %}",
        "{% unless a %}-{% else %}{{ a }}{% endunless %}",
        "{% case a %}{% when 'x', 'y' %}{{ a }}{% else %}-{% endcase %}",
        "{% for part in a %}{{ part }}{{ forloop.index }}{% endfor %}",
        "{% assign n = a | default: 'x' %}{{ n }}",
        "{% if a == blank %}{% assign a = 'x' %}{% endif %}{{ a }}",
        "{% if a %}{% assign n = a %}{% else %}{% assign n = 'x' %}{% endif %}{{ n }}",
        "{% capture n %}x{% endcapture %}{{ n }}",
        "{% if a %}a was said{% endif %}",
        "{% comment %}{{ a }}{% endcomment %}",
        "{% raw %}{{ a }}{% endraw %}",
        "no fields at all",
    ],
)
def test_a_field_with_a_fallback_is_sure(text: str) -> None:
    assert unsure(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "{{ a }}",
        "{{ a | upcase }}",
        "{{ a | upcase | default: 'x' }}",
        "{{ 'x' | append: a }}",
        "{{ b | default: a }}",
        "{% assign n = a %}",
        "{% assign n = a | upcase %}",
        "{% capture n %}{{ a }}{% endcapture %}",
        "{% if b %}{{ a }}{% endif %}",
        "{% if a or b %}{{ a }}{% endif %}",
        "{% if a %}x{% else %}{{ a }}{% endif %}",
        "{% if a %}x{% endif %}{{ a }}",
        "{% if a == nil %}{{ a }}{% endif %}",
        "{% if a == blank %}{{ a }}{% endif %}",
        "{% if a != 'x' %}{{ a }}{% endif %}",
        "{% if a == b %}{{ a }}{% endif %}",
        "{% if a <= b %}{{ a }}{% endif %}",
        "{% unless a %}{{ a }}{% endunless %}",
        "{% case a %}{% when nil %}{{ a }}{% endcase %}",
        "{% case a %}{% when 'x' %}-{% else %}{{ a }}{% endcase %}",
        "{% case a %}{% when b %}{{ a }}{% endcase %}",
        "{% for i in (1..a) %}x{% endfor %}",
        "{% for i in b limit: a %}x{% endfor %}",
        "{% for i in b %}{% assign a = 'x' %}{% endfor %}{{ a }}",
        "{% if b %}{% assign a = 'x' %}{% endif %}{{ a }}",
    ],
)
def test_a_field_that_may_be_missing_when_it_is_printed_is_named(text: str) -> None:
    assert unsure(text) == ["a"]


def test_a_field_that_the_file_calls_required_is_sure() -> None:
    assert unsure("{{ a }}{{ b }}", "a") == ["b"]


def test_the_first_place_of_each_field_is_told() -> None:
    text = "one\n{{ b }} {{ a }}\n{{ a }}"

    use = read_fields(parse_body(text))

    assert {name: text[at:].startswith(name) for name, at in use.unsure.items()} == {"a": True, "b": True}
    assert use.all == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("{{ a.b | default: 'x' }}", ["a.b"]),
        ("{% if a.b %}x{% endif %}", ["a.b"]),
        ("{% for i in a.b %}x{% endfor %}", ["a.b"]),
        ("{% if a %}{{ a['b'] }}{% endif %}", ["a.b"]),
        ("{% if a.size > 3 %}x{% endif %}{% for i in (1..3) %}{{ forloop.first }}{% endfor %}", []),
    ],
)
def test_asking_a_text_for_its_parts_is_told(text: str, members: list[str]) -> None:
    assert sorted(read_fields(parse_body(text)).members) == members


# --- texts from a grammar --------------------------------------------------------------------------------------------

names = st.sampled_from(NAMES)
operands = st.one_of(names, st.sampled_from(["'x'", "1", "nil", "blank", "empty", "true"]))
comparisons = st.one_of(
    names,
    st.builds("{} {} {}".format, operands, st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "contains"]), operands),
)
conditions = st.one_of(
    comparisons, st.builds("{} {} {}".format, comparisons, st.sampled_from(["and", "or"]), comparisons)
)
filters = st.sampled_from(["", " | default: 'x'", " | upcase", " | upcase | default: 'x'"])
filtered = st.builds("{}{}".format, names, filters) | st.builds("{} | default: {}".format, names, names)
leaves = st.one_of(
    st.just("."),
    st.builds("{{{{ {} }}}}".format, filtered),
    st.builds("{{% assign {} = {} %}}".format, names, filtered),
)


def _blocks(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    body = st.lists(inner, min_size=1, max_size=3).map("".join)
    return st.one_of(
        st.builds(
            "{{% if {} %}}{}{{% elsif {} %}}{}{{% else %}}{}{{% endif %}}".format,
            conditions, body, conditions, body, body,
        ),
        st.builds("{{% if {} %}}{}{{% endif %}}".format, conditions, body),
        st.builds("{{% unless {} %}}{}{{% endunless %}}".format, conditions, body),
        st.builds("{{% case {} %}}{{% when {} %}}{}{{% else %}}{}{{% endcase %}}".format, names, operands, body, body),
        st.builds("{{% for i in {} %}}{}{{% endfor %}}".format, names, body),
        st.builds("{{% capture {} %}}{}{{% endcapture %}}".format, names, body),
    )  # fmt: skip


texts = st.lists(st.recursive(leaves, _blocks, max_leaves=6), min_size=1, max_size=4).map("".join)
values = st.dictionaries(names, st.sampled_from(["x", "", "1", "2"]))


@given(text=texts, fields=values)
@settings(max_examples=150)
def test_a_text_that_is_called_sure_never_misses_a_field(text: str, fields: dict[str, str]) -> None:
    try:
        template = parse_body(text)
    except NotInTheLanguage:
        return
    surely = read_fields(template, required=fields).unsure == {}

    try:
        template.render(fields)
    except UndefinedError:
        assert not surely
    except LiquidError:
        pass  # what a filter makes of a value is not the question here
