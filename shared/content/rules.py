"""What an org says of its own copy: words it must not use, codes that exist, offers that end. Pure; YAML outside."""

import re
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.\w")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def about_nobody(text: str) -> str:
    """A text that a model may be sent. Raises ValueError for one that names a person's address."""
    if _ADDRESS.search(text):
        raise ValueError("holds an email address; a model is told of fields by name, and of nobody")
    if found := _CONTROL.search(text):
        raise ValueError(f"holds the control character U+{ord(found[0]):04X}")
    return text


Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=200)]
Code = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{1,39}$")]
TemplateId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PromoCode(_Part):
    """A code that exists in the shop; `ends` is its last day."""

    code: Code
    ends: date | None = None


def _code_alone(value: object) -> object:
    return {"code": value} if isinstance(value, str) else value


class OrgRules(_Part):
    """The rules of one org. Without a file, these defaults."""

    review_required: bool = Field(False, description="Who approves must be somebody else than who wrote or submitted.")
    missing_default: Literal["blocking", "warning"] = Field(
        "blocking",
        description="How bad a field without a fallback is.",
    )
    banned_words: list[Phrase] = Field([], max_length=1_000, description="Words and phrases that copy must not use.")
    banned_claims: list[Phrase] = Field([], max_length=1_000, description="Claims that copy must not make.")
    voice: Annotated[str, StringConstraints(strip_whitespace=True, max_length=2_000), AfterValidator(about_nobody)] = (
        Field("", description="How the brand speaks, for drafts by a model; nothing is checked against it.")
    )
    promo_codes: list[Annotated[PromoCode, BeforeValidator(_code_alone, json_schema_input_type=str | PromoCode)]] = (
        Field(
            [], max_length=10_000, description="The codes that copy may name, each alone or with the last day it works."
        )
    )
    end_dates: dict[TemplateId, date] = Field(
        {}, description="By template: the last day of the offer that its copy presses for."
    )


DEFAULT = OrgRules()
