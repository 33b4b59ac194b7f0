"""Bulk import of profiles: many in one job, accepted at once, applied some time later, reported row by row.

Cannot clear anything (Klaviyo ignores nulls there), so it carries writes alone. One try a call, as for all writes:
when to call is the caller's business. Creating and listing have quotas of their own, 10/s and 150/min each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import aiohttp
from yarl import URL

from shared.clock import Clock
from shared.errors import Permanent
from shared.klaviyo.wire import Wire, parsed

SCOPES = frozenset({"profiles:write", "profiles:read", "lists:write", "lists:read"})
"""What a key needs for the whole of it: make a job, watch it, read its errors."""

ROWS_MAX = 10_000
JOB_MAX_BYTES = 4_500_000
"""Klaviyo allows 5 MB a job: the same caution as for one profile, and room for the frame."""

CREATE_S = 60.0
"""Real seconds that sending one job may last: 4.5 MB take a while on a thin line."""

_HEAD = b'{"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":['
_TAIL = b"]}}}}"
_FIELDS = "status,created_at,started_at,completed_at,total_count,failed_count"
_PATH = "/api/profile-bulk-import-jobs"
_ERROR_PAGES_MAX = 101  # of 100 rows: all of a job

Status = Literal["queued", "processing", "complete", "cancelled"]


@dataclass(frozen=True, slots=True)
class ImportJob:
    """One job as Klaviyo lists it. `rows`: how many profiles it was given."""

    job_id: str
    status: str
    created_at: datetime
    completed_at: datetime | None
    rows: int
    failed: int

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in ("complete", "cancelled")


@dataclass(frozen=True, slots=True)
class RowError:
    """A row that an import did not take; known by its number in the job, by its profile, or by neither."""

    number: int | None
    profile_id: str | None
    code: str


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the account's jobs, the newest first, and where older ones are."""

    jobs: Sequence[ImportJob]
    older: URL | None


def job_body(profiles: Sequence[bytes]) -> bytes:
    """The body of one job out of encoded profiles (`profile_resource`)."""
    return b"".join((_HEAD, b",".join(profiles), _TAIL))


class BulkImports:
    """The bulk calls of one private key. Raises the failure words of `shared.klaviyo.errors`."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, key: str, clock: Clock) -> None:
        self._wire = Wire(session, base_url, key, clock)

    async def create(self, body: bytes) -> str:
        """Klaviyo's id of a new job. MaybeApplied: there may be one whose id nobody told us."""
        url = self._wire.url(_PATH, {})
        answer = await self._wire.call("POST", url, "bulk_import_profiles", body=body, within_s=CREATE_S)
        data = parsed(answer.body).get("data")
        if not isinstance(data, dict) or not isinstance(data.get("id"), str):
            raise Permanent("Klaviyo took an import and names no job", reason="unreadable_answer")
        job_id: str = data["id"]
        return job_id

    async def newest(self, older: URL | None = None) -> Page:
        """A hundred jobs of the account, anybody's, the newest first; or those after the page that named `older`."""
        query = {"fields[profile-bulk-import-job]": _FIELDS, "sort": "-created_at", "page[size]": "100"}
        document = await self._wire.document(older or self._wire.url(_PATH, query), "get_bulk_import_profiles_jobs")
        return Page([_job(item) for item in document.get("data") or []], self._wire.next_page(document))

    async def errors(self, job_id: str) -> list[RowError]:
        """All rows that a job did not take."""
        url: URL | None = self._wire.url(f"{_PATH}/{job_id}/import-errors", {"page[size]": "100"})
        found: list[RowError] = []
        for _ in range(_ERROR_PAGES_MAX):
            if url is None:
                return found
            document = await self._wire.document(url, "get_errors_for_bulk_import_profiles_job")
            found += [_error(item.get("attributes") or {}) for item in document.get("data") or []]
            url = self._wire.next_page(document)
        raise Permanent("a job has more errors than rows", reason="endless_pages")


def _job(item: Mapping[str, Any]) -> ImportJob:
    given = item.get("attributes") or {}
    try:
        return ImportJob(
            job_id=item["id"],
            status=given["status"],
            created_at=datetime.fromisoformat(given["created_at"]),
            completed_at=datetime.fromisoformat(given["completed_at"]) if given.get("completed_at") else None,
            rows=int(given.get("total_count") or 0),
            failed=int(given.get("failed_count") or 0),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Permanent(f"an import job cannot be read: {type(error).__name__}", reason="unreadable_answer") from None


def _error(given: Mapping[str, Any]) -> RowError:
    """By the pointer's number, which counts the rows as they were sent, or by the profile that is repeated to us."""
    pointer = (given.get("source") or {}).get("pointer") or ""
    numbers = [int(part) for part in pointer.split("/") if part.isdecimal()]
    payload = given.get("original_payload")
    profile_id = payload.get("id") if isinstance(payload, dict) else None
    return RowError(
        number=numbers[0] if numbers else None,
        profile_id=profile_id if isinstance(profile_id, str) else None,
        code=str(given.get("code") or "unknown"),
    )
