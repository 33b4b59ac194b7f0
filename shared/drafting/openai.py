"""A server that speaks OpenAI's chat completions: OpenAI's own, or llama.cpp, vLLM, Ollama and the like."""

from collections.abc import Mapping
from typing import Any

from shared.drafting.drafter import Answer, CutOff, Declined, NotThisApi, model_name
from shared.drafting.model import Model
from shared.drafting.prompt import Prompt
from shared.drafting.retries import Limits
from shared.drafting.usage import counted

PATH = "/chat/completions"


def request(prompt: Prompt, model: Model) -> dict[str, object]:
    """The body of one request for one draft."""
    form = {"name": "draft", "strict": True, "schema": prompt.schema}
    # OpenAI's newer models refuse the older name of the limit, and many other servers do not know the newer one.
    limit = "max_completion_tokens" if model.host.endswith(("openai.com", "openai.azure.com")) else "max_tokens"
    freedom = {} if model.temperature is None else {"temperature": model.temperature}
    return {
        "model": model.name,
        "messages": [
            {"role": "system", "content": prompt.system},
            {"role": "user", "content": prompt.user},
        ],
        "response_format": {"type": "json_schema", "json_schema": form},
        limit: model.limits.max_tokens,
        **freedom,
    }


def headers(key: str | None) -> Mapping[str, str]:
    """Those that carry the key, if there is one."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def read_answer(document: Mapping[str, Any], limits: Limits) -> Answer:
    """What a completion says. Raises CutOff, Declined, NotThisApi."""
    choices = document.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise NotThisApi("the answer holds no choices[0].message; see JUSTAI_LLM_URL", reason="llm_not_this_api")
    spent = document.get("usage")
    spent = spent if isinstance(spent, dict) else {}
    usage = counted(spent.get("prompt_tokens"), spent.get("completion_tokens"))
    if choice.get("finish_reason") == "length":
        raise CutOff(
            f"the draft was cut off after {limits.max_tokens} tokens; raise JUSTAI_LLM_MAX_TOKENS, or the context of a "
            "server of your own",
            usage,
        )
    if message.get("refusal") or choice.get("finish_reason") == "content_filter":
        raise Declined("the model declines to write this draft; change the brief", usage)
    content = message.get("content")
    if not isinstance(content, str):
        raise NotThisApi("the answer holds no text in choices[0].message.content", reason="llm_not_this_api")
    return Answer(content, model_name(document.get("model")), usage)
