"""Bulk import of profiles: accepted at once, applied later (`bulk_runs`), reported row by row."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from simulator.account import ImportJob, RowError
from simulator.api import bulk_runs, resources
from simulator.api.bulk_runs import ROWS_POINTER
from simulator.api.call import Answer, Call, one, page
from simulator.api.jsonapi import Json, chosen, invalid, not_found
from simulator.api.row_sizes import oversized_row

PROFILES_MAX = 10_000
PROFILE_MAX_KB = 100
QUEUED_SHARE = 0.1
EXPIRES_AFTER = timedelta(days=7)


def bulk_import_profiles(call: Call) -> Answer:
    data = call.body["data"]
    if data.get("type") != "profile-bulk-import-job":
        raise invalid("The type must be 'profile-bulk-import-job'.", pointer="/data/type")
    rows = _rows(call, data)
    settings, ids = call.world.settings, call.world.ids
    lasts_s = ids.random.uniform(settings.bulk_job_min_s, max(settings.bulk_job_min_s, settings.bulk_job_max_s))
    job = ImportJob(
        id=ids.ulid(call.now),
        rows=rows,
        list_ids=_list_ids(data),
        created_at=call.now,
        started_at=call.now + timedelta(seconds=lasts_s * QUEUED_SHARE),
        due_at=call.now + timedelta(seconds=lasts_s),
        expires_at=call.now + EXPIRES_AFTER,
    )
    call.account.jobs[job.id] = job
    # The call itself is not kept: it holds the whole body.
    call.deferred.at(job.due_at, partial(bulk_runs.run, call.world, call.account, job))
    return Answer(202, one(call, _resource(call, job)).body)


def get_bulk_import_profiles_jobs(call: Call) -> Answer:
    paths = call.fields("profile-bulk-import-job", resources.JOB_FIELDS)

    def value_of(job: ImportJob, name: str) -> Any:
        return job.status(call.now) if name == "status" else getattr(job, name)

    shown, links = page(call, _kept(call), value_of)
    return Answer(200, {"data": [resources.import_job(call.base, it, call.now, paths) for it in shown], "links": links})


def get_bulk_import_profiles_job(call: Call) -> Answer:
    call.includes()
    return one(call, _resource(call, _job(call, call.params["job_id"])))


def get_errors_for_bulk_import_profiles_job(call: Call) -> Answer:
    job = _job(call, call.params["id"])
    errors = job.errors if job.ended_at is not None else []
    paths = call.fields("import-error", resources.IMPORT_ERROR_FIELDS)
    shown, links = page(call, errors, lambda error, name: getattr(error, name))
    return Answer(200, {"data": [_error_resource(call, error, paths) for error in shown], "links": links})


def _kept(call: Call) -> Iterator[ImportJob]:
    return (job for job in call.account.jobs.values() if call.now < job.expires_at)


def _job(call: Call, job_id: str) -> ImportJob:
    job = call.account.jobs.get(job_id)
    if job is None or call.now >= job.expires_at:
        raise not_found("profile-bulk-import-job", job_id)
    return job


def _resource(call: Call, job: ImportJob) -> Json:
    paths = call.fields("profile-bulk-import-job", resources.JOB_FIELDS)
    return resources.import_job(call.base, job, call.now, paths)


def _rows(call: Call, data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    attributes = data.get("attributes")
    profiles = attributes.get("profiles") if isinstance(attributes, dict) else None
    rows = profiles.get("data") if isinstance(profiles, dict) else None
    if not isinstance(rows, list) or not rows:
        raise invalid("profiles.data must be an array with at least one profile.", pointer=ROWS_POINTER)
    if len(rows) > PROFILES_MAX:
        raise invalid(f"At most {PROFILES_MAX} profiles are allowed per job.", pointer=ROWS_POINTER)
    for number, row in enumerate(rows):
        _check_shape(row, f"{ROWS_POINTER}/{number}")
    largest = oversized_row(call.raw, rows, PROFILE_MAX_KB * call.world.settings.kilobyte_bytes)
    if largest is not None:
        raise invalid(f"A profile may not exceed {PROFILE_MAX_KB} KB.", pointer=f"{ROWS_POINTER}/{largest}")
    return rows


def _check_shape(row: Any, pointer: str) -> None:
    """What the document types is refused with the whole request; what a row says is judged when it is applied. Raises
    `ApiError`."""
    if not isinstance(row, dict) or row.get("type") != "profile" or not isinstance(row.get("attributes"), dict):
        raise invalid("Each profile needs type 'profile' and attributes.", pointer=pointer)
    if not isinstance(row.get("id"), str | None):
        raise invalid("id must be a string.", pointer=f"{pointer}/id")
    for name, wanted in (("email", str), ("properties", dict)):
        if not isinstance(value := row["attributes"].get(name), wanted) and value is not None:
            raise invalid(f"{name} has the wrong type.", pointer=f"{pointer}/attributes/{name}")


def _list_ids(data: Mapping[str, Any]) -> list[str]:
    lists = ((data.get("relationships") or {}).get("lists") or {}).get("data") or []
    return [str(entry["id"]) for entry in lists if isinstance(entry, dict) and "id" in entry]


def _error_resource(call: Call, error: RowError, paths: resources.Paths) -> Json:
    settings = call.world.settings
    attributes: Json = {
        "code": error.code,
        "title": error.title,
        "detail": error.detail,
        "source": {"pointer": error.pointer if settings.import_error_row else "/data"},
    }
    if settings.import_error_payload:
        attributes["original_payload"] = error.payload
    return {"type": "import-error", "id": error.id, "attributes": chosen(attributes, paths)}
