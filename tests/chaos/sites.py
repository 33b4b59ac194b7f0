"""Finds by reading the code where services commit, publish, acknowledge and upload: no place can be forgotten."""

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.chaos.failing import CHANGES, PASSED_THROUGH, ROOT

SERVICES = ("gateway", "generator", "profile_writer", "ingest", "ranker", "egress")
_FOLDERS = (*(f"services/{name}" for name in SERVICES), "shared/db", "shared/messaging")
_MORE = ("exports.py", "keyring.py", "s3.py", "admin/results/store.py", "admin/results/earned_store.py")
_STATEMENTS = {"execute", "executemany", "fetch", "fetchrow", "fetchval"}
_UPLOADS = {"put_object", "create_multipart_upload", "upload_part", "complete_multipart_upload", "delete_object"}
_DOORS = {
    **dict.fromkeys(("transaction", "desk", "free_desk"), "commit"),
    **dict.fromkeys(("ack", "nack", "reject"), "ack"),
    **dict.fromkeys(_UPLOADS, "upload"),
}


def in_the_code() -> set[str]:
    """Every site, named as `failing` names a crossing."""
    return set(calls())


def calls() -> Counter[str]:
    """How many calls of its function are this site."""
    files = [
        *(path for folder in _FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))),
        *(ROOT / "shared" / name for name in _MORE),
    ]
    return Counter(site for path in files for site in sites_of(path))


def sites_of(path: Path) -> Iterator[str]:
    """Of one file; a function's name comes once for each of its calls."""
    module = ast.parse(path.read_text())
    texts = _texts(module)
    file = str(path.relative_to(ROOT))
    for name, function in _functions(module, ""):
        if (file, name) in PASSED_THROUGH:
            continue
        for kind in _kinds(function, texts):
            yield f"{kind} {file} {name}"


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
    """The outermost functions, by their qualified names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.AsyncFunctionDef | ast.FunctionDef):
            yield f"{prefix}{child.name}", child


def _texts(module: ast.Module) -> Mapping[str, str]:
    """What the module's and its classes' constants say, by name."""
    found: dict[str, str] = {}
    for node in ast.walk(module):
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if isinstance(target, ast.Name):
            parts = [part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
            found[target.id] = " ".join(str(part) for part in parts)
    return found


def _kinds(function: ast.AST, texts: Mapping[str, str]) -> list[str]:
    found: list[str] = []
    calls = [one for one in ast.walk(function) if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute)]
    # Who is given a connection is within the transaction of whoever gave it.
    by_itself = any(isinstance(one.func, ast.Attribute) and one.func.attr == "connection" for one in calls)
    for call in calls:
        assert isinstance(call.func, ast.Attribute)
        name = call.func.attr
        if kind := _DOORS.get(name):
            if not any(word.arg == "readonly" for word in call.keywords):
                found.append(kind)
        elif (name == "publish" and ast.unparse(call.func) in ("wire.publish", "target.publish")) or (
            name == "publish" and "exchange" in ast.unparse(call.func)
        ):
            found.append("publish")
        elif by_itself and name in _STATEMENTS and call.args and CHANGES.search(_text(call.args[0], texts)):
            found.append("commit")
    return found


def _text(argument: ast.expr, texts: Mapping[str, str]) -> str:
    match argument:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return texts.get(name, "")
        case ast.IfExp(body=body, orelse=orelse):
            return f"{_text(body, texts)} {_text(orelse, texts)}"
    return ""
