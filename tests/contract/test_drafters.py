"""Both clients against what they talk to: Anthropic's documented shapes, and servers that fail."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared.drafting.drafter import CutOff, Declined, ModelRefused, NoAnswer, NotThisApi
from shared.drafting.model import Provider
from shared.drafting.usage import Usage
from shared.errors import Failure, Throttled
from tests.contract.drafter_stage import DRAFT, KEY, PROVIDERS, drafter, prompt, secret
from tests.support.llm import FakeModel, Reply, Request, completion, fake_model

# --- the request -----------------------------------------------------------------------------------------------------


def invalid(what: str, *, status: int = 400, kind: str = "invalid_request_error") -> Reply:
    """An error as Anthropic documents it."""
    return Reply(status, {"type": "error", "error": {"type": kind, "message": what}, "request_id": "req_1"})


KNOWN_KEYS = {"model", "max_tokens", "messages", "system", "temperature", "tools", "tool_choice"}
STRICT_KEYS = {"type", "properties", "required", "additionalProperties", "description", "enum", "items", "anyOf"}


def strict_faults(schema: Any) -> Iterator[str]:
    if unknown := set(schema) - STRICT_KEYS:
        yield f"strict schemas do not support {sorted(unknown)}"
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            yield "additionalProperties must be false"
        for part in schema.get("properties", {}).values():
            yield from strict_faults(part)


def anthropic_faults(body: dict[str, Any]) -> Iterator[str]:
    """What the messages API would refuse of a request that forces one strict tool."""
    yield from (f"{name}: Extra inputs are not permitted" for name in set(body) - KNOWN_KEYS)
    yield from (f"{name}: Field required" for name in {"model", "max_tokens", "messages"} - set(body))
    if type(body.get("max_tokens")) is not int or body["max_tokens"] < 1:
        yield "max_tokens: must be at least 1"
    if not 0 <= body.get("temperature", 1) <= 1:
        yield "temperature: range: 0..1"
    if [one["role"] for one in body["messages"]] != ["user"] or not body["messages"][0]["content"]:
        yield "messages: first message must use the user role"
    if "system" in body and not isinstance(body["system"], str):
        yield "system: must be a string"
    [tool] = body["tools"]
    if set(tool) - {"name", "description", "input_schema", "strict"} or tool["input_schema"].get("type") != "object":
        yield "tools.0: is no custom tool"
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", tool["name"]):
        yield "tools.0.name: String should match pattern"
    yield from strict_faults(tool["input_schema"]) if tool.get("strict") else ()
    choice = body["tool_choice"]
    if choice["type"] != "tool" or choice["name"] != tool["name"]:
        yield "tool_choice: tool not found"
    if set(choice) - {"type", "name", "disable_parallel_tool_use"}:
        yield "tool_choice: Extra inputs are not permitted"


def anthropic(
    draft: object = None, *, stop: str = "tool_use", content: list[object] | None = None
) -> Callable[[Request], Reply]:
    """Anthropic's messages, as far as a forced tool goes; strict with who asks."""

    def answer(request: Request) -> Reply:
        if request.headers.get("x-api-key") != KEY:
            return invalid(
                f"invalid x-api-key {request.headers.get('x-api-key')}", status=401, kind="authentication_error"
            )
        if request.path != "/v1/messages" or request.headers["content-type"] != "application/json":
            return invalid("Not found", status=404, kind="not_found_error")
        if request.headers.get("anthropic-version") != "2023-06-01":
            return invalid("anthropic-version: header is required")
        if faults := list(anthropic_faults(request.body)):
            return invalid("; ".join(faults))
        call = {"type": "tool_use", "id": "toolu_1", "name": request.body["tools"][0]["name"], "input": draft or DRAFT}
        return Reply(
            body={
                "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test",
                "content": [call] if content is None else content, "stop_reason": stop, "stop_sequence": None,
                "usage": {"input_tokens": 200, "cache_creation_input_tokens": 30, "cache_read_input_tokens": None,
                          "output_tokens": 90},
            }
        )  # fmt: skip

    return answer


async def test_anthropics_messages_take_the_request_and_its_tool_call_is_the_draft() -> None:
    with fake_model(anthropic()) as server:
        async with drafter(server.url, "anthropic", api_key=secret(), temperature=0.5) as model:
            answer = await model.draft(prompt())

    assert json.loads(answer.text) == DRAFT
    assert answer.usage == Usage(230, 90)
    assert answer.model == "claude-test"
    [request] = server.requests
    assert request.body["system"] == prompt().system
    assert request.body["tools"][0]["input_schema"] == prompt().schema
    assert request.body["tools"][0]["strict"] is True


async def test_an_openai_compatible_server_is_sent_the_schema_strictly_and_the_key() -> None:
    with fake_model(completion(DRAFT)) as server:
        async with drafter(server.url, api_key=secret(), temperature=0.5) as model:
            answer = await model.draft(prompt())

    [request] = server.requests
    assert json.loads(answer.text) == DRAFT
    assert (answer.usage, answer.model) == (Usage(300, 100), "tiny-1")
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "draft", "strict": True, "schema": prompt().schema},
    }
    assert set(request.body) == {"model", "messages", "response_format", "max_tokens", "temperature"}


async def test_a_server_of_ones_own_needs_no_key_and_temperature_is_its_own_unless_set() -> None:
    with fake_model(completion(DRAFT, usage={"prompt_tokens": 1})) as server:
        async with drafter(server.url) as model:
            answer = await model.draft(prompt())

    assert "authorization" not in server.requests[0].headers
    assert "temperature" not in server.requests[0].body
    assert answer.usage == Usage(uncounted=1)


# --- what goes wrong -------------------------------------------------------------------------------------------------


def good(provider: str) -> Reply | Callable[[Request], Reply]:
    return completion(DRAFT) if provider == "openai" else anthropic()


async def attempt(server: FakeModel, provider: Provider, **settings: Any) -> tuple[Failure | None, list[float]]:
    """How one draft fails, and the waits between its tries."""
    pauses: list[float] = []
    async with drafter(server.url, provider, pauses, api_key=secret(), **settings) as model:
        try:
            await model.draft(prompt())
        except Failure as failure:
            return failure, pauses
    return None, pauses


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "fault",
    [
        Reply(429, headers={"Retry-After": "3"}), Reply(500, b"<html>oops</html>"),
        Reply(529, {"error": {"type": "overloaded_error"}}),
        Reply(200, b'{"choices": [', cut=True), Reply(200, completion(DRAFT).body, wait_s=3.0),
    ],
    ids=["429", "500", "529", "cut", "slow"],
)  # fmt: skip
async def test_what_heals_is_tried_again(provider: Provider, fault: Reply) -> None:
    with fake_model(fault, good(provider)) as server:
        failure, pauses = await attempt(server, provider, timeout_s=1.5 if fault.wait_s else 20.0)

    assert failure is None
    assert len(server.requests) == 2
    assert pauses == [3.0] if fault.status == 429 else 0.37 < pauses[0] < 0.5


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_tries_end(provider: Provider) -> None:
    with fake_model(Reply(503)) as server:
        failure, pauses = await attempt(server, provider, tries=4)

    assert isinstance(failure, NoAnswer)
    assert "answered 503, after 4 tries" in str(failure)
    assert (len(server.requests), len(pauses)) == (4, 3)
    assert pauses == sorted(pauses)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_server_that_asks_for_an_hour_is_not_asked_again(provider: Provider) -> None:
    with fake_model(Reply(429, headers={"Retry-After": "3600"})) as server:
        failure, pauses = await attempt(server, provider)

    assert isinstance(failure, Throttled)
    assert "longer than 60 s" in str(failure)
    assert (len(server.requests), pauses) == (1, [])


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_time_of_all_tries_together_ends_too(provider: Provider) -> None:
    with fake_model(Reply(429, headers={"Retry-After": "3"})) as server:
        failure, pauses = await attempt(server, provider, total_s=2.0)

    assert isinstance(failure, Throttled)
    assert "JUSTAI_LLM_TOTAL_S, 2 s" in str(failure)
    assert pauses == []


async def test_a_server_that_is_not_there_is_named_by_the_setting_that_names_it() -> None:
    failure, pauses = await attempt(FakeModel("http://127.0.0.1:1/v1", []), "openai")

    assert isinstance(failure, NoAnswer)
    assert "out of reach (JUSTAI_LLM_URL)" in str(failure)
    assert len(pauses) == 2


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("reply", "kind", "told"),
    [
        (Reply(200, b"<html>log in</html>"), NotThisApi, "without the JSON of this API"),
        (Reply(200, {"object": "list"}), NotThisApi, "JUSTAI_LLM_URL"),
        (Reply(200, [1]), NotThisApi, "without the JSON of this API"),
        (Reply(307, headers={"Location": "https://elsewhere.example/v1"}), NotThisApi, "a redirect"),
        (Reply(401, {"error": {"type": "authentication_error", "message": f"bad key {KEY}"}}), ModelRefused, "API_KEY"),
        (Reply(404, {"error": {"code": "model_not_found"}}), ModelRefused, "JUSTAI_LLM_MODEL"),
        (Reply(400, {"error": {"message": f"no such thing for {KEY}"}}), ModelRefused, "no such thing for …"),
        (Reply(429, {"error": {"code": "insufficient_quota"}}), ModelRefused, "nothing left to spend"),
        (Reply(429, {"error": {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}}}),
         ModelRefused, "nothing left to spend"),
    ],
)  # fmt: skip
async def test_what_cannot_heal_is_told_at_once(
    provider: Provider, reply: Reply, kind: type[Failure], told: str
) -> None:
    with fake_model(reply) as server:
        failure, pauses = await attempt(server, provider)

    assert isinstance(failure, kind)
    assert told in str(failure)
    assert KEY not in str(failure)
    assert (len(server.requests), pauses) == (1, [])


async def test_a_redirect_takes_neither_prompt_nor_key_elsewhere() -> None:
    with (
        fake_model(completion(DRAFT)) as elsewhere,
        fake_model(Reply(307, headers={"Location": f"{elsewhere.url}/chat/completions"})) as server,
    ):
        failure, _ = await attempt(server, "openai")

    assert isinstance(failure, NotThisApi)
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("provider", "reply"),
    [
        ("openai", completion('{"name": "W', finish="length")),
        ("anthropic", anthropic({"name": "W"}, stop="max_tokens")),
        ("anthropic", anthropic({"name": "W"}, stop="model_context_window_exceeded")),
    ],
)
async def test_a_draft_that_was_cut_off_is_not_read(provider: Provider, reply: Any) -> None:
    with fake_model(reply) as server:
        failure, _ = await attempt(server, provider)

    assert isinstance(failure, CutOff)
    assert failure.usage.written > 0
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("provider", "reply"),
    [
        ("openai", completion(None, refusal="I will not")),
        ("openai", completion("", finish="content_filter")),
        ("anthropic", anthropic(stop="refusal", content=[])),
    ],
)
async def test_a_model_that_declines_is_not_asked_again(provider: Provider, reply: Any) -> None:
    with fake_model(reply) as server:
        failure, _ = await attempt(server, provider)

    assert isinstance(failure, Declined)
    assert len(server.requests) == 1


async def test_a_model_that_talks_in_the_place_of_its_tool_has_not_drafted() -> None:
    with fake_model(anthropic(stop="end_turn", content=[{"type": "text", "text": "Sure!"}])) as server:
        failure, _ = await attempt(server, "anthropic")

    assert isinstance(failure, NotThisApi)


async def test_an_answer_without_end_is_cut() -> None:
    with fake_model(Reply(200, b" " * 5_000_000)) as server:
        failure, _ = await attempt(server, "openai", tries=1)

    assert isinstance(failure, NoAnswer)


async def test_a_temperature_that_anthropic_does_not_take_is_told_in_its_words() -> None:
    with fake_model(anthropic()) as server:
        failure, _ = await attempt(server, "anthropic", temperature=1.5)

    assert isinstance(failure, ModelRefused)
    assert "temperature: range: 0..1" in str(failure)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_key_is_in_no_log_and_no_label(provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with fake_model(
        Reply(500, {"error": {"message": KEY, "type": "x"}}), Reply(401, {"error": {"type": KEY}})
    ) as server:
        failure, _ = await attempt(server, provider)
        async with drafter(server.url, provider, api_key=secret()) as model:
            label = model.model.label

    assert KEY not in caplog.text
    assert KEY not in f"{failure}{label}"
    assert "llm.failed" in caplog.text
