"""The shop's templates (YAML beside this file) and its people."""

import random
from pathlib import Path
from typing import Any

from demo.shop.tastes import PERSONAS

FOLDER = Path(__file__).parent

# Names that break naive systems stand among ordinary ones; every one of them must reach the email unharmed.
_HOSTILE = (
    'D\'Arcy "Bob"',
    "<b>Ann</b>",
    "{{ person.email }}",
    "Zoë",
    "O\nNeil",
    "",
    "None",
    "{% now %}",
    "a\\b",
    "李雷",
)
_NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana", "Ivo", "Jana", "Kai", "Lea", "Max", "Nora")
_PLANS = ("weekly", "monthly", "none")


def people(count: int, rng: random.Random) -> list[dict[str, Any]]:
    """Profiles of the shop's customers; one in ten has a name that breaks naive systems."""
    return [
        {
            "email": f"customer{number}@people.example",
            "first_name": rng.choice(_HOSTILE) if number % 10 == 7 else rng.choice(_NAMES),
            "properties": {"plan_type": rng.choice(_PLANS)},
        }
        for number in range(count)
    ]


def newcomers(first: int, count: int, rng: random.Random) -> list[dict[str, Any]]:
    """Profiles of people who sign up later, numbered from `first`; every persona as often as the others."""
    return [
        {
            "email": f"newcomer{number}@people.example",
            "first_name": rng.choice(_HOSTILE) if number % 10 == 7 else rng.choice(_NAMES),
            "properties": {"plan_type": rng.choice(_PLANS), "persona": PERSONAS[number % len(PERSONAS)]},
        }
        for number in range(first, first + count)
    ]
