"""Opens the model that the settings name. What differs between APIs are four names of a module each."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Protocol

from shared.drafting import anthropic, openai
from shared.drafting.drafter import Answer, Drafter
from shared.drafting.model import Model, Provider
from shared.drafting.prompt import Prompt
from shared.drafting.retries import Limits
from shared.drafting.settings import DraftingSettings
from shared.drafting.wire import Pause, Wire, open_session


class Api(Protocol):
    """How one kind of server is spoken to."""

    PATH: str

    def headers(self, key: str | None) -> Mapping[str, str]: ...

    def request(self, prompt: Prompt, model: Model) -> dict[str, object]: ...

    def read_answer(self, document: Mapping[str, Any], limits: Limits) -> Answer: ...


_APIS: Mapping[Provider, Api] = {"openai": openai, "anthropic": anthropic}


class _WireDrafter:
    """One model behind one path."""

    def __init__(self, wire: Wire, model: Model) -> None:
        self._wire, self._model = wire, model

    @property
    def model(self) -> Model:
        return self._model

    async def draft(self, prompt: Prompt) -> Answer:
        api = _APIS[self._model.speaks]
        return api.read_answer(await self._wire.post(api.request(prompt, self._model)), self._model.limits)


@asynccontextmanager
async def open_drafter(
    settings: DraftingSettings, *, chance: Random | None = None, pause: Pause = asyncio.sleep
) -> AsyncIterator[Drafter]:
    """The model of these settings, which name one (`llm_provider` is set)."""
    model = settings.model
    if model is None:
        raise ValueError("no model is set up")
    api = _APIS[model.speaks]
    key = settings.llm_api_key.get_secret_value() if settings.llm_api_key else None
    async with open_session(model.url) as session:
        wire = Wire(session, model.url + api.PATH, api.headers(key), model.limits, chance=chance, pause=pause)
        yield _WireDrafter(wire, model)
