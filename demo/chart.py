"""The lift as a picture: a line through the looks, within the band that holds it at all of them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 320, 64, 24, 40, 44
_HIGHEST = 4.0  # of the scale: few clicks of control leave an early interval without an end


def lift_svg(looks: Sequence[tuple[int, Mapping[str, Any] | None]]) -> str:
    """Of the day of each look and its lift, as `justai results --json` tells it; a look without one is left out."""
    known = [(day, one["lift"], one["lift_within"]) for day, one in looks if one is not None]
    highest = min(_HIGHEST, max((within[1] or _HIGHEST for _, _, within in known), default=1.0))
    lowest = min((within[0] for _, _, within in known), default=0.0)
    highest, lowest = max(highest, 0.5), min(lowest, 0.0)
    last = max((day for day, _ in looks), default=1)

    def x(day: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (day - 0.5) / last

    def y(lift: float) -> float:
        part = (min(lift, highest) - lowest) / (highest - lowest)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * part

    upper = [f"{x(day):.1f},{y(highest if within[1] is None else within[1]):.1f}" for day, _, within in known]
    lower = [f"{x(day):.1f},{y(within[0]):.1f}" for day, _, within in reversed(known)]
    line = [f"{x(day):.1f},{y(lift):.1f}" for day, lift, _ in known]
    step = next(step for step in (0.25, 0.5, 1.0, 2.0) if (highest - lowest) / step <= 8 or step == 2.0)
    ticks = [number * step for number in range(int(lowest / step), int(highest / step) + 1)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12" fill="#333333">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="24" font-size="14">Lift of clicks against control, all days so far</text>',
        *(_tick(y(tick), f"{tick:+.0%}" if tick else "0%", bold=not tick) for tick in ticks),
        *(f'<text x="{x(day):.1f}" y="{_HEIGHT - 16}" text-anchor="middle">day {day}</text>' for day, _ in looks),
        f'<polygon points="{" ".join(upper + lower)}" fill="#2f6b4f" fill-opacity="0.18"/>',
        f'<polyline points="{" ".join(line)}" fill="none" stroke="#2f6b4f" stroke-width="2.5"/>',
        *(f'<circle cx="{x(day):.1f}" cy="{y(lift):.1f}" r="4" fill="#2f6b4f"/>' for day, lift, _ in known),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _tick(y: float, label: str, *, bold: bool) -> str:
    colour, dash = ("#333333", "") if bold else ("#cccccc", ' stroke-dasharray="3 3"')
    return (
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}"{dash}/>'
        f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    )
