"""What a model found wrong, in words for whoever wrote it. Pure; quotes a value only where one is given."""

from typing import Final

from pydantic_core import ErrorDetails

from shared.snippet import IDENTIFIER, PREFIX


def what_is_wrong(fault: ErrorDetails, kind: str = "such a file") -> str:
    """What is wrong, in words for whoever wrote the file."""
    known = fault.get("ctx", {})
    match fault["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return f"is no field of {kind}; is it misspelled?"
        case "string_type" if isinstance(fault.get("input", {}), dict | list):
            return "must be a text"
        case "string_type":
            return f"must be a text, but {fault['input']!r} is none to YAML; put it in quotes"
        case "string_pattern_mismatch":
            return _SHAPES.get(str(known.get("pattern")), "has the wrong form")
        case "too_short" | "string_too_short":
            return "is empty"
        case "too_long":
            return f"has more than {known.get('max_length')} entries"
        case "string_too_long":
            return f"is longer than {known.get('max_length')} characters"
        case "union_tag_not_found":
            return f"kind: is missing; it is one of {', '.join(KINDS)}"
        case "union_tag_invalid":
            return f"kind: must be one of {', '.join(KINDS)}"
        case "dict_type":
            return "must have a line for each of its entries, like `plan: …`, indented"
        case "literal_error":
            return f"must be {known.get('expected')}"
        case "model_type" | "model_attributes_type":
            return "must have fields of its own, one a line, indented"
        case "list_type":
            return "must be a list, each entry after a dash"
        case "date_from_datetime_parsing" | "date_type" | "date_parsing":
            return "must be a day, like 2026-12-24"
        case "value_error":
            return str(known.get("error"))
        case "bool_parsing" | "bool_type":
            return "must be true or false"
        case "int_parsing" | "int_type" | "int_from_float":
            return "must be a whole number"
        case _:
            return fault["msg"][:1].lower() + fault["msg"][1:]


KINDS: Final = ("string", "list", "number", "date")
_SHAPES: Final = {
    r"\S": "is blank",
    r"^\s*<mjml\b": "must begin with <mjml>",
    f"^{IDENTIFIER}$": "must be an id: letters, digits, - and _, at most 64",
    f"^{PREFIX}$": "must begin with a lower-case letter, then lower-case letters, digits and _, at most 32",
    r"^[A-Za-z_][A-Za-z0-9_-]{0,127}$": "must be the name of a field: letters, digits, - and _",
}
