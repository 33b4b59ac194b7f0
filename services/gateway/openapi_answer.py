"""The parts of the OpenAPI document about waiting for the copy, about GET, and about previews."""

from typing import Any, Final

ANSWERED: Final = "Stored durably, and what was decided: the copy, or null with the reason."

_COPY_ID: Final = "7a0c3f5e-2f7d-4b7e-9a52-0d7a3c1f9b10"
_EXAMPLE_ID: Final = "0b8f2f0e-58a1-8d3c-9a60-3f1c7f1f2a11"


def prefer() -> dict[str, Any]:
    """The header that asks to wait."""
    return {
        "name": "Prefer",
        "in": "header",
        "required": False,
        "description": "`wait=N` (RFC 7240): wait up to N seconds for the copy, at most what the operator allows (3 by "
        "default). When the time is over the answer is 202 as ever, and the copy is written all the same.",
        "schema": {"type": "string"},
        "example": "wait=2",
    }


def answered() -> dict[str, Any]:
    """The 200."""
    copy = {
        "id": _COPY_ID,
        "vars": {"subject": "Hello Ada", "preheader": "Your beans", "body": "<p>Hello Ada</p>"},
    }
    return {
        "description": ANSWERED,
        "headers": {
            "Preference-Applied": {
                "description": "`wait`, where the request asked for it.",
                "schema": {"const": "wait"},
            },
            "Cache-Control": {"required": True, "schema": {"const": "no-store"}},
        },
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Answered"},
                "examples": {
                    "copy": {"value": {"generation_id": _EXAMPLE_ID, "copy": copy}},
                    "control": {"value": {"generation_id": _EXAMPLE_ID, "copy": None, "reason": "template_draft"}},
                },
            }
        },
    }


def query() -> list[dict[str, Any]]:
    """The parameters of GET."""
    return [
        *(
            {
                "name": name,
                "in": "query",
                "required": required,
                "description": shape["description"],
                "schema": {key: value for key, value in shape.items() if key != "description"},
            }
            for required, shapes in ((True, id_members()), (False, preview_members()))
            for name, shape in shapes.items()
        ),
        *(
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": f"Members of `{name}s`, each as a parameter of its own: `{name}.NAME=value`; one that "
                "comes again is a list.",
                "style": "form",
                "explode": True,
                "schema": {"type": "object", "additionalProperties": {"type": "string"}},
            }
            for name in ("attr", "field")
        ),
    ]


def id_members() -> dict[str, dict[str, Any]]:
    """The three ids of a request, as identity.py wants them; blanks around them are passed over."""
    return {
        "template_id": {
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
            "description": "The template, as the console shows it.",
            "examples": ["welcome_1"],
        },
        "user_id": {
            "type": "string",
            "pattern": "^([A-Za-z0-9]{6}|[0-7][0-9A-HJKMNP-TV-Z]{25})$",
            "description": "The Klaviyo profile: `{{ person.KlaviyoID }}`.",
            "examples": ["01HZY6Q3V9C5W0K7M2N4P8R1ST"],
        },
        "tracking_id": {
            "type": "string",
            "pattern": r"^[!#-\-/-\[\]-z|~][!#-\[\]-z|~]{0,255}$",
            "description": "`{{ person.KlaviyoID }}.<flow_id>.<treatment_action_id>`",
            "examples": ["01HZY6Q3V9C5W0K7M2N4P8R1ST.Xy12Ab.9876543"],
        },
    }


def preview_members() -> dict[str, dict[str, Any]]:
    """The members of a body that only a key with the scope `preview` may use."""
    return {
        "copy_id": {
            "type": "string",
            "format": "uuid",
            "description": "Forces an approved variant; the request is a preview then. Needs the scope `preview`.",
        },
        "preview": {
            "type": "boolean",
            "description": "Marks the request as a preview: decided, rendered, stored and answered, but neither "
            "written nor counted, learned from or exported. Needs the scope `preview`; stands before attrs and fields.",
        },
        "write": {
            "type": "boolean",
            "description": "With a preview: write it to the profile all the same.",
        },
    }


def schema() -> dict[str, Any]:
    """The body of the 200."""
    texts = ("subject", "preheader", "body")
    return {
        "type": "object",
        "required": ["generation_id", "copy"],
        "additionalProperties": False,
        "properties": {
            "generation_id": {"type": "string", "format": "uuid"},
            "copy": {
                "type": ["object", "null"],
                "description": "null: the email shows the control content.",
                "required": ["id", "vars"],
                "additionalProperties": False,
                "properties": {
                    "id": {"type": "string", "format": "uuid", "description": "The copy_id: which variant it is."},
                    "vars": {
                        "type": "object",
                        "required": list(texts),
                        "additionalProperties": False,
                        "properties": {name: {"type": "string"} for name in texts},
                    },
                },
            },
            "reason": {"type": "string", "description": "Why there is no copy; only beside null."},
        },
    }
