"""Made-up email copy of a wanted size, and people to fill it in for."""

import itertools
from random import Random
from uuid import UUID

from shared.schemas.copy import VariantSource
from shared.schemas.jobs import Fields

_WORDS = (
    "coffee morning roast small batch kettle filter paper warm cup shelf week letter friend market garden window "
    "slow light sugar bread road river summer winter harvest farmer valley bitter sweet dark mild fresh ground bean "
    "order parcel thank you welcome back again today soon taste note cocoa cherry almond orange honey smoke rain"
)
_FIRST_NAMES = ("Ann", "Bo", "Chloé", "D'Arcy", "Émile", "Farid", "Grete", "Hùng", "Ines & Co", "Jörg")
_TAGS = (
    "<p>Dear {{ first_name | default: 'there' }},</p>",
    "<p>Your {{ plan | default: 'first bag' }} is {{ days | default: '3' }} days old.</p>",
    '<p><a href="https://shop.example/{{ sku }}?u={{ code | url_encode }}">See {{ product }}</a></p>',
    "{% if city %}<p>Our next market is in {{ city }}.</p>{% endif %}",
    "<p>{{ product }} from {{ farm | default: 'the valley' }}, picked by {{ picker | upcase }}.</p>",
)


def email(copy_id: UUID, body_bytes: int, seed: int = 1) -> VariantSource:
    """A variant whose body is an HTML email of about this many bytes with ten values in it."""
    rng = Random(seed * 1_000_003 + copy_id.int % 1_000_003)
    parts = ['<table role="presentation" width="100%" cellpadding="0" cellspacing="0"><tr><td style="padding:24px">']
    tags = iter(_TAGS)
    left = body_bytes - sum(map(len, _TAGS)) - 200
    for number in itertools.count():
        if left <= 0:
            break
        if number % 4 == 1:
            parts.append(next(tags, ""))
        sentence = " ".join(rng.choices(_WORDS.split(), k=rng.randint(12, 30))).capitalize()
        parts.append(f'<p style="margin:0 0 {rng.randint(8, 24)}px;font-size:16px;line-height:24px">{sentence}.</p>\n')
        left -= len(parts[-1])
    parts += [*tags, "</td></tr></table>"]
    return VariantSource(
        copy_id, 1, "{{ first_name | default: 'there' }}, your coffee", "Roasted for {{ city }}", "".join(parts)
    )


def people(number: int, seed: int = 1) -> list[Fields]:
    """The fields of this many people; no two alike."""
    rng = Random(seed)
    return [
        {
            "first_name": rng.choice(_FIRST_NAMES),
            "plan": rng.choice(("espresso", "filter", "decaf <new>")),
            "days": str(rng.randint(1, 400)),
            "sku": f"sku-{rng.randrange(10**6):06}",
            "code": f"{person:08x}&{rng.randrange(10**9):x}",
            "product": " ".join(rng.choices(_WORDS.split(), k=2)).title(),
            "city": rng.choice(("Kyiv", "São Paulo", "Leipzig", "Austin, TX")),
            "farm": " ".join(rng.choices(_WORDS.split(), k=3)),
            "picker": rng.choice(_FIRST_NAMES),
        }
        for person in range(number)
    ]
