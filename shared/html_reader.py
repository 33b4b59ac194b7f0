"""Python's reader of HTML, for text that anybody wrote: it never raises."""

from html.parser import HTMLParser


class HtmlReader(HTMLParser):
    """Reads `<![…]` of a name that it does not know as browsers do: as a comment up to the next `>`.

    Python's own raises an AssertionError there.
    """

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        try:
            return super().parse_marked_section(i, report)
        except AssertionError:
            return self.parse_bogus_comment(i)
