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
from shared.klaviyo.errors import MaybeApplied
from shared.klaviyo.profile import checked_id, properties_in
from shared.klaviyo.wire import Wire, parsed

SCOPES = frozenset({"profiles:write", "profiles:read", "lists:write", "lists:read"})
"""What a key needs for the whole of it: make a job, watch it, read its errors."""

JOB_MAX_BYTES = 4_500_000
"""Klaviyo allows 5 MB and 10,000 profiles a job: the same caution as for one profile, and room for the frame."""

CREATE_S = 60.0
"""Real seconds that sending one job may last: 4.5 MB take a while on a thin line."""

_HEAD = b'{"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":['
_TAIL = b"]}}}}"
_FIELDS = {"fields[profile-bulk-import-job]": "status,created_at,completed_at,total_count,completed_count,failed_count"}
_PATH = "/api/profile-bulk-import-jobs"

Status = Literal["queued", "processing", "complete", "cancelled"]


@dataclass(frozen=True, slots=True)
class ImportJob:
    """One job as Klaviyo lists it. `rows`: how many profiles it was given; `done` of them are written, `failed` not."""

    job_id: str
    status: str
    created_at: datetime
    completed_at: datetime | None
    rows: int
    done: int
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


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """Some of the rows that a job did not take, and where more are."""

    errors: Sequence[RowError]
    more: URL | None


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
        try:
            job_id = parsed(answer.body)["data"]["id"]
        except (Permanent, KeyError, TypeError):
            job_id = None
        if not isinstance(job_id, str):
            raise MaybeApplied("Klaviyo took an import and names no job", reason="unreadable_answer")
        return job_id

    async def newest(self, older: URL | None = None) -> Page:
        """A hundred jobs of the account, anybody's, the newest first; or those after the page that named `older`.
        Jobs of others that cannot be read are left out."""
        query = _FIELDS | {"sort": "-created_at", "page[size]": "100"}
        document = await self._wire.document(older or self._wire.url(_PATH, query), "get_bulk_import_profiles_jobs")
        found = [_job(item) for item in document.get("data") or []]
        return Page([job for job in found if job is not None], self._wire.next_page(document))

    async def job(self, job_id: str) -> ImportJob:
        """One job. Permanent (`resource_not_found`): it is not kept any more."""
        url = self._wire.url(f"{_PATH}/{job_id}", _FIELDS)
        found = _job((await self._wire.document(url, "get_bulk_import_profiles_job")).get("data") or {})
        if found is None:
            raise Permanent("an import job cannot be read", reason="unreadable_answer")
        return found

    async def errors(self, job_id: str, more: URL | None = None) -> ErrorPage:
        """A hundred of the rows that a job did not take; or those after the page that named `more`."""
        first = self._wire.url(f"{_PATH}/{job_id}/import-errors", {"page[size]": "100"})
        document = await self._wire.document(more or first, "get_errors_for_bulk_import_profiles_job")
        found = [_error(item.get("attributes") or {}) for item in document.get("data") or []]
        return ErrorPage(found, self._wire.next_page(document))

    async def properties(self, profile_id: str) -> Mapping[str, Any] | None:
        """The custom properties of one profile; None when it is not there (any more)."""
        url = self._wire.url(f"/api/profiles/{checked_id(profile_id)}", {"fields[profile]": "properties"})
        try:
            document = await self._wire.document(url, "get_profile")
        except Permanent as gone:
            if gone.reason != "resource_not_found":
                raise
            return None
        return properties_in(document)


def _job(item: Mapping[str, Any]) -> ImportJob | None:
    given = item.get("attributes") or {}
    try:
        return ImportJob(
            job_id=item["id"],
            status=given["status"],
            created_at=datetime.fromisoformat(given["created_at"]),
            completed_at=datetime.fromisoformat(given["completed_at"]) if given.get("completed_at") else None,
            rows=int(given["total_count"]),
            done=int(given["completed_count"]),
            failed=int(given["failed_count"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


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
