"""Which new version of a copy is the old one with slips mended, and which says something else."""

from uuid import UUID

import pytest

from shared.content.wording import corrects
from shared.schemas.copy import VariantSource

BODY = (
    "<p>Hello {{ first_name | default: 'there' }}, your first order leaves our roastery on the same day. Pick two bags "
    "of whole beans or ground coffee, and we add a small tin of our house blend, so that you can taste all three of "
    "them beside each other at home.</p>"
)


def version(
    number: int, *, subject: str = "Welcome to our shop", preheader: str = "Three coffees to taste", body: str = BODY
) -> VariantSource:
    return VariantSource(UUID(int=1), number, subject, preheader, body)


@pytest.mark.parametrize(
    "after",
    [
        version(2),
        version(2, subject="Welcome to our shop!"),
        version(2, body=BODY.replace("roastery", "roasterie")),
        version(2, body=BODY.replace("<p>", '<p style="color: red">')),
    ],
)
def test_a_mended_slip_is_the_same_text(after: VariantSource) -> None:
    assert corrects(after, version(1))


@pytest.mark.parametrize(
    "after",
    [
        version(2, subject="A tin for you"),
        version(2, body="<p>Only today: half the price on everything.</p>"),
        version(2, preheader="Half the price"),
    ],
)
def test_another_line_or_body_is_another_text(after: VariantSource) -> None:
    assert not corrects(after, version(1))


def test_copy_of_pictures_alone_is_the_same_only_where_nothing_of_it_changed() -> None:
    pictures = version(1, body='<img src="https://a.example/1.png" alt="">')

    assert corrects(pictures, version(1, body=pictures.body))
    assert not corrects(version(2, body='<img src="https://a.example/2.png" alt="">'), pictures)
