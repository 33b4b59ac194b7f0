from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from devstack.processes import readable

LINE = '{"at":"2026-01-02T03:04:05.678+00:00","level":"warning","service":"gateway","event":"key.unknown","org":"shop"}'


def test_our_json_becomes_time_level_event_and_fields() -> None:
    assert readable("gateway", LINE) == "gateway        | 03:04:05.678 warning key.unknown org=shop"


def test_colours_mark_the_process_and_the_level() -> None:
    shown = readable("gateway", LINE, colour=36)

    assert shown == "\x1b[36mgateway       \x1b[0m | \x1b[33m03:04:05.678 warning key.unknown\x1b[0m org=shop"


@given(st.text().filter(lambda text: "{" not in text))
def test_what_is_not_ours_is_shown_as_it_is(line: str) -> None:
    assert readable("weed", line) == f"weed           | {line}"


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_any_json_is_shown_somehow(value: object) -> None:
    assert readable("x", json.dumps(value)).startswith("x              | ")
