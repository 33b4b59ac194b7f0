"""Settings: one described, frozen model per service, read from `JUSTAI_*`; a bad one stops the start, with every fault.

A field `gateway_listen` is the variable JUSTAI_GATEWAY_LISTEN. Where JUSTAI_SECRETS_DIR is set, a file of the same
name in that folder is read too, so that secrets need not stand in the environment.
"""

import os
import re
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.api_keys import Peppers
from shared.clock import Clock, clock_from_spec
from shared.crypto import parse_ring
from shared.export_access import PRINCIPAL_ARN

PREFIX = "JUSTAI_"
_SHARED_ENVIRONMENT = (
    "GATEWAY_",
    "GENERATOR_",
    "WRITER_",
    "INGEST_",
    "EGRESS_",
    "RANKER_",
    "CONSOLE_",
    "LLM_",
    "SIMULATOR_",
    "TEST_",
)
_READ_ELSEWHERE = {"JUSTAI_SECRETS_DIR"}
_KEY_SHAPE = "must be `{}:<32 bytes, base64>`, several separated by commas; `justai keyring new {}` prints one"


def host_and_port(listen: str) -> tuple[str, int]:
    """`host:port` taken apart; raises ValueError."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"expected host:port, not {listen!r}")
    return host, int(port)


def _listening(listen: str) -> str:
    host_and_port(listen)
    return listen


Listen = Annotated[str, AfterValidator(_listening)]
"""`host:port` on which something is served."""


class SettingsError(Exception):
    """The environment does not make a configuration. The text lists every fault."""


class ServiceSettings(BaseSettings):
    """What every service is told."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    database_url: SecretStr = Field(description="PostgreSQL, as postgresql://user:password@host:port/database.")
    amqp_url: SecretStr = Field(description="RabbitMQ, as amqp://user:password@host:port/vhost.")
    seal_keys: SecretStr = Field(
        description="Keys that seal stored secrets: `<name>:<32 bytes, base64>`, comma-separated; the first one seals, "
        "all of them open. `justai keyring new` prints one; with --kms, one that only AWS KMS can unwrap. "
        "`file:<path>`: a file of such keys, one a line, which is read again whenever it changes."
    )
    api_key_peppers: SecretStr = Field(
        description="Peppers of the stored API key digests: `<number>:<32 bytes, base64>`, comma-separated; the first "
        "one is used for new keys. `justai keyring new` prints one."
    )
    clock: str = Field(
        "system", description="`system`, or `scaled:<factor>:<real epoch s>:<ISO origin>` (demo, tests)."
    )
    allow_private_hosts: bool = Field(
        False,
        description="Whether servers that customers name (SFTP, S3) may have addresses of private networks and of this "
        "machine.",
    )
    export_principal: str | None = Field(
        None,
        description="ARN of the AWS identity that the exporter works as, as arn:aws:iam::111122223333:role/justai; it "
        "is named in the policies that customers copy.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level that is logged.")
    log_format: Literal["json", "text"] = Field("json", description="One JSON object a line, or text for a terminal.")
    health_listen: Listen = Field(
        "127.0.0.1:0", description="host:port of /healthz, /readyz and /metrics; port 0: any."
    )
    drain_s: float = Field(20, gt=0, description="Real seconds that work in hand gets to finish after SIGTERM.")
    otlp_url: str | None = Field(
        None,
        description="OpenTelemetry collector that takes OTLP over HTTP, like http://collector:4318; unset: no traces.",
    )
    trace_share: float = Field(1.0, ge=0, le=1, description="Of all webhooks, how many are traced.")
    database_role: str = Field("justai_worker", description="The PostgreSQL role to work as; never the tables' owner.")
    database_pool: int = Field(
        8,
        ge=1,
        le=100,
        description="Most database connections of this process; the profile writer has two more, for what it reads "
        "rarely.",
    )

    @field_validator("database_url", "amqp_url")
    @classmethod
    def _url_is_readable(cls, url: SecretStr, info: ValidationInfo) -> SecretStr:
        schemes = ("postgresql", "postgres") if info.field_name == "database_url" else ("amqp", "amqps")
        try:
            parts = urlsplit(url.get_secret_value())
            readable = parts.scheme in schemes and parts.port != 0 and bool(parts.hostname or parts.query)
        except ValueError:  # its text may be a part of the password
            readable = False
        if not readable:
            raise ValueError(f"is no URL like {schemes[0]}://user:password@host:port/name (password URL-encoded)")
        return url

    @field_validator("seal_keys", "api_key_peppers")
    @classmethod
    def _keys_are_keys(cls, spec: SecretStr, info: ValidationInfo) -> SecretStr:
        sealing = info.field_name == "seal_keys"
        if sealing and spec.get_secret_value().startswith("file:/"):
            return spec  # read, and its faults told, where the ring is opened
        try:
            (parse_ring if sealing else Peppers)(spec.get_secret_value())
        except ValueError:  # as above
            raise ValueError(_KEY_SHAPE.format(*("<name>", "k1") if sealing else ("<number>", "1"))) from None
        return spec

    @field_validator("export_principal")
    @classmethod
    def _principal_is_an_arn(cls, arn: str | None) -> str | None:
        if arn is not None and not PRINCIPAL_ARN.fullmatch(arn):
            raise ValueError(
                "is no ARN of a role, a user or an account like arn:aws:iam::111122223333:role/justai-egress"
            )
        return arn

    @field_validator("clock")
    @classmethod
    def _clock_is_readable(cls, spec: str) -> str:
        clock_from_spec(spec)
        return spec

    def make_clock(self) -> Clock:
        """The clock that this process passes everywhere."""
        return clock_from_spec(self.clock)

    @classmethod
    def read(cls) -> Self:
        """The settings of this process. Raises SettingsError with all faults at once."""
        faults = [f"{name}: no such setting" for name in _unknown_variables(cls, os.environ.keys())]
        secrets_dir = os.environ.get("JUSTAI_SECRETS_DIR")
        try:
            settings = cls(_secrets_dir=Path(secrets_dir) if secrets_dir else None)
        except ValidationError as error:
            # Never the input: it may be the secret.
            faults += [
                _told(fault["loc"], fault["msg"], cls.model_fields)
                for fault in error.errors(include_input=False, include_url=False)
            ]
            raise SettingsError("\n".join(faults)) from None
        if faults:
            raise SettingsError("\n".join(faults))
        return settings

    def summary(self) -> dict[str, object]:
        """For one log line at start: secrets are `set` or `unset`."""
        return {
            name: ("set" if value.get_secret_value() else "unset") if isinstance(value, SecretStr) else value
            for name, value in self
        }


S = TypeVar("S", bound=ServiceSettings)


def read_or_exit(model: type[S]) -> S:
    """The settings, or every fault on stderr and exit code 2."""
    try:
        return model.read()
    except SettingsError as error:
        sys.stderr.write(f"The configuration is not usable:\n{error}\n")
        raise SystemExit(2) from None


def _told(place: tuple[int | str, ...], what: str, fields: Collection[str]) -> str:
    """A fault, by the variable; one of several settings together names each of them as a variable instead."""
    what = what.removeprefix("Value error, ")
    if place:
        return f"{PREFIX}{'_'.join(map(str, place)).upper()}: {what}"
    names = "|".join(sorted((field for field in fields if "_" in field), reverse=True))
    return re.sub(rf"\b(?:{names})\b", lambda found: f"{PREFIX}{found[0].upper()}", what)


def _unknown_variables(model: type[ServiceSettings], names: Iterable[str]) -> list[str]:
    """Variables with our prefix that mean nothing to this service. One environment may serve several services, so
    another service's prefix is not an error; a misspelled shared or own one is."""
    known = {f"{PREFIX}{field.upper()}" for field in model.model_fields} | _READ_ELSEWHERE
    own = {name.split("_")[0].upper() + "_" for name in model.model_fields}
    others = tuple(f"{PREFIX}{service}" for service in _SHARED_ENVIRONMENT if service not in own)
    return sorted(
        name for name in names if name.startswith(PREFIX) and name not in known and not name.startswith(others)
    )
