"""Which model drafts copy, if any. Without these settings everything but drafting works as it does with them."""

import ipaddress
import re
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from shared.drafting.model import Model, Provider
from shared.drafting.retries import Limits
from shared.drafting.usage import Prices
from shared.hosts import is_private
from shared.settings import ServiceSettings

HOSTED = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com/v1"}
NOT_SET_UP = (
    "No model is set up: set JUSTAI_LLM_PROVIDER and JUSTAI_LLM_MODEL, and JUSTAI_LLM_URL for a server of your own "
    "(docs/drafting.md). Everything else works without one."
)


class DraftingSettings(ServiceSettings):
    """What every service is told, with the model and how much of it an org may have: for the console and `justai`."""

    llm_provider: Provider | None = Field(
        None,
        description="What the model's server speaks: `openai` (chat completions; also llama.cpp, vLLM, Ollama) or "
        "`anthropic` (messages). Unset: no model is set up.",
    )
    llm_url: str | None = Field(
        None,
        description="Where it is, up to and with the version, like http://127.0.0.1:8080/v1; without it the "
        "provider's own. https, or http on this machine or in a private network.",
    )
    llm_model: str | None = Field(
        None, validate_default=True, description="The model's name, as its server knows it.", max_length=200
    )
    llm_api_key: SecretStr | None = Field(
        None, validate_default=True, description="The server's key; a server of your own may need none."
    )
    llm_timeout_s: float = Field(120, gt=0, le=3_600, description="Real seconds that one try of one draft may take.")
    llm_total_s: float = Field(300, gt=0, le=7_200, description="Real seconds for one draft with all its tries.")
    llm_tries: int = Field(3, ge=1, le=10, description="Tries of one draft: after 429, 5xx, or no answer.")
    llm_max_tokens: int = Field(4_096, ge=16, le=200_000, description="Most tokens of one draft; more is cut off.")
    llm_temperature: float | None = Field(
        None, ge=0, le=2, description="Freedom of choice; unset: the model's own (some models take no other)."
    )
    llm_price_read: float | None = Field(None, ge=0, description="US dollars for a million tokens read.")
    llm_price_written: float | None = Field(
        None, validate_default=True, ge=0, description="US dollars for a million tokens written."
    )

    llm_runs: int = Field(2, ge=1, le=100, description="Runs of drafting that one org may have under way at once.")
    llm_drafts_a_day: int = Field(
        200, ge=1, le=100_000, description="Drafts that one org may ask for within 24 hours; each of them is paid for."
    )

    @field_validator("llm_url")
    @classmethod
    def _url_is_safe(cls, url: str | None, info: ValidationInfo) -> str | None:
        _needs_provider(url, info)
        return None if url is None else checked_url(url)

    @field_validator("llm_model")
    @classmethod
    def _model_is_named(cls, model: str | None, info: ValidationInfo) -> str | None:
        _needs_provider(model, info)
        if model is None and info.data.get("llm_provider") is not None:
            raise ValueError("is missing")
        return model

    @field_validator("llm_api_key")
    @classmethod
    def _key_fits_a_header(cls, key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        _needs_provider(key, info)
        if key is not None and not re.fullmatch(r"[\x21-\x7e]+", key.get_secret_value()):
            raise ValueError("must be visible ASCII characters without blanks")
        if key is None and info.data.get("llm_provider") is not None and info.data.get("llm_url", "bad") is None:
            raise ValueError("is missing; only a server of your own, at JUSTAI_LLM_URL, may do without")
        return key

    @field_validator("llm_price_written")
    @classmethod
    def _prices_come_together(cls, price: float | None, info: ValidationInfo) -> float | None:
        if (price is None) != (info.data.get("llm_price_read") is None):
            raise ValueError("set it together with JUSTAI_LLM_PRICE_READ, or neither")
        return price

    @property
    def model(self) -> Model | None:
        """None: no model is set up."""
        if self.llm_provider is None or self.llm_model is None:
            return None
        limits = Limits(self.llm_timeout_s, self.llm_total_s, self.llm_tries, self.llm_max_tokens)
        url = self.llm_url or HOSTED[self.llm_provider]
        return Model(self.llm_model, url, self.llm_provider, limits, self.llm_temperature)

    @property
    def prices(self) -> Prices | None:
        """None: what drafts cost is not known."""
        if self.llm_price_read is None or self.llm_price_written is None:
            return None
        return Prices(self.llm_price_read, self.llm_price_written)


def _needs_provider(value: object, info: ValidationInfo) -> None:
    if value is not None and info.data.get("llm_provider", "misspelled") is None:
        raise ValueError("means nothing without JUSTAI_LLM_PROVIDER")


def checked_url(url: str) -> str:
    """The URL without a slash behind it. Raises ValueError for one that prompts and keys must not be sent to."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is no URL like https://host/v1") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ValueError("is no URL like https://host/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must hold no login, query or fragment; the key is JUSTAI_LLM_API_KEY")
    if parts.scheme == "http" and (address := _address(host)) is not None and not is_private(address):
        raise ValueError("must be https: the key and the prompt would leave the private network in the clear")
    return url.strip().rstrip("/")


def _address(host: str) -> str | None:
    """The host, if it is an address; a name is looked at when it is resolved."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None
