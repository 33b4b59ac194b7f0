"""What people do has three ways in, and one implementation: a page, a route of the API, a command of `justai`.

That every operation has a command is in tests/unit/admin/test_registry.py, and that its route answers as the document
says in tests/security/test_open_api.py.
"""

import ast
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Final

import cli
from services.console import pages, web
from services.console.api.openapi import document
from shared.admin.operation import PREFIX, Operation
from shared.admin.registry import REGISTRY

NO_PAGE: Final[Mapping[str, str]] = {
    "orgs.create": "the first org is made on the set-up page, further ones by the operator's command",
    "orgs.recount": "no day's work needs it: the operator's command has it done where a release or a runbook says so",
    "orgs.recounting": "the same command shows how far it is",
    "policy.show": "a template's results hold the shares of its policy",
    "results.power": "a template's results say how long a lift would take to show",
    "results.themes": "a template's results hold its report by themes",
    "sources.backfilling": "a source's page lists the days that were read beside its files",
    "variants.check": "the editor's preview checks while somebody types, by variants.try",
}
"""Operations that no page runs, and by what a person at a page learns or does the same."""
NO_COMMAND: Final[Mapping[str, str]] = {
    "exports.show": "export hours prints it with its hours",
    "exports.state": "export hours prints it with its hours",
    "results.what_if": "what-if asks what the operation asks, without its limit on how much is read",
}
"""Operations whose command goes another way to the same functions."""


def modules_of(package: ModuleType) -> Iterator[ModuleType]:
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return (import_module(one.name) for one in found if not one.name.endswith("__main__"))


def operations_in(module: ModuleType) -> Iterator[str]:
    """Those that its code names, as a name of its own or as a module's."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        found: Any = None
        if isinstance(node, ast.Name):
            found = getattr(module, node.id, None)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found = getattr(getattr(module, node.value.id, None), node.attr, None)
        if isinstance(found, Operation):
            yield found.name


def named_in(*packages: ModuleType) -> set[str]:
    return {name for package in packages for module in modules_of(package) for name in operations_in(module)}


def test_every_operation_is_run_by_a_page_or_said_to_be_elsewhere() -> None:
    by_pages = named_in(pages, web)

    assert {one.name for one in REGISTRY} - by_pages == set(NO_PAGE)


def test_every_operation_is_run_by_a_command() -> None:
    assert {one.name for one in REGISTRY} - named_in(cli) == set(NO_COMMAND)


def test_every_operation_has_its_route_in_the_document_or_says_why_not() -> None:
    paths = document(REGISTRY)["paths"]

    for one in REGISTRY:
        if not one.only_cli:
            assert one.method.lower() in paths[PREFIX + one.path], one.name
