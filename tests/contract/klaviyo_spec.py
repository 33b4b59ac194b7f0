"""Checks requests and responses against Klaviyo's OpenAPI document.

    spec = load_spec()                                     # None where the document is not at hand
    check_request(spec, "PATCH", "/api/profiles/01…?fields[profile]=updated", headers, body)
    check_response(spec, "PATCH", "/api/profiles/01…", 200, headers, body)

Both raise `SpecViolation` with every problem in its text. The document's unions (`oneOf`) overlap, since most members
are optional, so a value passes a union when it fits at least one alternative.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from jsonschema import Draft202012Validator, FormatChecker

DOCUMENT = Path(__file__).resolve().parents[3] / "shared" / "klaviyo" / "openapi" / "stable.json"
MEDIA_TYPE = "application/vnd.api+json"
MISSING_REASON = "Klaviyo's OpenAPI document is not beside this repository"


class SpecViolation(AssertionError):
    """A request or response that the document does not allow."""


@dataclass(frozen=True)
class Operation:
    id: str
    path: str
    parameters: tuple[Mapping[str, Any], ...]
    request_schema: Mapping[str, Any] | None
    responses: Mapping[str, Any]
    raw: Mapping[str, Any]


@dataclass
class Spec:
    """The document, with its operations findable by method and path and its schemas as JSON Schema validators."""

    document: Mapping[str, Any]
    operations: dict[str, list[tuple[re.Pattern[str], Operation]]]
    _validators: dict[str, Any] = field(default_factory=dict)

    def find(self, method: str, path: str) -> Operation:
        """Raises `SpecViolation` when there is no such operation."""
        bare = urlsplit(path).path.rstrip("/")
        for pattern, operation in self.operations.get(method.upper(), ()):
            if pattern.fullmatch(bare):
                return operation
        raise SpecViolation(f"{method} {bare} is no operation of revision {self.document['info']['version']}")

    def problems(self, schema: Mapping[str, Any], value: Any, where: str, *, sparse: bool = False) -> list[str]:
        """What is wrong with `value`. `sparse` forgives missing attributes: the document cannot say that a sparse
        fieldset leaves out members that it calls required."""
        key = json.dumps(schema, sort_keys=True)
        if key not in self._validators:
            whole = {"components": _converted(self.document["components"]), **_converted(schema)}
            self._validators[key] = Draft202012Validator(whole, format_checker=FormatChecker())
        errors = [
            error
            for error in self._validators[key].iter_errors(value)
            if not (sparse and error.validator == "required" and "attributes" in error.absolute_path)
        ]
        return [f"{where}{error.json_path[1:]}: {error.message[:300]}" for error in errors]


def load_spec() -> Spec | None:
    return _load(DOCUMENT) if DOCUMENT.is_file() else None


@cache
def _load(path: Path) -> Spec:
    document = json.loads(path.read_text())
    operations: dict[str, list[tuple[re.Pattern[str], Operation]]] = {}
    for template, methods in document["paths"].items():
        pattern = re.compile("[^/]+".join(re.escape(part) for part in re.split(r"\{[^}]+\}", template)))
        for method, raw in methods.items():
            if not isinstance(raw, dict) or "operationId" not in raw:
                continue
            content = (raw.get("requestBody") or {}).get("content", {})
            schema = content[MEDIA_TYPE]["schema"] if MEDIA_TYPE in content else None
            parameters = tuple(raw.get("parameters", ()))
            operation = Operation(raw["operationId"], template, parameters, schema, raw["responses"], raw)
            operations.setdefault(method.upper(), []).append((pattern, operation))
    return Spec(document, operations)


def _converted(schema: Any) -> Any:
    """OpenAPI 3.0 as JSON Schema 2020-12: `nullable` becomes a null alternative, overlapping unions become any-of."""
    if isinstance(schema, list):
        return [_converted(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    known = {name: _converted(value) for name, value in schema.items() if name not in ("nullable", "oneOf", "example")}
    if isinstance(schema.get("oneOf"), list):
        known["anyOf"] = _converted(schema["oneOf"])
    if schema.get("nullable") is True:
        return {"anyOf": [known, {"type": "null"}]}
    return known


def check_request(
    spec: Spec, method: str, path: str, headers: Mapping[str, str], body: bytes | str | None
) -> Operation:
    """Address, query, headers and body of one request. Returns its operation."""
    operation = spec.find(method, path)
    sent = {name.lower(): value for name, value in headers.items()}
    problems = []
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", sent.get("revision", "")):
        problems.append("header revision: a date is required")
    if not sent.get("authorization", "").startswith("Klaviyo-API-Key "):
        problems.append("header authorization: must start with 'Klaviyo-API-Key '")
    problems += _query_problems(spec, operation, path)
    if operation.request_schema is None:
        if body:
            problems.append("body: this operation takes none")
    elif sent.get("content-type", "").partition(";")[0] != MEDIA_TYPE:
        problems.append(f"header content-type: must be {MEDIA_TYPE}")
    else:
        problems += _body_problems(spec, operation.request_schema, body)
    if problems:
        raise SpecViolation(f"{method} {path}: " + "; ".join(problems))
    return operation


def check_response(
    spec: Spec, method: str, path: str, status: int, headers: Mapping[str, str], body: bytes | str | None
) -> None:
    """Status, media type and body of the response to `method path`."""
    operation = spec.find(method, path)
    described = operation.responses.get(str(status)) or operation.responses.get(f"{status // 100}XX")
    if described is None:
        raise SpecViolation(f"{method} {path}: status {status} is not documented")
    if "$ref" in described:
        described = spec.document["components"]["responses"][described["$ref"].rpartition("/")[2]]
    content = described.get("content", {})
    if not content:
        problems = ["body: none is documented"] if body else []
    else:
        media_type = {name.lower(): value for name, value in headers.items()}.get("content-type", "")
        problems = [] if media_type.partition(";")[0] == MEDIA_TYPE else [f"content-type: {media_type!r}"]
        sparse = "fields[" in unquote(urlsplit(path).query)
        problems += _body_problems(spec, content[MEDIA_TYPE]["schema"], body, sparse=sparse)
    if problems:
        raise SpecViolation(f"{status} to {method} {path}: " + "; ".join(problems))


def _body_problems(
    spec: Spec, schema: Mapping[str, Any], body: bytes | str | None, *, sparse: bool = False
) -> list[str]:
    try:
        value = json.loads(body or b"")
    except ValueError as error:
        return [f"body: no JSON ({error})"]
    return spec.problems(schema, value, "body", sparse=sparse)


def _query_problems(spec: Spec, operation: Operation, path: str) -> list[str]:
    known = {parameter["name"]: parameter for parameter in operation.parameters if parameter["in"] == "query"}
    problems = []
    for name, text in parse_qsl(urlsplit(path).query, keep_blank_values=True):
        if name not in known:
            problems.append(f"query {name}: unknown to {operation.id}")
            continue
        schema = known[name]["schema"]
        value: Any = text
        if schema.get("type") == "array":
            value = text.split(",")
        elif schema.get("type") == "integer":
            value = int(text) if text.isdecimal() else text
        problems += spec.problems(schema, value, f"query {name}")
    return problems
