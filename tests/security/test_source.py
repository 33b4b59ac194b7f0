"""What must not stand in our source, whoever writes it: a connection to somebody whom nobody looked at."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
SHIPPED: Final = ("services", "shared", "cli", "deploy")
UNSEEN: Final = {
    "known_hosts": None, "server_host_key_policy": None, "ssl": False, "verify_ssl": False, "verify": False,
    "check_hostname": False,
}  # fmt: skip
"""Arguments, keys and attributes by which a library takes whoever answers."""


def trusting(source: str) -> Iterator[str]:
    """Each place at which one of them is given, or certificates are not asked for."""
    for node in ast.walk(ast.parse(source)):
        for name, given in said_by(node):
            if name in UNSEEN and isinstance(given, ast.Constant) and given.value is UNSEEN[name]:
                yield f"line {given.lineno}: {name}={ast.unparse(given)}"
        if isinstance(node, ast.Attribute) and node.attr in ("CERT_NONE", "_create_unverified_context"):
            yield f"line {node.lineno}: {node.attr}"


def said_by(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Names and what they are given: as an argument, in a dict, as an attribute."""
    match node:
        case ast.keyword(arg=str(name), value=given):
            yield name, given
        case ast.Dict():
            for key, given in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value, given
        case ast.Assign(targets=[ast.Attribute(attr=name)], value=given):
            yield name, given


def test_no_connection_is_made_to_whoever_answers() -> None:
    files = [path for folder in SHIPPED for path in (ROOT / folder).rglob("*.py")]

    found = {str(path.relative_to(ROOT)): list(trusting(path.read_text())) for path in files}

    assert len(files) > 300
    assert {path: places for path, places in found.items() if places} == {}


@pytest.mark.parametrize(
    "source",
    [
        "asyncssh.connect(host, known_hosts=None)", "options = {'known_hosts': None}", "http.get(url, ssl=False)",
        "context.check_hostname = False", "context.verify_mode = ssl.CERT_NONE", "httpx.get(url, verify=False)",
    ],
)  # fmt: skip
def test_one_that_is_would_be_found(source: str) -> None:
    assert len(list(trusting(source))) == 1


def test_what_is_looked_at_is_left_alone() -> None:
    source = "asyncssh.connect(h, known_hosts=([key], [], []), client_keys=None); http.get(url, ssl=context)"

    assert list(trusting(source)) == []
