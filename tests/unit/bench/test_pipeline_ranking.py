"""The ranked arm of the pipeline's benchmark ranks: its people's attrs lie in the cells that its snapshots list."""

from datetime import UTC, datetime

from bench.pipeline_ranking import DEFINITIONS, attrs_of, cell_names
from services.generator.cells import compiled

AT = datetime(2026, 11, 23, 10, tzinfo=UTC)


def test_every_person_is_in_a_listed_cell_and_every_listed_cell_has_people() -> None:
    cells = compiled({}, DEFINITIONS, other_attrs="pass", time_zone=None)

    found = {cells.of(attrs_of(number), AT) for number in range(10_000)}

    assert found == cell_names()
    assert len(found) == 1_000


def test_people_send_options_aliases_and_what_only_a_pattern_knows() -> None:
    sent = {str(value) for number in range(1_000) for value in attrs_of(number).values()}

    assert {"persona 3", "persona 3s", "gold", "Gold member"} <= sent
