"""The drawn number is told only where it is what decided."""

from uuid import UUID, uuid4

from shared.admin.person.why_store import draw_of
from shared.draw import drawn_index, fraction

COPIES = [UUID(int=1), UUID(int=2)]


def row(generation_id: UUID, copy_id: UUID, probabilities: list[float]) -> dict[str, object]:
    return {"generation_id": generation_id, "copy_id": copy_id, "eligible": COPIES, "probabilities": probabilities}


def test_it_is_told_of_the_variant_whose_share_it_fell_into_and_of_no_other() -> None:
    for generation_id in (uuid4() for _ in range(50)):
        drawn = fraction(generation_id.bytes, b"draw")
        right = drawn_index([0.7, 0.3], drawn)

        assert draw_of(row(generation_id, COPIES[right], [0.7, 0.3])) == drawn
        assert draw_of(row(generation_id, COPIES[1 - right], [0.7, 0.3])) is None


def test_without_probabilities_nothing_was_drawn() -> None:
    assert draw_of(row(uuid4(), COPIES[0], [])) is None


def test_a_share_of_nothing_is_never_drawn_and_what_rounding_leaves_goes_to_the_last_possible_one() -> None:
    assert drawn_index([0.0, 1.0], 0.0) == 1
    assert drawn_index([0.5, 0.4999999, 0.0], 0.99999999) == 1
