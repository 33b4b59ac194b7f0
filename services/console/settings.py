"""What the console is told."""

from ipaddress import ip_address
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from services.console.oidc.settings import OidcSettings
from shared.drafting.settings import DraftingSettings
from shared.settings import Listen


class Settings(OidcSettings, DraftingSettings):
    """Settings of the console; with those of the model, drafts are asked for in it, and worked off by it."""

    console_listen: Listen = Field("127.0.0.1:8081", description="host:port of the pages; TLS ends in front of it.")
    console_url: str = Field(
        "http://127.0.0.1:8081",
        description="Where people reach the console, without a slash at the end; links to it are made of it. https, "
        "unless it is this machine.",
    )
    console_proxies: int = Field(
        0,
        ge=0,
        le=5,
        description="How many proxies in front of the console add to X-Forwarded-For; from it the caller's address is "
        "read, for the delays after failed sign-ins. 0: nobody does, and the header is not believed.",
    )
    console_plain_cookies: bool = Field(
        False,
        description="Cookies without `Secure` and `__Host-`, for browsers that refuse those over http; only where "
        "console_url is http on this machine.",
    )
    console_klaviyo_url: str = Field(
        "https://a.klaviyo.com",
        description="Where pasted keys are verified; another address than Klaviyo's only for an account in a box.",
    )
    console_gateway_url: str = Field(
        "https://<your host>",
        description="Where Klaviyo reaches the gateway, without a slash at the end; the webhook's Destination URL and "
        "the addresses of hooks are made of it.",
    )
    console_drafting: int = Field(
        2,
        ge=0,
        le=20,
        description="Runs of drafting that this process works off at once, of all orgs. 0: it leaves them to others.",
    )
    console_dev: bool = Field(
        False, description="For who builds pages: templates are read again when they change, and /_gallery is there."
    )

    @field_validator("console_url")
    @classmethod
    def _console_url_is_an_origin(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or url != f"{parts.scheme}://{parts.netloc}":
            raise ValueError("is no address like https://console.example.com, without a path or a slash at the end")
        if "@" in parts.netloc:
            raise ValueError("carries a login, which has no place there")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise ValueError("must be https: sessions would travel in the open")
        return url

    @model_validator(mode="after")
    def _plain_cookies_stay_here(self) -> Self:
        if self.console_plain_cookies and self.console_url.startswith("https:"):
            raise ValueError("console_plain_cookies is for http on this machine, but console_url is https")
        return self

    @property
    def secure_cookies(self) -> bool:
        """Whether cookies are bound to https and this host."""
        return not self.console_plain_cookies


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
