"""A drafting client on whatever server a test gives it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from pydantic import SecretStr

from shared.drafting.brief import Brief
from shared.drafting.drafter import Drafter
from shared.drafting.model import Provider
from shared.drafting.opening import open_drafter
from shared.drafting.prompt import Asked, Prompt, make_prompt
from shared.drafting.settings import DraftingSettings

KEY = "sk-a-key-that-nobody-may-see"
DRAFT = {"name": "Warm", "subject": "Hello", "preheader": "Come in", "body": "<p>Hi</p>"}
PROVIDERS = ("openai", "anthropic")


def prompt(theme: str = "welcome") -> Prompt:
    """Any prompt."""
    return make_prompt(Asked(Brief(goal="Bring them to the first order"), theme))


@asynccontextmanager
async def drafter(
    url: str, provider: Provider = "openai", pauses: list[float] | None = None, **settings: Any
) -> AsyncIterator[Drafter]:
    """A client whose waits are written down and not waited for."""

    async def pause(seconds: float) -> None:
        if pauses is not None:
            pauses.append(seconds)

    known = DraftingSettings.model_construct(
        llm_provider=provider, llm_url=url, llm_model="tiny-1",
        **{f"llm_{name}": value for name, value in {"timeout_s": 20.0, "total_s": 60.0, "tries": 3, "max_tokens": 4_000,
           "temperature": None, "api_key": None, **settings}.items()},
    )  # fmt: skip
    async with open_drafter(known, chance=Random(1), pause=pause) as opened:
        yield opened


def secret() -> SecretStr:
    """The key, as settings hold it."""
    return SecretStr(KEY)
