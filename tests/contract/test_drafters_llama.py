"""Drafting against a real llama.cpp server: schema, counts, and how it says no."""

import json
from collections.abc import Iterator

import jsonschema
import pytest

from shared.drafting.answer import Unreadable, read_draft
from shared.drafting.brief import Brief
from shared.drafting.drafter import CutOff, ModelRefused, NoAnswer
from shared.drafting.prompt import Asked, make_prompt
from tests.contract.drafter_stage import drafter, prompt
from tests.support.llm import llama_server, write_tiny_model


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server with a random model."""
    path = tmp_path_factory.mktemp("llama") / "tiny.gguf"
    write_tiny_model(path)
    with llama_server(path) as url:
        yield url


async def test_a_real_server_drafts_by_the_schema_and_counts(llama: str) -> None:
    drafts: list[str] = []
    async with drafter(llama) as model:
        for theme in ("welcome", "offer", "guide"):
            asked = prompt(theme)
            answer = await model.draft(asked)
            jsonschema.validate(json.loads(answer.text), dict(asked.schema))
            assert answer.usage.read > 100
            assert answer.usage.written > 10
            drafts.append(answer.text)

    assert len(set(drafts)) == 3


async def test_what_a_real_model_answers_is_a_draft_or_has_named_faults_and_the_next_goes_on(llama: str) -> None:
    drafts: list[str] = []
    faults: list[str] = []
    async with drafter(llama) as model:
        for number in range(4):
            try:
                drafts.append(read_draft((await model.draft(prompt(f"theme {number}"))).text, theme="t").name)
            except Unreadable as error:
                faults += error.faults[:1]

    assert drafts
    assert len(drafts) + len(faults) == 4


async def test_a_draft_that_a_real_server_cuts_off_says_what_to_raise(llama: str) -> None:
    async with drafter(llama, max_tokens=20) as model:
        with pytest.raises(CutOff, match="after 20 tokens; raise JUSTAI_LLM_MAX_TOKENS") as caught:
            await model.draft(prompt())

    assert caught.value.usage.written == 20


async def test_a_real_server_that_is_too_slow_is_given_up_after_its_tries(llama: str) -> None:
    pauses: list[float] = []
    async with drafter(llama, timeout_s=0.005, tries=2, pauses=pauses) as model:
        with pytest.raises(NoAnswer, match=r"within 0.005 s .*after 2 tries") as caught:
            await model.draft(prompt())

    assert caught.value.reason == "llm_timeout"
    assert len(pauses) == 1


async def test_a_prompt_that_is_too_long_for_a_real_server_is_refused_in_its_words(llama: str) -> None:
    brief = Brief(goal="x " * 900, tone="y " * 900, audience="z " * 900)
    long = make_prompt(Asked(brief, "welcome", voice="v " * 3_000))

    async with drafter(llama) as model:
        with pytest.raises(ModelRefused, match=r"answered 400 .*context"):
            await model.draft(long)
