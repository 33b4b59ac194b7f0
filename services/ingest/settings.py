"""What ingest is told."""

from pathlib import Path
from typing import Final, Self

from pydantic import Field, field_validator, model_validator

from shared.settings import ServiceSettings

_BESIDE_FILES: Final = 2
"""Connections at the least: one for what is counted, which may take minutes, and one for all that is short, holding on
to the files in hand among it."""


class Settings(ServiceSettings):
    """Durations are virtual seconds unless they say real."""

    ingest_stable_s: float = Field(
        60, gt=0, description="A file is read when two listings this far apart show the same size and time."
    )
    ingest_tick_s: float = Field(5, gt=0, description="How often to look for sources that are due.")
    ingest_parallel_polls: int = Field(4, ge=1, le=64, description="Folders listed at the same time.")
    ingest_parallel_files: int = Field(
        2,
        ge=1,
        le=16,
        description="Files loaded at the same time; each costs a core, and up to 200 MB where it is Parquet or zstd.",
    )
    ingest_lease_s: float = Field(90, gt=0, description="A silent worker's file may be taken over after this time.")
    ingest_requeue_s: float = Field(3600, gt=0, description="A queued file of which nothing was heard is queued again.")
    ingest_attempts: int = Field(5, ge=1, description="Failed attempts after which a file counts as failed.")
    ingest_window_s: float = Field(
        86400, ge=0, description="How long after its clean-up time a generation may still have been shown by a send."
    )
    ingest_count_s: float = Field(
        300,
        gt=0,
        description="Results of today and yesterday are counted this often; older open days 12 times less.",
    )
    ingest_report_s: float = Field(
        900, gt=0, description="At most this often a template's weighted estimates are computed anew from its log."
    )
    ingest_reconcile_s: float = Field(
        3600,
        ge=60,
        description="How often an org's counts are compared with Klaviyo's own totals, and its flows read again.",
    )
    ingest_klaviyo_window_min: int = Field(
        15, ge=1, le=1440, description="Sources that are Klaviyo's events: minutes of one window; has to divide a day."
    )
    ingest_klaviyo_overlap_s: float = Field(
        7200, gt=0, description="So long after its end a window is read again, for events that Klaviyo shows late."
    )
    ingest_klaviyo_late_s: float = Field(
        86400, gt=0, description="So long after its end a whole day is read again, for events that are later still."
    )
    ingest_klaviyo_per_min: int = Field(
        600, ge=1, le=3500, description="Most calls a minute and account to read events; Klaviyo allows 3,500 in all."
    )
    ingest_connect_timeout_s: float = Field(15, gt=0, description="Real seconds to connect and log in to a server.")
    ingest_read_timeout_s: float = Field(30, gt=0, description="Real seconds that one read of a file may take.")
    ingest_folder_root: Path | None = Field(
        None,
        description="Folder with one for each org, named by its slug, that sources of kind `folder` are read from; "
        "default: there are none.",
    )
    ingest_s3_own_role: bool = Field(
        False,
        description="Whether buckets of sources without an access key are read as this service itself. Only where "
        "every org may see all that it sees.",
    )
    ingest_spool_dir: Path | None = Field(
        None, description="Folder for the file in hand (never in memory, removed at once); default: the system's."
    )
    ingest_max_file_bytes: int = Field(4 << 30, gt=0, description="Larger files are held.")
    ingest_max_unpacked_bytes: int = Field(16 << 30, gt=0, description="Files that unpack to more are held.")
    ingest_max_ratio: int = Field(
        200, gt=0, description="Files that unpack to more than this times their size are held."
    )
    ingest_keep_days: int | None = Field(
        None,
        ge=100,
        description="Whole days for which events, and rows of files that are none, are kept in PostgreSQL, at least "
        "100; for ever if unset. What was counted of them stays.",
    )
    ingest_max_rejects: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Files of which a larger share of rows are no events are held; up to 10 such rows, only if more "
        "than half are.",
    )

    @field_validator("ingest_klaviyo_window_min")
    @classmethod
    def _divides_a_day(cls, minutes: int) -> int:
        if 1440 % minutes:
            raise ValueError(f"{minutes} minutes do not divide a day")
        return minutes

    @model_validator(mode="after")
    def _files_leave_connections(self) -> Self:
        least = self.ingest_parallel_files + _BESIDE_FILES
        if self.database_pool < least:
            raise ValueError(
                f"ingest_parallel_files ({self.ingest_parallel_files}) needs a database_pool of at least {least}: each "
                "file in hand holds a connection until it is loaded"
            )
        return self
