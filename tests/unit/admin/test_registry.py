"""What is true of every operation there is, and which declarations are refused."""

import re

import click
import pytest
from pydantic import BaseModel, SecretStr, ValidationError

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


def fields_of(*types: str) -> list[tuple[type[BaseModel], str]]:
    """Each field of such a type that an operation is asked."""
    return [
        (one.asked, name)
        for one in REGISTRY
        for name, field in one.asked.model_fields.items()
        if any(re.search(rf"\b{kind}\b", str(field.annotation)) for kind in types)
    ]


def faults_of(model: type[BaseModel], name: str, value: str) -> str:
    """What is wrong with this field of it."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate({name: value})
    return "; ".join(error["msg"] for error in caught.value.errors() if error["loc"][:1] == (name,))


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_no_operation_takes_a_day_whose_neighbours_are_not_there(day: str) -> None:
    """What is reckoned from such a day, or stored of it, is none: the request would end as a fault of ours."""
    fields = fields_of("date", "AwareDatetime")

    assert len(fields) > 10
    for model, name in fields:
        assert "is not between the years" in faults_of(model, name, f"{day}T00:00:00+14:00"), f"{model}, {name}"


@pytest.mark.parametrize("number", ["9" * 30, "-" + "9" * 30])
def test_no_operation_takes_a_number_that_no_column_holds(number: str) -> None:
    fields = fields_of("int")

    assert len(fields) > 10
    for model, name in fields:
        assert faults_of(model, name, number), f"{model}, {name}"


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
