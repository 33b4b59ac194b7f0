"""Settings of the exporter."""

from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from shared.settings import ServiceSettings

_TO_EXPORT: Final = 2
"""Connections at the least: one from which the hour in hand is read, from its first row to its last, and one for all
that is short, the texts of its variants among it."""


class Settings(ServiceSettings):
    """Where exports go is per org, in the database; here stands how this process works."""

    egress_settle_s: float = Field(
        900, ge=0, description="Virtual seconds after an hour (or, daily, its day) has closed until it is exported."
    )
    egress_tick_s: float = Field(300, gt=0, description="Virtual seconds between two looks for hours that are due.")
    egress_requeue_s: float = Field(
        3600, gt=0, description="Virtual seconds after which an hour that is still not exported is tried again."
    )
    egress_lease_s: float = Field(
        300, gt=0, description="Virtual seconds for which an exporter that fell silent keeps its hour from others."
    )
    egress_keep_days: int | None = Field(
        None,
        ge=100,
        description="Whole days for which generations are kept in PostgreSQL, at least 100; for ever if unset. A day "
        "that is not exported yet (also because exports are off), or not counted yet, is kept longer.",
    )
    egress_spool_dir: str | None = Field(
        None, description="Folder for the Parquet file of the hour in hand; the system's temporary folder if unset."
    )
    egress_folder: Path | None = Field(
        None,
        description="Folder for the exports of orgs that have no bucket, each below its slug; such orgs export nothing "
        "if unset.",
    )
    egress_connect_timeout_s: float = Field(5, gt=0, description="Real seconds to connect to an S3 server.")
    egress_read_timeout_s: float = Field(60, gt=0, description="Real seconds an S3 server may be silent.")
    egress_checksums: Literal["when_supported", "when_required"] = Field(
        "when_supported",
        description="Whether uploads carry checksums of our own; `when_required` for S3 servers that refuse them.",
    )
    egress_sts_endpoint_url: str | None = Field(
        None, description="STS server for targets with a role; the one of AWS for the target's region if unset."
    )

    @field_validator("egress_folder")
    @classmethod
    def _folder_is_there(cls, folder: Path | None) -> Path | None:
        if folder is not None and not (folder.is_absolute() and folder.is_dir()):
            raise ValueError("is no folder that is there, named from the root")
        return folder

    @model_validator(mode="after")
    def _reading_leaves_connections(self) -> Self:
        least = _TO_EXPORT + (self.egress_keep_days is not None)
        if self.database_pool < least:
            raise ValueError(
                f"database_pool ({self.database_pool}) has to be at least {least} here: the hour in hand holds one "
                "connection, what is asked meanwhile another, and a look for old days (egress_keep_days) a third"
            )
        return self
