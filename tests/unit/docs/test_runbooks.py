"""The runbooks: one page each, every alert in its own, every reason in the words of the program."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.admin.outcomes.meanings import DECISIONS, WRITES, Meaning, of_decision
from shared.schemas.decisions import PREVIEWED, REASONS, TREATMENT

ROOT = Path(__file__).parents[3]
RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*.md"))


def test_the_runbooks_are_there() -> None:
    assert {path.stem for path in RUNBOOKS} == {
        "dead-letters", "klaviyo-key-refused", "emails-show-control", "export-late", "event-files-held", "rotate-keys",
        "wrong-copy", "variant-paused", "webhooks-stopped", "service-down", "broker-away", "klaviyo-away",
        "backup-and-restore", "rotate-passwords",
    }  # fmt: skip


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_is_one_page_and_says_how_to_verify(runbook: Path) -> None:
    text = runbook.read_text()

    assert len(text.splitlines()) <= 60
    assert runbook.stem == "rotate-keys" or all(f"**{part}.**" in text for part in ("Symptom", "Check", "Do", "Verify"))
    assert re.search(r"`justai [a-z]", text)


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda path: path.stem)
def test_what_a_runbook_has_people_look_for_in_logs_is_written_there(runbook: Path) -> None:
    sought = set(re.findall(r"`([a-z]+\.[a-z_]+)`", runbook.read_text()))

    assert [name for name in sought if f'"{name}"' not in sources()] == []


@cache
def sources() -> str:
    """All that services say."""
    folders = ("services", "shared")
    return "\n".join(path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py"))


def alerts() -> list[dict[str, Any]]:
    """The rules of Prometheus that wake somebody or wait for the morning."""
    groups = yaml.safe_load((ROOT / "deploy" / "observability" / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def symptoms(runbook: Path) -> set[str]:
    """The alerts that a runbook begins with."""
    symptom = runbook.read_text().partition("**Symptom.**")[2].partition("\n\n")[0]
    return set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", symptom))


def test_whoever_is_woken_finds_the_alert_named_where_it_leads() -> None:
    told = {(rule["annotations"]["runbook"], rule["alert"]) for rule in alerts()}

    assert {(runbook.name, alert) for runbook in RUNBOOKS for alert in symptoms(runbook)} == told


def test_the_index_of_symptoms_has_every_alert_with_how_urgent_it_is_and_where_it_leads() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| (\w+) \| \[.+\]\(runbooks/(.+)\) \|$", page, re.MULTILINE)

    assert listed == sorted(
        (rule["alert"], rule["labels"]["severity"], rule["annotations"]["runbook"]) for rule in alerts()
    )


def rows(page: Path, headers: list[str]) -> list[list[str]]:
    """The cells of the table with these headers; a link is what it leads to."""
    lines = page.read_text().splitlines()
    after = lines[lines.index(f"| {' | '.join(headers)} |") + 2 :]
    table = after[: next(number for number, line in enumerate(after) if not line.startswith("|"))]
    plain = [re.sub(r"\[[^]]+\]\(([^)]+)\)", r"docs/runbooks/\1", line) for line in table]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in plain]


def reasons(cell: str) -> list[str | None]:
    """The reasons that a cell lists; one without backticks is no reason but a word; none: without a reason."""
    return re.findall(r"`([^`]+)`", cell) or [cell or None]


def test_every_reason_is_explained_in_the_runbook_and_by_justai_why_in_the_same_words() -> None:
    page = next(path for path in RUNBOOKS if path.stem == "emails-show-control")
    decisions = {
        reason: Meaning(means, do)
        for cell, means, do in rows(page, ["decision because of", "means", "do"])
        for reason in reasons(cell)
    }
    writes = {
        (outcome.strip("`"), reason): Meaning(means, do)
        for outcome, cell, means, do in rows(page, ["write", "because of", "means", "do"])
        for reason in reasons(cell)
    }

    assert decisions == dict(DECISIONS)
    assert DECISIONS.keys() | TREATMENT.keys() | {PREVIEWED} == REASONS
    assert writes == dict(WRITES)


def test_a_treatments_reason_is_told_in_the_words_of_the_closed_list_and_that_of_an_old_row_by_its_name() -> None:
    assert of_decision("treatment", "fallback").means == TREATMENT["fallback"]
    assert of_decision("treatment", "uniform").means == "a variant was drawn by the policy `uniform`"
