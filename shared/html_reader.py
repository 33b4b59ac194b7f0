"""Python's reader of HTML, for text that anybody wrote: it never raises, and takes time as the text grows."""

from html.parser import HTMLParser


class LinearReader(HTMLParser):
    """What is opened and not closed ends with the text, as in browsers.

    Python's own takes the opening for text and looks for an end anew from the next `<`: minutes for 200 KB of them.
    """

    def reset(self) -> None:
        super().reset()
        self._at_end = False
        self._endless: set[str] = set()  # kinds of sections of which no end comes any more

    def close(self) -> None:
        self._at_end = True
        super().close()

    def parse_starttag(self, i: int) -> int:
        return self._or_all(i, super().parse_starttag(i))

    def parse_endtag(self, i: int) -> int:
        return self._or_all(i, super().parse_endtag(i))

    def parse_pi(self, i: int) -> int:
        return self._or_all(i, super().parse_pi(i))

    def parse_html_declaration(self, i: int) -> int:
        return self._or_all(i, super().parse_html_declaration(i))

    def parse_comment(self, i: int, report: bool = True) -> int:
        end = super().parse_comment(i, report)
        return len(self.rawdata) if end < 0 and self._at_end else end

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        kind = self.rawdata[i + 3 : i + 5].lower()
        end = -1 if kind in self._endless else super().parse_marked_section(i, report)
        if end >= 0 or not self._at_end:
            return end
        self._endless.add(kind)
        return self.parse_bogus_comment(i)

    def _or_all(self, i: int, end: int) -> int:
        if end < 0 and self._at_end and self.rawdata.find(">", i) < 0:
            return len(self.rawdata)
        return end


class HtmlReader(LinearReader):
    """Reads `<![…]` of a name that it does not know as browsers do: as a comment up to the next `>`.

    Python's own raises an AssertionError there.
    """

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        try:
            return super().parse_marked_section(i, report)
        except AssertionError:
            return self.parse_bogus_comment(i)
