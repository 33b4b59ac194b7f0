"""What an org says of its own copy: words it must not use, codes that exist, offers that end. Pure; YAML outside."""

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

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
    promo_codes: list[Annotated[PromoCode, BeforeValidator(_code_alone)]] = Field(
        [], max_length=10_000, description="The codes that copy may name, each alone or with the last day it works."
    )
    end_dates: dict[TemplateId, date] = Field(
        {}, description="By template: the last day of the offer that its copy presses for."
    )


DEFAULT = OrgRules()
