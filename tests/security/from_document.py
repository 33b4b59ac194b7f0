"""Requests made of an OpenAPI document, as it allows and as it does not; whether answers are what it promises."""

import json
import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

from jsonschema import Draft202012Validator

from tests.support.belongings import Belongings

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_DEEPEST: Final = 4
ASK_OTHERS: Final = {
    "sources.try", "sources.test", "sources.preview", "exports.test",
    "klaviyo.connect", "klaviyo.rotate", "klaviyo.verify", "flows.sync",
}  # fmt: skip
"""They wait for a server that is not there; a test of their own asks them, all at once."""
JUNK: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1.5, 1e308, 2**31, 2**63, 2**64, 10**30, "", " ", "\x00", "a\x00b", "\ud800",
    "x" * 10_000, "null", "NaN", "{{ person.KlaviyoID }}", "{% for a in (1..9999999) %}", "' OR 1=1 --",
    "<script>alert(1)</script>",
    "../../etc/passwd", "%2e%2e%2f", "\r\nSet-Cookie: a=b", "\u202e", "😀" * 100, "1900-01-01", "9999-12-31T23:59:59Z",
    "2026-11-23T10:00:00", "00000000-0000-0000-0000-000000000000", "-9999999999999999999", "http://169.254.169.254/",
    [], [[]], [None], {}, {"": ""}, {"a": {"a": {"a": {}}}}, ["x"] * 500, "=1+1", "Europe/Nowhere", "٣",
)  # fmt: skip


def known_of(ours: Belongings) -> dict[str, list[str]]:
    """By the name of a parameter or field, values that name something of an org's."""
    ids = ours.ids
    return {
        "org_slug": ["acme"], "template_id": list(ids["template"]), "variant": list(ids["variant"]),
        "run_id": list(ids["run"]), "user_id": list(ids["person"]), "generation_id": list(ids["generation"]),
        "member": list(ids["member"]), "letter_id": list(ids["letter"]), "event_id": list(ids["event"]),
        "name": [*ids["source"], "ours-robot"], "file": list(ids["file"]), "kind": ["write"], "table": ["lift"],
    }  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One request. `name` is what a failure is told by: with it, the request can be made again."""

    name: str
    method: str
    path: str
    route: tuple[str, str]
    query: list[tuple[str, str]] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


class Document:
    """What one service says of itself. `known`: for a parameter's name, values that name something that is there."""

    def __init__(self, document: Mapping[str, Any], known: Mapping[str, list[str]], random: Random) -> None:
        self._document, self._known, self._random = document, known, random
        self._validators: dict[tuple[str, str, str], Draft202012Validator] = {}
        self.routes = [
            (method, path) for path, item in document["paths"].items() for method in _METHODS if method in item
        ]

    # --- requests ----------------------------------------------------------------------------------------------------

    def cases(self, number: int) -> Iterator[Case]:
        """So many, of every route in turn."""
        for at in range(number):
            yield self._case(self.routes[at % len(self.routes)], at)

    def _case(self, route: tuple[str, str], at: int) -> Case:
        method, path = route
        operation, random = self._document["paths"][path][method], self._random
        wild = at // len(self.routes) % 4  # how much of it is not as the document says
        query, headers = list[tuple[str, str]](), dict[str, str]()
        for parameter in operation.get("parameters", []):
            if not parameter["required"] and random.random() < 0.5:
                continue
            value = self._parameter(parameter, wild)
            match parameter["in"]:
                case "path":
                    path = path.replace(f"{{{parameter['name']}}}", quote(value, safe=""))
                case "query":
                    query.append((parameter["name"], value))
                case "header":
                    headers[parameter["name"]] = re.sub(r"[^\x20-\x7e]", "?", value)[:2_000]
        if wild == 3 and random.random() < 0.3:
            query.append((random.choice(["", "x", "org_slug", "template_id", "a[b]"]), "x"))
        body = self._body(operation, wild)
        if body is not None:
            headers["Content-Type"] = "application/json" if wild < 3 or random.random() < 0.7 else self._other_type()
        name = f"case {at}: {method.upper()} {path[:200]} {query!r:.300} {headers!r:.200} {body!r:.600}"
        return Case(name, method.upper(), path or "/", route, query, headers, body)

    def _other_type(self) -> str:
        return self._random.choice(
            ["text/plain", "multipart/form-data", "application/xml", "x", "application/json; charset=utf-16"]
        )

    def _parameter(self, parameter: Mapping[str, Any], wild: int) -> str:
        random, name = self._random, parameter["name"]
        if name in self._known and (wild < 2 or random.random() < 0.6):
            return random.choice(self._known[name])
        if wild and random.random() < 0.3 * wild:
            return as_text(random.choice(JUNK))
        return as_text(self.value(parameter["schema"]))

    def _body(self, operation: Mapping[str, Any], wild: int) -> bytes | None:
        if "requestBody" not in operation:
            return None
        value = self.value(operation["requestBody"]["content"]["application/json"]["schema"])
        if wild and isinstance(value, dict):
            value = self._spoilt(value)
        if wild == 3:
            return self._random.choice([
                json.dumps(value).encode(), json.dumps(value)[:-1].encode(), b"", b"[" * 2_000, b"\xff\xfe", b"null",
                b'"x"', json.dumps(self._random.choice(JUNK)).encode(), b'{"a":1,"a":2}',
                json.dumps(value).encode("utf-16"),
            ])  # fmt: skip
        return json.dumps(value).encode()

    def _spoilt(self, value: dict[str, Any]) -> dict[str, Any]:
        """With one member that is something else, missing, or not known."""
        spoilt, random = dict(value), self._random
        names = list(spoilt)
        match random.randrange(4):
            case 0 if names:
                del spoilt[random.choice(names)]
            case 1:
                spoilt["no_such_field"] = random.choice(JUNK)
            case _ if names:
                name = random.choice(names)
                inner = spoilt[name]
                deeper = isinstance(inner, dict) and inner and random.random() < 0.5
                spoilt[name] = self._spoilt(inner) if deeper else random.choice(JUNK)
        return spoilt

    # --- values ------------------------------------------------------------------------------------------------------

    def value(self, schema: Mapping[str, Any], depth: int = 0) -> Any:
        """One that the schema allows, as far as it is told here: patterns are met where a name is known."""
        random = self._random
        if "$ref" in schema:
            return self.value(self._resolved(schema["$ref"]), depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return random.choice(schema["enum"])
        for several in ("anyOf", "oneOf"):
            if several in schema:
                return self.value(random.choice(schema[several]), depth)
        if "allOf" in schema:
            return self.value(schema["allOf"][0], depth)
        kind = schema.get("type", "object" if "properties" in schema else random.choice(["string", "integer"]))
        kind = random.choice(kind) if isinstance(kind, list) else kind
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                most = min(schema.get("maxItems", 3), 3) if depth < _DEEPEST else schema.get("minItems", 0)
                least = min(schema.get("minItems", 0), max(most, schema.get("minItems", 0)))
                return [
                    self.value(schema.get("items", {}), depth + 1)
                    for _ in range(random.randint(least, max(least, most)))
                ]
            case "integer" | "number":
                return self._number(schema, kind)
            case "boolean":
                return random.random() < 0.5
            case "null":
                return None
            case _:
                return self._text(schema)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        random, required = self._random, schema.get("required", [])
        made = {}
        for name, inner in schema.get("properties", {}).items():
            if name in required or (depth < _DEEPEST and random.random() < 0.6):
                known = self._known.get(name)
                made[name] = random.choice(known) if known and random.random() < 0.6 else self.value(inner, depth + 1)
        more = schema.get("additionalProperties")
        if isinstance(more, dict) and depth < _DEEPEST:
            made |= {self._text({}): self.value(more, depth + 1) for _ in range(random.randint(0, 2))}
        elif more is True:
            made |= {self._text({}): random.choice(JUNK) for _ in range(random.randint(0, 2))}
        return made

    def _number(self, schema: Mapping[str, Any], kind: str) -> float | int:
        least = schema.get("minimum", schema.get("exclusiveMinimum", -10))
        most = schema.get("maximum", schema.get("exclusiveMaximum", max(least + 100, 100)))
        if kind == "integer":
            return self._random.choice([int(least), int(most), self._random.randint(int(least), int(most))])
        return self._random.uniform(least, most)

    def _text(self, schema: Mapping[str, Any]) -> str:
        random = self._random
        match schema.get("format"):
            case "uuid":
                return str(UUID(int=random.getrandbits(128), version=4))
            case "date-time":
                return f"{self._day()}T10:00:00{random.choice(['Z', '+14:00', '-14:00'])}"
            case "date":
                return self._day()
        least = schema.get("minLength", 0)
        size = random.randint(least, min(schema.get("maxLength", least + 20), least + 20))
        letters = random.choice([string.ascii_lowercase, string.printable[:95], "äöü😀\u202e'\"<>{}%"])
        return "".join(random.choices(letters, k=size))

    def _day(self) -> str:
        random = self._random
        if random.random() < 0.2:
            return random.choice(["0001-01-01", "9999-12-31"])
        return f"20{random.randint(10, 40)}-{random.randint(1, 12):02}-{random.randint(1, 28):02}"

    def _resolved(self, ref: str) -> Mapping[str, Any]:
        found: Any = self._document
        for part in ref.removeprefix("#/").split("/"):
            found = found[part]
        return dict(found)

    # --- answers -----------------------------------------------------------------------------------------------------

    def fault_of(self, case: Case, status: int, headers: Mapping[str, str], body: bytes) -> str | None:
        """What is not as the document says; None where all is."""
        method, path = case.route
        responses = self._document["paths"][path][method]["responses"]
        told = str(status) if str(status) in responses else "default"
        if told not in responses:
            return f"{status} is no answer of {method.upper()} {path}"
        response = responses[told]
        response = self._resolved(response["$ref"]) if "$ref" in response else response
        kind = headers.get("Content-Type", "").partition(";")[0]
        if kind not in response.get("content", {kind: None}):
            return f"{status} with {kind!r}"
        missing = [
            name for name, one in response.get("headers", {}).items() if one.get("required") and name not in headers
        ]
        if missing:
            return f"{status} without {missing}"
        if kind != "application/json":
            return None
        key = (method, path, told)
        if key not in self._validators:
            schema = response["content"][kind]["schema"]
            self._validators[key] = Draft202012Validator({**schema, "components": self._document["components"]})
        try:
            errors = [error.message for error in self._validators[key].iter_errors(json.loads(body))]
        except ValueError:
            return f"{status} whose body is no JSON"
        return f"{status}: {errors[0]:.300}" if errors else None


def as_text(value: Any) -> str:
    """As it stands in a URL."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace").decode()[:3_000]
