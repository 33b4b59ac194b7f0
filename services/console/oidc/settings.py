"""Through which OpenID Connect provider people may sign in, if any, and whom of its people the console lets in."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from shared.hosts import is_private, is_public
from shared.people.roles import ROLES, Role
from shared.settings import ServiceSettings

_ORG: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_DOMAIN: Final = re.compile(r"(?:[a-z0-9-]{1,63}\.)+[a-z0-9-]{2,63}")
_BY_GROUPS: Final = "groups"


@dataclass(frozen=True, slots=True)
class Place:
    """What somebody becomes, and of which org."""

    org: str
    role: Role


@dataclass(frozen=True, slots=True)
class Policy:
    """Whom the provider may let in. `joins`: who is unknown gets this place; `groups_admit`: who is unknown gets in
    when a group of theirs has a place."""

    domains: frozenset[str]
    joins: Place | None
    groups_admit: bool
    places: tuple[tuple[str, Place], ...]  # of groups, each as written


class OidcSettings(ServiceSettings):
    """The part of the console's settings that is about single sign-on."""

    console_oidc_issuer: str | None = Field(
        None,
        description="The OpenID Connect provider, exactly as it names itself (`issuer` in its discovery document), "
        "like https://accounts.google.com. Unset: people sign in with passwords alone.",
    )
    console_oidc_client_id: str = Field("", description="The console's client id at the provider.")
    console_oidc_client_secret: SecretStr | None = Field(None, description="The client's secret.")
    console_oidc_label: str = Field(
        "single sign-on",
        min_length=1,
        max_length=40,
        description="What people call the provider; the button says `Sign in with <label>`.",
    )
    console_oidc_scopes: str = Field(
        "openid email profile", description="What is asked of the provider, separated by blanks; `openid` among it."
    )
    console_oidc_domains: str = Field(
        "",
        description="Email domains whose people may sign in through the provider, comma-separated; their email must be "
        "a verified one at each sign-in. Empty: any.",
    )
    console_oidc_verified_claim: str = Field(
        "email_verified",
        description="The claim that says that the email is verified. Entra sends `xms_edov` in its place.",
    )
    console_oidc_only: bool = Field(
        False,
        description="Passwords open nothing any more. An owner still gets in with `justai console let-in EMAIL`.",
    )
    console_oidc_second_factor: bool = Field(
        False,
        description="Who has turned two-factor sign-in on here is asked for the code after the provider, too.",
    )
    console_oidc_join: str = Field(
        "",
        description="Who may come without an invitation. `<org>:<role>`: whoever the provider vouches for becomes "
        "that; `groups`: who is in a group of JUSTAI_CONSOLE_OIDC_GROUPS. Empty: nobody.",
    )
    console_oidc_groups_claim: str = Field(
        "groups", description="The claim of the ID token that lists a person's groups."
    )
    console_oidc_groups: str = Field(
        "",
        description="Roles by group, looked at in each sign-in: `<group>=<org>:<role>`, comma-separated. The largest "
        "role counts. It ends with the group; a role that was given by hand stays.",
    )
    console_oidc_private: bool = Field(
        False,
        description="The provider is on this machine or in a private network, where http is allowed too. Otherwise its "
        "addresses must be public ones.",
    )
    console_oidc_timeout_s: float = Field(
        5, gt=0, le=60, description="Real seconds that one question to the provider may take, to its last byte."
    )

    @field_validator("console_oidc_scopes")
    @classmethod
    def _openid_is_asked_for(cls, scopes: str) -> str:
        if "openid" not in scopes.split():
            raise ValueError("must name `openid`")
        return " ".join(scopes.split())

    @field_validator("console_oidc_domains")
    @classmethod
    def _domains_are_domains(cls, domains: str) -> str:
        for domain in _listed(domains):
            if not _DOMAIN.fullmatch(domain.lower()):
                raise ValueError(f"{domain!r} is no domain like example.com")
        return domains

    @field_validator("console_oidc_join")
    @classmethod
    def _join_names_a_place(cls, join: str) -> str:
        if join not in ("", _BY_GROUPS):
            _place(join)
        return join

    @field_validator("console_oidc_groups")
    @classmethod
    def _groups_name_places(cls, groups: str) -> str:
        _places(groups)
        return groups

    @model_validator(mode="after")
    def _the_provider_is_whole(self) -> Self:
        issuer = self.console_oidc_issuer
        if issuer is None:
            if self.console_oidc_only:
                raise ValueError("console_oidc_only means nothing without console_oidc_issuer: nobody could sign in")
            return self
        if (why := fault_of(issuer, private=self.console_oidc_private)) is not None:
            raise ValueError(f"console_oidc_issuer {why}")
        if not self.console_oidc_client_id:
            raise ValueError("console_oidc_client_id is missing; the provider gives it to each client")
        if self.console_oidc_client_secret is None or not self.console_oidc_client_secret.get_secret_value():
            raise ValueError("console_oidc_client_secret is missing; the console is a confidential client")
        if self.console_oidc_join == _BY_GROUPS and not self.console_oidc_groups:
            raise ValueError("console_oidc_join is `groups`, but console_oidc_groups names none")
        return self

    @property
    def oidc_policy(self) -> Policy:
        """Whom the provider may let in."""
        join = self.console_oidc_join
        return Policy(
            domains=frozenset(domain.lower() for domain in _listed(self.console_oidc_domains)),
            joins=None if join in ("", _BY_GROUPS) else _place(join),
            groups_admit=join == _BY_GROUPS,
            places=_places(self.console_oidc_groups),
        )


def fault_of(url: str, *, private: bool) -> str | None:
    """Why nothing may be asked of this address; None: it may. A name is looked at again when it is resolved."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is no address like https://login.example.com"
    if parts.scheme not in ("http", "https") or not host or port == 0 or not url.isascii() or not url.isprintable():
        return "is no address like https://login.example.com"
    if "@" in parts.netloc or parts.fragment:
        return "carries a login or a fragment, which have no place there"
    if parts.scheme == "http" and not private:
        return "must be https; http needs console_oidc_private"
    literal = _literal(host)
    if literal is not None and not may_be_reached(literal, private=private, public=parts.scheme == "https"):
        if private:
            return "is an address that must not be reached so: no link-local one, and over http none that is public"
        return "is an address in a private network; that needs console_oidc_private"
    return None


def may_be_reached(address: str, *, private: bool, public: bool) -> bool:
    """Whether a connection may be made there."""
    return (private and is_private(address)) or (public and is_public(address))


def _literal(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _place(text: str) -> Place:
    org, _, role = text.strip().partition(":")
    for known in ROLES:
        if known == role and _ORG.fullmatch(org):
            return Place(org, known)
    raise ValueError(f"{text.strip()!r} is no place like acme:viewer; roles are {', '.join(ROLES)}")


def _places(text: str) -> tuple[tuple[str, Place], ...]:
    found = []
    for part in _listed(text):
        group, _, place = part.rpartition("=")
        if not group.strip():
            raise ValueError(f"{part!r} is no role of a group like marketing=acme:editor")
        found.append((group.strip(), _place(place)))
    return tuple(found)
