"""Whatever anybody writes is read to its end."""

from pathlib import Path

import pytest

from shared.content.served import serve
from shared.html_reader import HtmlReader

ROOT = Path(__file__).parents[3]


class Seen(HtmlReader):
    """What is found."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


@pytest.mark.parametrize(
    "odd", ["<![ndif]>", "<![ndif]-->", "<![ 1]>", "<![]>", "<![endif]>", "<![CDATA[x]]>", "<![-->"]
)
def test_a_declaration_that_nobody_knows_hides_nothing_behind_it(odd: str) -> None:
    assert Seen(f"<p>a</p>{odd}<b>b</b>").tags == ["p", "b"]
    assert serve(f"<p>a</p>{odd}<b>b</b>").body == "<p>a</p><b>b</b>"


@pytest.mark.parametrize("cut", ["<![", "<![n", "<![ndif", "<![ndif]"])
def test_one_that_does_not_end_is_no_error(cut: str) -> None:
    assert Seen(f"<p>a</p>{cut}").tags == ["p"]
    serve(f"<p>a</p>{cut}")


@pytest.mark.parametrize("cut", ["<!-- <b>not seen</b>", "<b title='", "<b", "</b", "<?b", "<!doctype", "<![if <b"])
def test_what_is_opened_and_not_closed_ends_with_the_text(cut: str) -> None:
    assert Seen(f"<p>a</p>{cut}").tags == ["p"]


def test_copy_is_read_by_this_reader_alone() -> None:
    found = {
        str(path.relative_to(ROOT))
        for folder in ("shared", "services", "cli")
        for path in (ROOT / folder).rglob("*.py")
        if "node_modules" not in path.parts and "from html.parser" in path.read_text()
    }

    assert found == {"shared/html_reader.py"}
