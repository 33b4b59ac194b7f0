"""Forms: read into a model, or shown again with what was typed and what is wrong with each field."""

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from services.console.web.errors import bad_request, sentence_of
from services.console.web.uploads import posted_of
from shared.admin.errors import AdminError, Fault, Refused

M = TypeVar("M", bound=BaseModel)
MOST_FIELDS = 500  # more than any form of ours has

_SENTENCES: Mapping[str, str] = {
    "missing": "is missing",
    "string_too_short": "is missing",
    "int_parsing": "is no whole number",
    "float_parsing": "is no number",
    "bool_parsing": "is neither yes nor no",
    "literal_error": "is none of the choices",
    "uuid_parsing": "is none of the choices",
    "extra_forbidden": "is not known here",
}


class Form:
    """What was typed, and what is wrong with it, for the macros of `_macros.html`. Secrets are never shown again."""

    def __init__(
        self, values: Mapping[str, str | Sequence[str]] | None = None, errors: Mapping[str, str] | None = None
    ) -> None:
        self._values, self.errors = dict(values or {}), dict(errors or {})

    def value(self, name: str, default: object = "") -> str:
        """What to show in a field."""
        found = self._values.get(name, default)
        return found if isinstance(found, str) else "" if found is None else str(found)

    def values(self, name: str) -> Sequence[str]:
        """What is ticked of several."""
        found = self._values.get(name, ())
        return [found] if isinstance(found, str) else found

    def error(self, name: str) -> str | None:
        """What is wrong with a field, in words that follow its label."""
        return self.errors.get(name)

    def refuse(self, name: str, why: str) -> None:
        """Something that only the page can know is wrong with a field."""
        self.errors[name] = why

    def refuse_all(self, error: AdminError, *roots: str, fields: Collection[str] | None = None) -> None:
        """What an operation said: each fault at its field, which is the first step of its path that is none of `roots`,
        with the entry that it is about (blank lines are none); above the form what names none of `fields`."""
        for fault in _faults(error):
            steps = fault.field.split(".")
            name, *inside = steps[1:] if len(steps) > 1 and steps[0] in roots else steps
            if fields is None or name in fields:
                self.errors.setdefault(name, f"{_entry(inside)}{fault.message}")
            else:
                self.errors.setdefault("", f"{fault.field}: {fault.message}")
        if not self.errors:
            self.errors[""] = sentence_of(error)

    def take(self, other: "Form") -> None:
        """What was typed in another part of the same form, and what is wrong there."""
        self._values = {**other._values, **self._values}
        self.errors = {**other.errors, **self.errors}

    @property
    def faulty(self) -> bool:
        return bool(self.errors)


def _faults(error: AdminError) -> Sequence[Fault]:
    if isinstance(error, Refused):
        return error.faults
    return [Fault(error.field, error.message[:1].lower() + error.message[1:])] if error.field else []


def _entry(inside: Sequence[str]) -> str:
    """`["2", "ends"]` is about the third entry of what was typed."""
    if not inside:
        return ""
    return f"entry {int(inside[0]) + 1} " if inside[0].isdecimal() else f"{inside[0]}: "


async def read_form(request: web.Request, model: type[M]) -> tuple[M | None, Form]:
    """The model, or None with every fault. White space around a value does not count, except in secrets; an empty
    field counts as not given."""
    posted = await posted_of(request)
    if len(posted) > MOST_FIELDS:
        raise bad_request("The form has more fields than any of ours.")
    typed: dict[str, str | Sequence[str]] = {}
    for name in posted:
        if name in model.model_fields:
            texts = [text for text in posted.getall(name) if isinstance(text, str)]
            typed[name] = texts if _is_list(model, name) else (texts[-1] if texts else "")
    secret = {name for name in typed if _is_secret(model, name)}
    given = {
        name: value if name in secret or not isinstance(value, str) else value.strip() for name, value in typed.items()
    }
    form = Form({name: value for name, value in typed.items() if name not in secret})
    for name, value in typed.items():
        if not _storable("".join(value)):
            form.refuse(name, "holds a character that no text may hold")
    if form.faulty:
        return None, form
    try:
        return model.model_validate({name: value for name, value in given.items() if value not in ("", [])}), form
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False):
            form.errors.setdefault(str(fault["loc"][0]) if fault["loc"] else "", sentence(fault))
        return None, form


def sentence(fault: ErrorDetails) -> str:
    """What is wrong, in words that follow the field's label."""
    match fault["type"]:
        case "string_too_long":
            return f"is too long: at most {fault['ctx']['max_length']} characters"
        case "greater_than_equal" | "greater_than":
            return f"is too small: at least {fault['ctx'].get('ge', fault['ctx'].get('gt'))}"
        case "less_than_equal" | "less_than":
            return f"is too large: at most {fault['ctx'].get('le', fault['ctx'].get('lt'))}"
        case "value_error":
            return str(fault["ctx"]["error"])
        case kind:
            return _SENTENCES.get(kind, "is not valid")


def _storable(text: str) -> bool:
    """Neither NUL nor half of a surrogate pair: the database holds no such text."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _is_secret(model: type[BaseModel], name: str) -> bool:
    annotation = model.model_fields[name].annotation
    return annotation is SecretStr or SecretStr in getattr(annotation, "__args__", ())


def _is_list(model: type[BaseModel], name: str) -> bool:
    return getattr(model.model_fields[name].annotation, "__origin__", None) in (list, tuple, set, frozenset)
