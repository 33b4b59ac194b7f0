"""The pages that people read, and what stands in them: what is typed, and what is named."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import click

from cli.__main__ import main

ROOT: Final = Path(__file__).parents[3]
_PAST: Final = {"CHANGELOG.md"}
"""Tells what was: its names may be gone."""

_FENCE: Final = re.compile(r"^ *```\w*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_CONTAINER: Final = r" (?:exec|run)(?: -\S+(?: [^\s-]\S*)?)* \w[\w./-]*(?::[\w.-]+)? "
"""`docker` and `kubectl`, up to the name of what a command runs in."""
_CODE: Final = re.compile(r"`([^`]+)`")


def pages() -> list[Path]:
    """Every page, written by hand or generated."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")]
    return sorted(path for path in found if path.name not in _PAST)


def name_of(page: Path) -> str:
    """As people call it, from the repository's root."""
    return str(page.relative_to(ROOT))


@cache
def text_of(page: Path) -> str:
    """What stands in it."""
    return page.read_text(encoding="utf-8")


def code(text: str) -> Iterator[str]:
    """What stands in backticks, and each line of each block."""
    yield from (" ".join(said.split()) for said in _CODE.findall(_FENCE.sub("", text)))
    for block in _FENCE.findall(text):
        yield from (line.strip() for line in block.replace("\\\n", " ").splitlines())


def typed(text: str, program: str) -> Iterator[list[str]]:
    """What a page has people type to a program, cut into words, without the explanation beside it."""
    for said in code(text):
        for found in re.findall(rf"(?:^|\$\(| -- |/|{_CONTAINER}){program} (.+)", said):
            yield re.split(r" {3,}| # |[|;)>&]", found)[0].split()


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command of `justai` that the first words name, and the rest."""
    command: click.Command = main
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    return command, words


@cache
def anchors(page: Path) -> frozenset[str]:
    """What can be linked to on a page: its headings, as sites name them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text_of(page)), re.MULTILINE)
    plain = (re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return frozenset(re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", one.lower())).strip("-") for one in plain)
