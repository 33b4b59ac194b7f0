"""What a marketer asks a model for. Pure.

Nothing here can hold a person: a brief names fields, never their values, and a text with an email address is refused.
"""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from shared.content.rules import about_nobody
from shared.schemas.template_file import FieldName

MOST_DRAFTS = 20
MOST_EXAMPLES = 5


def _safe_link(url: str) -> str:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if not host or not url.startswith("https://") or re.search(r"[\s\"'<>]", url):
        raise ValueError("must be an address like https://shop.example/page")
    return url


def _shaped(max_length: int) -> StringConstraints:
    return StringConstraints(strip_whitespace=True, min_length=1, max_length=max_length)


Prose = Annotated[str, _shaped(2_000), AfterValidator(about_nobody)]
Words = Annotated[str, _shaped(200), AfterValidator(about_nobody)]
Theme = Annotated[str, _shaped(60), StringConstraints(pattern=r"^[^\r\n]+$"), AfterValidator(about_nobody)]
Link = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500), AfterValidator(_safe_link)]
ExampleText = Annotated[str, _shaped(20_000), AfterValidator(about_nobody)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Example(_Part):
    """Copy that the shop likes, as it would be written for a variant."""

    subject: Words
    preheader: Words | None = None
    body: ExampleText


class Brief(_Part):
    """What the drafts are for, and what must hold for each of them."""

    goal: Prose = Field(description="What the email is to bring about.")
    audience: Prose | None = Field(None, description="Whom it goes to, as a group.")
    tone: Prose | None = Field(None, description="How it sounds; the voice of the org's rules holds besides.")
    must_say: list[Words] = Field([], max_length=20, description="Words that each draft must hold, as they stand here.")
    must_not_say: list[Words] = Field([], max_length=50, description="Words that no draft may hold.")
    themes: list[Theme] = Field([], max_length=20, description="What drafts are about; each draft has one of them.")
    fields: list[FieldName] = Field([], max_length=50, description="Names of the fields that drafts may print.")
    links: list[Link] = Field([], max_length=20, description="The addresses that drafts may link to.")
    examples: list[Example] = Field([], max_length=MOST_EXAMPLES, description="Copy whose style is right.")
