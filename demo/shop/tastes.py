"""Who likes what: known to the account in a box, which sees the rendered email, and to nobody else.

Nothing here reaches our services. They learn it from clicks, or not at all.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

PERSONAS = ("bargain hunter", "gift giver", "enthusiast")

SHOP = "corner-coffee.example"
LINKS = {
    "Fifteen percent": f"{SHOP}/tasting/fifteen",
    "A box to give": f"{SHOP}/tasting/give",
    "Lot 47": f"{SHOP}/tasting/lot-47",
    "Neighbours' choice": f"{SHOP}/tasting/neighbours",
}
"""What an email that shows this variant of `tasting` contains, and no other."""


class Liking(NamedTuple):
    """Rates: opens of delivered emails, clicks of opened ones. One click in four goes to the footer and counts nothing.

    They are several times those of real emails, so that hundreds of people show what takes tens of thousands.
    """

    open: float
    click: float

    @property
    def content_clicks(self) -> float:
        """People who click on content, of those delivered to."""
        return self.open * self.click * 0.75


_LOVED, _LIKED, _LEFT = Liking(0.7, 0.75), Liking(0.45, 0.35), Liking(0.4, 0.2)
CONTROL = Liking(0.5, 0.4)
TASTES: Mapping[str, Mapping[str, Liking]] = {
    "bargain hunter": {
        "Fifteen percent": _LOVED, "A box to give": _LEFT, "Lot 47": _LEFT, "Neighbours' choice": _LIKED,
    },
    "gift giver": {
        "Fifteen percent": _LEFT, "A box to give": _LOVED, "Lot 47": _LEFT, "Neighbours' choice": _LIKED,
    },
    "enthusiast": {
        "Fifteen percent": _LEFT, "A box to give": _LEFT, "Lot 47": _LOVED, "Neighbours' choice": _LIKED,
    },
}  # fmt: skip


def favourite(persona: str) -> str:
    """The variant that this persona clicks on most."""
    return max(TASTES[persona], key=lambda name: TASTES[persona][name].content_clicks)


def reactions() -> list[dict[str, Any]]:
    """The tastes as the account in a box is told them: by what an email shows and what stands on the profile."""
    by_persona = [
        {"contains": LINKS[name], "where": {"persona": persona}, **liking._asdict()}
        for persona, likings in TASTES.items()
        for name, liking in likings.items()
    ]
    return [*by_persona, {"contains": f"{SHOP}/tasting/box", **CONTROL._asdict()}]
