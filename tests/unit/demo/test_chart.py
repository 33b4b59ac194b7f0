"""The picture of the lift is a picture, whatever is known."""

from typing import Any
from xml.etree import ElementTree

from demo.chart import lift_svg

SVG = "{http://www.w3.org/2000/svg}"


def points(svg: str, shape: str) -> list[tuple[float, float]]:
    found = ElementTree.fromstring(svg).find(f"{SVG}{shape}")
    assert found is not None
    pairs = (pair.split(",") for pair in found.attrib["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


def lift(value: float, low: float, high: float | None) -> dict[str, Any]:
    return {"lift": value, "lift_within": [low, high]}


def test_a_higher_lift_is_drawn_higher_within_its_band() -> None:
    svg = lift_svg([(1, lift(0.1, -0.4, 0.9)), (2, lift(0.6, 0.2, 1.1))])

    (first_x, first_y), (second_x, second_y) = points(svg, "polyline")
    (_, first_high), (_, second_high), (_, second_low), (_, first_low) = points(svg, "polygon")
    assert first_x < second_x
    assert second_y < first_y
    assert first_high < first_y < first_low
    assert second_high < second_y < second_low


def test_an_interval_without_an_end_stays_on_the_picture_and_a_look_without_a_lift_is_left_out() -> None:
    svg = lift_svg([(1, None), (2, lift(0.3, -0.9, None)), (3, lift(0.5, -0.2, 40.0))])

    assert len(points(svg, "polyline")) == 2
    assert all(0 < x < 640 and 0 < y < 320 for x, y in points(svg, "polygon"))
    assert [text.text for text in ElementTree.fromstring(svg).findall(f"{SVG}text")][-3:] == ["day 1", "day 2", "day 3"]


def test_without_anything_known_there_is_an_empty_picture() -> None:
    assert points(lift_svg([(1, None)]), "polyline") == []
