"""Which model drafts, where it is, and how it is asked. Pure; no secret in it."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from shared.drafting.retries import Limits

Provider = Literal["openai", "anthropic"]


@dataclass(frozen=True, slots=True)
class Model:
    """`temperature` None: the model's own."""

    name: str
    url: str
    speaks: Provider
    limits: Limits
    temperature: float | None = None

    @property
    def host(self) -> str:
        """Where prompts are sent."""
        return urlsplit(self.url).hostname or ""

    @property
    def label(self) -> str:
        """Which model with which settings, for the history of what it wrote."""
        temperature = "its own" if self.temperature is None else f"{self.temperature:g}"
        return (
            f"{self.name} at {self.host} ({self.speaks}), temperature {temperature}, "
            f"max_tokens {self.limits.max_tokens}"
        )  # fmt: skip
