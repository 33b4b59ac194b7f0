"""A server that speaks Anthropic's messages. The draft is the input of a tool that the model must call."""

from collections.abc import Mapping
from typing import Any

import orjson

from shared.drafting.drafter import Answer, CutOff, Declined, NotThisApi, model_name
from shared.drafting.model import Model
from shared.drafting.prompt import Prompt
from shared.drafting.retries import Limits
from shared.drafting.usage import Usage, counted

PATH = "/messages"
VERSION = "2023-06-01"

_TOOL = "draft"
_READ = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def request(prompt: Prompt, model: Model) -> dict[str, object]:
    """The body of one request for one draft."""
    freedom = {} if model.temperature is None else {"temperature": model.temperature}
    return {
        "model": model.name,
        "max_tokens": model.limits.max_tokens,
        "system": prompt.system,
        "messages": [{"role": "user", "content": prompt.user}],
        "tools": [
            {
                "name": _TOOL,
                "description": "Hands over the one email that was asked for.",
                "strict": True,
                "input_schema": prompt.schema,
            }
        ],
        "tool_choice": {"type": "tool", "name": _TOOL, "disable_parallel_tool_use": True},
        **freedom,
    }


def headers(key: str | None) -> Mapping[str, str]:
    """The version of the API, and the key, if there is one."""
    return {"anthropic-version": VERSION, **({"x-api-key": key} if key else {})}


def read_answer(document: Mapping[str, Any], limits: Limits) -> Answer:
    """What a message says. Raises CutOff, Declined, NotThisApi."""
    content = document.get("content")
    if document.get("type") != "message" or not isinstance(content, list):
        raise NotThisApi("the answer is no message with content; see JUSTAI_LLM_URL", reason="llm_not_this_api")
    usage = _usage(document.get("usage"))
    match document.get("stop_reason"):
        case "max_tokens":
            raise CutOff(f"the draft was cut off after {limits.max_tokens} tokens; raise JUSTAI_LLM_MAX_TOKENS", usage)
        case "model_context_window_exceeded":
            raise CutOff("the draft was cut off: prompt and draft exceed the model's context; shorten the brief", usage)
        case "refusal":
            raise Declined("the model declines to write this draft; change the brief", usage)
    for block in content:
        if isinstance(block, dict) and block.get("type") == "tool_use" and block.get("name") == _TOOL:
            return Answer(orjson.dumps(block.get("input")).decode(), model_name(document.get("model")), usage)
    raise NotThisApi(f"the answer holds no call of the tool {_TOOL!r}", reason="llm_not_this_api")


def _usage(spent: object) -> Usage:
    """What was read anew, put into the cache and found there counts alike: a price for each is not asked for."""
    known = spent if isinstance(spent, dict) else {}
    read = [known.get(name) or 0 for name in _READ]
    return counted(sum(read) if all(type(one) is int for one in read) else None, known.get("output_tokens"))
