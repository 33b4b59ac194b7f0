"""The admin API's OpenAPI 3.1 document, made of the registry: it cannot differ from what runs."""

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from shared.admin.operation import PREFIX, Operation, Registry, has_body

_REF: Final = "#/components/schemas/{model}"
_PROBLEMS: Final = {
    "400": "Not HTTP as it should be.",
    "401": "Nobody: no API key, or none that is valid.",
    "403": "Somebody whose role or key may not do this.",
    "404": "There is no such org, or not for whoever asks; or what the path names is not there.",
    "409": "It is there already, or is not any more what it was.",
    "422": "It cannot be done as it was asked; `field` and `faults` say why.",
    "500": "Unforeseen; `X-Request-Id` names it in the logs.",
    "503": "A server or Klaviyo does not answer; again after Retry-After.",
}


def document(registry: Registry) -> dict[str, Any]:
    """A new document."""
    served = list(registry.served())
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = []
    for one in served:
        models += [(one.asked, "validation"), (one.result, "serialization")]
    keys, definitions = models_json_schema(models, ref_template=_REF)
    schemas: dict[str, Any] = definitions.get("$defs", {})
    paths: dict[str, dict[str, Any]] = {}
    for one in served:
        name = keys[(one.asked, "validation")]["$ref"].rpartition("/")[2]
        paths.setdefault(PREFIX + one.path, {})[one.method.lower()] = _route(
            one, schemas[name], keys[(one.result, "serialization")]
        )
    used = _used(paths, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "JustAI administration",
            "version": "1.0.0",
            "description": "Everything that the console and `justai` do to an org. Changes stand in its audit log.",
        },
        "servers": [{"url": "/"}],
        "security": [{"api_key": []}, {"bearer": []}, {"session": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {
                "api_key": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "Scope `admin`."},
                "bearer": {"type": "http", "scheme": "bearer", "description": "The same key."},
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-justai", "description": "Signed in."},
            },
            "responses": {status: _problem(status, text) for status, text in _PROBLEMS.items()},
            "schemas": {name: schemas[name] for name in sorted(used)} | {"Problem": _PROBLEM},
        },
    }


def _route(one: Operation[Any, Any], asked: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    properties, required = asked.get("properties", {}), asked.get("required", [])
    in_path = one.path_parameters
    parameters = [_parameter(name, "path", {"type": "string"}, properties.get(name, {}), True) for name in in_path]
    rest = {name: schema for name, schema in properties.items() if name not in in_path}
    route: dict[str, Any] = {
        "operationId": one.name,
        "tags": [one.name.partition(".")[0]],
        "summary": one.summary,
        "description": f"Least role: {one.role}.{' It stands in the audit log.' if one.changes else ''}",
        "parameters": [_ORG_SLUG, *parameters],
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {"schema": result}}},
            **{status: {"$ref": f"#/components/responses/{status}"} for status in _PROBLEMS},
        },
    }
    if has_body(one):
        needed = [name for name in required if name in rest]
        schema = {"type": "object", "additionalProperties": False, "properties": rest}
        schema |= {"required": needed} if needed else {}
        schema |= {"description": asked["description"]} if "description" in asked else {}
        route["requestBody"] = {"required": bool(needed), "content": {"application/json": {"schema": schema}}}
    else:
        route["parameters"] += [
            _parameter(name, "query", schema, schema, name in required) for name, schema in rest.items()
        ]
    return route


_ORG_SLUG: Final[dict[str, Any]] = {
    "name": "org_slug",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$"},
}


def _parameter(name: str, where: str, schema: dict[str, Any], told: dict[str, Any], required: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "in": where, "required": required, "schema": schema}
    return found | ({"description": told["description"]} if "description" in told else {})


def _problem(status: str, text: str) -> dict[str, Any]:
    problem: dict[str, Any] = {
        "description": text,
        "content": {"application/json": {"schema": {"$ref": _REF.format(model="Problem")}}},
    }
    if status == "503":
        problem["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    if status == "401":
        problem["headers"] = {"WWW-Authenticate": {"schema": {"const": "Bearer"}}}
    return problem


def _used(paths: object, schemas: dict[str, Any]) -> set[str]:
    """The schemas that something refers to; what stands in paths and queries is written out there."""
    found: set[str] = set()
    waiting: list[object] = [paths]
    while waiting:
        match waiting.pop():
            case {"$ref": str(ref)} if ref.startswith("#/components/schemas/"):
                name = ref.rpartition("/")[2]
                if name not in found and name in schemas:
                    found.add(name)
                    waiting.append(schemas[name])
            case dict() as inner:
                waiting += inner.values()
            case list() as inner:
                waiting += inner
            case _:
                pass
    return found


_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "code", "message", "field", "faults"],
            "additionalProperties": False,
            "properties": {
                "type": {
                    "enum": [
                        "invalid_request", "authentication_failed", "permission_denied", "not_found", "conflict",
                        "unavailable",
                    ]
                },
                "code": {"type": "string", "description": "Stable; callers may branch on it."},
                "message": {"type": "string", "description": "For people; free to change."},
                "field": {"type": ["string", "null"], "description": "The first field that is meant."},
                "faults": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["field", "message"],
                        "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
                    },
                },
            },
        }
    },
}  # fmt: skip
