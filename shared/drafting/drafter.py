"""The one thing that drafting needs of a model, and the words for how it can fail.

Failure
├── Permanent
│   ├── ModelRefused     the key, the model's name or the request is not accepted; the account may not go on
│   ├── Declined         the model will not write this
│   ├── CutOff           the answer is longer than it may be
│   └── NotThisApi       what answers speaks another language, or redirects
├── Transient
│   └── NoAnswer         out of reach, too slow, 5xx, after all tries
└── Throttled            429 after all tries, or a wait that is too long
"""

from dataclasses import dataclass
from typing import Protocol

from shared.drafting.model import Model
from shared.drafting.prompt import Prompt
from shared.drafting.usage import Usage
from shared.errors import Permanent, Transient

_NAME_CHARS = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered: JSON, as it came. `model` is what answered, by its own word."""

    text: str
    model: str
    usage: Usage


def model_name(value: object) -> str:
    """What an answer calls its model, as far as it can be shown."""
    return " ".join(value.split())[:_NAME_CHARS] if isinstance(value, str) and value.isprintable() else ""


class Drafter(Protocol):
    """One model."""

    @property
    def model(self) -> Model:
        """Which one, with which settings."""

    async def draft(self, prompt: Prompt) -> Answer:
        """One draft, unread. Raises the failure words above."""


class ModelRefused(Permanent):
    """No draft will come until somebody changes the settings or the account."""


class Declined(Permanent):
    """The model will not write this draft. `usage` was spent all the same."""

    def __init__(self, message: str, usage: Usage) -> None:
        super().__init__(message, reason="llm_declined")
        self.usage = usage


class CutOff(Permanent):
    """The answer reached the limit before its end. `usage` was spent all the same."""

    def __init__(self, message: str, usage: Usage) -> None:
        super().__init__(message, reason="llm_cut_off")
        self.usage = usage


class NotThisApi(Permanent):
    """Something else answers at this URL."""


class NoAnswer(Transient):
    """No answer came that could be used, after all tries."""
