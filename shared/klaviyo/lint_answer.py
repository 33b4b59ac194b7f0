"""What a rule of the set-up linter answers."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["good", "wrong", "warning", "unknown"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One rule: what was found, and how to put it right (empty where nothing is wrong)."""

    rule: str
    title: str
    outcome: Outcome
    found: str
    fix: str = ""
