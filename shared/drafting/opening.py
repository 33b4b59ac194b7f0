"""Opens the model that the settings name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from shared.drafting import anthropic, openai
from shared.drafting.drafter import Drafter
from shared.drafting.retries import Limits
from shared.drafting.settings import HOSTED, DraftingSettings
from shared.drafting.wire import Pause, Wire, open_session


@asynccontextmanager
async def open_drafter(
    settings: DraftingSettings, *, chance: Random | None = None, pause: Pause = asyncio.sleep
) -> AsyncIterator[Drafter]:
    """The model of these settings, which name one (`llm_provider` is set)."""
    if settings.llm_provider is None or settings.llm_model is None:
        raise ValueError("no model is set up")
    speaks = openai if settings.llm_provider == "openai" else anthropic
    url = settings.llm_url or HOSTED[settings.llm_provider]
    key = settings.llm_api_key.get_secret_value() if settings.llm_api_key else None
    limits = Limits(settings.llm_timeout_s, settings.llm_total_s, settings.llm_tries, settings.llm_max_tokens)
    async with open_session(url) as session:
        wire = Wire(session, url + speaks.PATH, speaks.headers(key), limits, chance=chance, pause=pause)
        made = openai.OpenAiDrafter if speaks is openai else anthropic.AnthropicDrafter
        yield made(wire, url, settings.llm_model, limits, settings.llm_temperature)
