"""The OpenAPI 3.1 document: every route, every code, generated from the table of errors where it can be."""

from typing import Any, Final, get_args

from services.gateway import openapi_answer
from services.gateway.errors import BODY_LIMIT_BYTES, MEANINGS, ErrorType, Meaning
from services.gateway.hooks import STATUS as HOOK_STATUS

_REF_ERROR: Final = {"$ref": "#/components/schemas/Error"}
_REF_HOOK_ERROR: Final = {"$ref": "#/components/schemas/HookError"}
_GENERATE_STATUSES: Final = (400, 401, 403, 413, 415, 422, 500, 503)
_STATUS_TEXT: Final = {
    400: "Not HTTP as it should be.",
    401: "No key, or none that is valid. A repetition does not help; Klaviyo skips the person.",
    403: "A valid key that may not do this.",
    404: "There is nothing at this address.",
    405: "This address does not take this method.",
    413: "The body is too large.",
    415: "The body is compressed.",
    422: "The body cannot be used, and no repetition can change that.",
    500: "Unforeseen. Nothing is promised; send it again.",
    503: "Nothing is promised; send it again after Retry-After. The same body then gets the same generation_id.",
}
_EXAMPLE_ID: Final = "0b8f2f0e-58a1-8d3c-9a60-3f1c7f1f2a11"


def document() -> dict[str, Any]:
    """A new document; validated in tests."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "JustAI gateway",
            "version": "1.0.0",
            "description": "Takes the webhook of a Klaviyo flow. The answer 202 means that it is stored durably; the "
            "copy reaches the person's profile before the flow's delay ends.",
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "generate", "description": "What a flow's webhook calls."},
            {"name": "events", "description": "What Klaviyo's system webhooks call."},
            {"name": "operation", "description": "For load balancers, probes and Prometheus."},
        ],
        "paths": {
            "/api/generate/{org_slug}": {"get": _generate_by_query(), "post": _generate()},
            "/api/klaviyo-events/{org_slug}/{hook_id}": {"post": _hook()},
            "/healthz": {"get": _probe("healthz", "Whether the process turns.", {"200": _json("It does.", "Health")})},
            "/readyz": {
                "get": _probe(
                    "readyz",
                    "Whether webhooks can be accepted: the broker is there, and the service is not stopping.",
                    {"200": _json("They can.", "Readiness"), "503": _json("They cannot, and why.", "Readiness")},
                )
            },
            "/metrics": {"get": _probe("metrics", "Metrics in the text format of Prometheus.", {"200": _metrics()})},
            "/openapi.json": {"get": _probe("openapi", "This document.", {"200": _json("The document.", None)})},
        },
        "components": {
            "securitySchemes": {
                "api_key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
            "schemas": _schemas(),
        },
    }


def _hook() -> dict[str, Any]:
    """Klaviyo's own shape; what is said of it here is what decides about an answer."""
    headers = [
        ("Klaviyo-Signature", "hex(HMAC-SHA256(secret, body + text of Klaviyo-Timestamp))."),
        ("Klaviyo-Timestamp", "An HTTP date, ISO 8601 or Unix seconds, within five minutes."),
        ("Klaviyo-Webhook-Id", "The same as meta.klaviyo_webhook_id."),
    ]
    told = {
        400: _STATUS_TEXT[400], 401: "The signature does not fit, or the timestamp is not of now.",
        404: "There is no such hook.",
        413: "The body is larger than 8 MiB.", 415: _STATUS_TEXT[415], 422: "It is signed, and no batch of events.",
        503: "Nothing is stored; send it again after Retry-After.",
    }  # fmt: skip
    return {
        "operationId": "klaviyoEvents",
        "tags": ["events"],
        "summary": "Take a signed batch of Klaviyo's system webhooks.",
        "description": "202 means that the batch is stored durably. One that comes again is stored once.",
        "security": [],
        "parameters": [
            _org_slug(),
            {"name": "hook_id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}},
            *(
                {
                    "name": name, "in": "header", "required": name != "Klaviyo-Webhook-Id", "description": text,
                    "schema": {"type": "string"},
                }
                for name, text in headers
            ),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "object", "required": ["data"], "properties": {"data": {"type": "array"}}}
                }
            },
        },
        "responses": {
            "202": {"description": "It is stored.", "content": {"application/json": {"schema": {"type": "object"}}}},
            **{
                str(status): {"description": text, "content": {"application/json": {"schema": _REF_HOOK_ERROR}}}
                for status, text in told.items()
            },
        },
    }  # fmt: skip


def _generate() -> dict[str, Any]:
    return {
        "operationId": "generate",
        "tags": ["generate"],
        "summary": "Choose, personalise and write the copy for one person.",
        "description": "A webhook that is repeated with the same body within the hour is the same generation: it gets "
        "202 and the same generation_id. Bodies that are almost JSON (a quote or a newline pasted unescaped, HTML "
        "entities, 'None', a tag that was not filled) are read all the same; a defect in attrs or fields costs that "
        "value only.",
        "security": [{"api_key": []}, {"bearer": []}],
        "parameters": [
            _org_slug(),
            openapi_answer.prefer(),
            {
                "name": "X-Klaviyo-Flow-ID",
                "in": "header",
                "required": False,
                "description": "Sent by Klaviyo; noted for operators, decides nothing.",
                "schema": {"type": "string"},
            },
        ],
        "requestBody": {
            "required": True,
            "description": f"At most {BODY_LIMIT_BYTES} bytes, not compressed.",
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/Webhook"},
                    "examples": {
                        "plain": {"value": _EXAMPLE_WEBHOOK},
                        "personal": {
                            "value": _EXAMPLE_WEBHOOK
                            | {"attrs": {"persona": "runner", "plan": "gold"}, "fields": {"first_name": "Ada"}}
                        },
                    },
                }
            },
        },
        "responses": _generate_responses(_GENERATE_STATUSES),
    }


def _generate_by_query() -> dict[str, Any]:
    return {
        "operationId": "generate_and_wait",
        "tags": ["generate"],
        "summary": "The same, for callers that can use the answer: waits for the copy.",
        "description": "The same as POST in all that it does (each call is a generation that is counted and written), "
        "with its body as parameters; it waits for the copy without being asked to. Values in a URL end "
        "in the logs of whatever is in front of us: use POST for those that nobody may see. A request line has room "
        "for 8,190 bytes.",
        "security": [{"api_key": []}, {"bearer": []}],
        "parameters": [_org_slug(), *openapi_answer.query(), openapi_answer.prefer()],
        "responses": _generate_responses((400, 401, 403, 422, 500, 503)),
    }


def _org_slug() -> dict[str, Any]:
    return {
        "name": "org_slug",
        "in": "path",
        "required": True,
        "description": "The org that the key belongs to.",
        "schema": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$"},
        "example": "acme",
    }


def _generate_responses(statuses: tuple[int, ...]) -> dict[str, Any]:
    accepted = {
        "description": "Stored durably. For a repetition: it was stored before. For who waited: the time was over.",
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Accepted"},
                "example": {"generation_id": _EXAMPLE_ID, "status": "accepted"},
            }
        },
    }
    return (
        {"200": openapi_answer.answered(), "202": accepted}
        | {str(status): _refused(status) for status in statuses}
        | {"default": {"description": "Any other refusal: 404, 405.", "content": _error_content((404, 405))}}
    )


def _refused(status: int) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": _STATUS_TEXT[status], "content": _error_content((status,))}
    headers: dict[str, Any] = {}
    if any(meaning.retry_after_s is not None for meaning in _meanings((status,)).values()):
        headers["Retry-After"] = {"description": "Seconds.", "required": True, "schema": {"type": "integer"}}
    if status == 401:
        headers["WWW-Authenticate"] = {"required": True, "schema": {"const": "Bearer"}}
    if headers:
        answer["headers"] = headers
    return answer


def _meanings(statuses: tuple[int, ...]) -> dict[str, Meaning]:
    return {code: meaning for code, meaning in MEANINGS.items() if meaning.status in statuses}


def _error_content(statuses: tuple[int, ...]) -> dict[str, Any]:
    examples = {
        code: {
            "value": {"error": {"type": meaning.type, "code": code, "message": meaning.message, "param": _param(code)}}
        }
        for code, meaning in _meanings(statuses).items()
    }
    return {"application/json": {"schema": _REF_ERROR, "examples": examples}}


def _param(code: str) -> str | None:
    return next(
        (param for param in ("template_id", "user_id", "tracking_id", "copy_id", "preview") if code.endswith(param)),
        None,
    )


def _probe(operation_id: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    refused = {"description": "Another method, or another address.", "content": _error_content((404, 405))}
    return {
        "operationId": operation_id,
        "tags": ["operation"],
        "summary": summary,
        "security": [],
        "responses": responses | {"default": refused},
    }


def _json(description: str, schema: str | None) -> dict[str, Any]:
    shape = {"$ref": f"#/components/schemas/{schema}"} if schema else {"type": "object"}
    return {"description": description, "content": {"application/json": {"schema": shape}}}


def _metrics() -> dict[str, Any]:
    return {"description": "The metrics.", "content": {"text/plain": {"schema": {"type": "string"}}}}


_EXAMPLE_WEBHOOK: Final = {
    "template_id": "welcome_1",
    "user_id": "01HZY6Q3V9C5W0K7M2N4P8R1ST",
    "tracking_id": "01HZY6Q3V9C5W0K7M2N4P8R1ST.Xy12Ab.9876543",
}


def _schemas() -> dict[str, Any]:
    return {
        "Webhook": {
            "type": "object",
            "required": ["template_id", "user_id", "tracking_id"],
            "additionalProperties": True,
            "properties": openapi_answer.id_members()
            | {
                "attrs": {
                    "type": "object",
                    "description": "For ranking and selection: at most 64, of 1,000 characters each; or lists.",
                    "additionalProperties": True,
                },
                "fields": {
                    "type": "object",
                    "description": "Inserted in the copy, without effect on which one: at most 128, of 16,384 "
                    "characters each. One that is empty, null or false is missing.",
                    "additionalProperties": True,
                },
            }
            | openapi_answer.preview_members(),
        },
        "Answered": openapi_answer.schema(),
        "Accepted": {
            "type": "object",
            "required": ["generation_id", "status"],
            "additionalProperties": False,
            "properties": {
                "generation_id": {"type": "string", "format": "uuid"},
                "status": {"const": "accepted"},
            },
        },
        "Error": _error(sorted(MEANINGS)),
        "HookError": _error(sorted({*HOOK_STATUS, "no_such_route", "broken_request"})),
        "Health": {
            "type": "object",
            "required": ["status"],
            "properties": {"status": {"const": "ok"}},
        },
        "Readiness": {
            "type": "object",
            "required": ["status", "reasons"],
            "properties": {
                "status": {"enum": ["ready", "not ready"]},
                "reasons": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
    }


def _error(codes: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["error"],
        "additionalProperties": False,
        "properties": {
            "error": {
                "type": "object",
                "required": ["type", "code", "message", "param"],
                "additionalProperties": False,
                "properties": {
                    "type": {"enum": list(get_args(ErrorType))},
                    "code": {"enum": codes},
                    "message": {"type": "string", "description": "For people; free to change."},
                    "param": {"type": ["string", "null"], "description": "The member of the body that is meant."},
                },
            }
        },
    }
