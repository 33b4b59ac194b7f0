"""However a text is written, checking it takes time that grows as the text does, and says what it said before."""

import re
import time
from collections.abc import Callable
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.content.between import with_tags
from shared.content.checks import MOST_OF_A_KIND, Asked, check_copy
from shared.content.klaviyo_tags import klaviyo_tags, with_fields
from shared.content.served import serve
from shared.content.slots import hide
from shared.schemas.template_file import VariantCopy
from shared.snippet import control_fault

LONGEST = 200_000
ASKED = Asked("welcome", date(2026, 11, 27))
OPENINGS = (
    "{{", "{{|", "{%", "<!--[if", "@media", "{{'", "{{ person", "{% comment %}", "{#", "{{{%", "<!--", "<b ", "</b ",
    "<style>", "<style ", "<style>/*", "<style>@media", "<title></title>", "<![if >", "<!-- >", "<?", "| lookup", " ",
)  # fmt: skip


def seconds(act: Callable[[], object]) -> float:
    """Of a processor: others on this machine do not count."""
    begun = time.process_time()
    act()
    return time.process_time() - begun


def written(opening: str, length: int) -> str:
    return (opening * (length // len(opening) + 1))[:length]


@pytest.mark.parametrize("opening", OPENINGS)
def test_no_text_makes_the_checks_take_long(opening: str) -> None:
    def check(length: int) -> None:
        text = written(opening, length)
        check_copy(VariantCopy(name="one", subject="Hello", body=f"Hello {text}"), ASKED)
        control_fault(text)
        with_fields(text)
        list(klaviyo_tags(text))

    check(1_000)
    half = min(seconds(lambda: check(LONGEST // 2 - 6)) for _ in range(3))
    whole = min(seconds(lambda: check(LONGEST - 6)) for _ in range(3))

    assert whole < 10  # of its own time, on a slow core; read to the end each time it was minutes
    assert whole < 3 * half + 0.1  # where each opening is read to the end of the text, it is four times


@pytest.mark.parametrize("one", ["{{ x" + " " * 150 + "|", "{% raw %}", "{% doc %}", "{% comment %}"])
@pytest.mark.parametrize("often", [50, 900])
def test_nor_do_as_many_tags_as_are_read(one: str, often: int) -> None:
    text = "".join(one.ljust(LONGEST // often - 9) for _ in range(often))

    took = seconds(lambda: check_copy(VariantCopy(name="one", subject="Hello", body=f"Hello {text}"), ASKED))

    assert took < 10


def test_each_tag_is_held_against_each_captured_text_at_once() -> None:
    captures = "".join(f"{{% capture a{n} %}}<{{% endcapture %}}" for n in range(300))
    outputs = "".join(f"{{{{ b{n} | default: 'x' }}}}" for n in range(300))

    assert seconds(lambda: hide(captures + outputs)) < 2


def test_a_text_that_cleaning_makes_too_long_is_refused_with_a_reason() -> None:
    body = "{% if a %}b{% endif %}" + "> " * ((LONGEST - 30) // 2)

    [finding] = [one for one in check_copy(VariantCopy(name="one", subject="Hi", body=body), ASKED).findings
                 if one.check == "cleaning"]  # fmt: skip

    assert "is, once it is cleaned, longer than 200,000 characters" in finding.what


def test_of_thousands_of_bad_pictures_and_codes_the_first_are_told() -> None:
    body = "".join(f'<img src="http://x.example/{n}">' for n in range(4_000)) + "".join(
        f" CODE{n}" for n in range(4_000)
    )

    begun = time.process_time()
    reading = check_copy(VariantCopy(name="one", subject="Hi", body=body), ASKED)
    took = time.process_time() - begun

    checks = [one.check for one in reading.findings]
    assert {name: checks.count(name) for name in ("image_alt", "promo_code")} == dict.fromkeys(
        ("image_alt", "promo_code"), MOST_OF_A_KIND
    )
    assert took < 10


OLD_TAGS = re.compile(r"\{\{(.*?)\}\}|\{%-?\s*comment.*?endcomment\s*-?%\}|\{%.*?%\}", re.DOTALL)
OLD_CONTROL = re.compile(r"\{%(.*?)%\}|\{\{(.*?)\}\}|\{#.*?#\}")
pieces = st.lists(
    st.sampled_from(
        ["{{", "}}", "{%", "%}", "{#", "#}", "{", "}", "%", "#", "-", " ", "\n", "a", "'", "if", "endif", " comment ",
         " endcomment ", "|"]
    ), max_size=14,
).map("".join)  # fmt: skip


@given(pieces)
@settings(max_examples=500)
def test_tags_are_found_where_one_pattern_found_them(text: str) -> None:
    assert with_tags(text, lambda inside: f"<{inside}>") == OLD_TAGS.sub(lambda found: f"<{found[1] or ''}>", text)


@given(pieces)
@settings(max_examples=500)
def test_a_control_text_is_cut_as_one_pattern_cut_it(text: str) -> None:
    cut_off = re.search(r"\{[{%#]", OLD_CONTROL.sub(" ", text)) is not None or text.endswith("{")

    assert (control_fault(text) == "a tag is opened and not closed on the same line") == cut_off


def test_sheets_and_comments_for_outlook_are_found_as_before() -> None:
    sheet = "a{color:red}/* a{ */ @media (max-width:9px){ .x{color:blue} } /* } */"
    outlook = "<!--[if mso]><style>b{x:y}</style><![endif]-->"
    html = f'{outlook}<STYLE type="text/css">{sheet}</style ><a href="https://x.example">a</a>'

    served = serve(html)

    assert served.body.startswith("<style>@media (max-width:9px){ .x{color:blue} }</style>")
    assert 'style="color:red' in served.body
