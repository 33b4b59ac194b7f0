"""What the page about exports says of the table of outcomes, held against what is exported."""

from services.egress.tables import OUTCOMES
from shared.schemas.decisions import OUTSIDE, PLANNED_CONTROL
from tests.unit.docs.pages import ROOT, code, text_of


def outcomes() -> str:
    return text_of(ROOT / "docs/egress.md").split("## Outcomes\n")[1].split("\n## ")[0]


def test_the_page_names_every_column_of_the_outcomes() -> None:
    assert {name for name, _ in OUTCOMES.fields} <= set(code(outcomes()))


def test_the_page_says_which_reasons_are_control_and_which_are_no_arm() -> None:
    arms = outcomes().split("**The arms")[1].split("\n\n")[0]
    control, outside = arms.split("No arm, ")[0], arms.split("No arm, ")[1].split("Everybody else")[0]

    assert set(code(control)) >= PLANNED_CONTROL
    assert set(code(outside)) >= OUTSIDE
    assert not set(code(control)) & OUTSIDE
    assert not set(code(outside)) & PLANNED_CONTROL


def test_the_page_says_that_revenue_is_of_one_template() -> None:
    assert "`revenue` and `conversions` by template; do not add templates up" in outcomes()
