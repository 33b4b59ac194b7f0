"""What is true of every operation there is, and which declarations are refused."""

import click
import pytest
from pydantic import SecretStr

from cli.__main__ import main
from cli.operations import COMMANDS
from services.console.api.openapi import document
from shared.admin.context import Context
from shared.admin.operation import AskedModel, Operation, Registry, ResultModel, operation
from shared.admin.registry import REGISTRY


class Named(AskedModel):
    name: str
    secret: SecretStr = SecretStr("")


class Done(ResultModel):
    """Done."""


async def work(context: Context, asked: Named) -> Done:
    return Done()


def command(words: str) -> click.Command | None:
    found: click.Command | None = main
    for word in words.split():
        found = found.commands.get(word) if isinstance(found, click.Group) else None
    return found


def test_every_operation_has_a_command() -> None:
    assert {one.name for one in REGISTRY} == set(COMMANDS)
    assert [words for words in COMMANDS.values() if command(words) is None] == []


def test_every_operation_says_what_it_does_in_one_line() -> None:
    for one in REGISTRY:
        assert one.summary.endswith(".")
        assert len(one.summary) <= 110
        assert one.changes == (one.method != "GET") or one.method == "POST"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("a.b", "POST", "/a"), ("a.b", "POST", "/b")),
        (("a.b", "POST", "/a/{name}"), ("a.c", "POST", "/a/{secret}")),
    ],
)
def test_two_of_one_name_or_route_are_refused(first: tuple[str, ...], second: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="declared twice"):
        Registry([declared(*first), declared(*second)])


@pytest.mark.parametrize(
    ("method", "path", "why"),
    [
        ("POST", "/a/{nobody}", "no field of Named"),
        ("GET", "/a", "a secret must not stand in a URL"),
        ("DELETE", "/a", "a secret must not stand in a URL"),
        ("POST", "/a/{secret}", "a secret must not stand in a URL"),
    ],
)
def test_a_declaration_that_cannot_be_served_is_refused(method: str, path: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Registry([declared("a.b", method, path)])


def declared(name: str, method: str, path: str) -> Operation[Named, Done]:
    return operation(name, method, path, "viewer", "Does nothing.")(work)  # type: ignore[arg-type]  # a wrong method too


def test_no_two_models_of_the_api_have_one_name() -> None:
    names = document(REGISTRY)["components"]["schemas"]

    # Two of a name are told apart by their modules, which are nobody's business outside.
    assert [name for name in names if "__" in name] == []
