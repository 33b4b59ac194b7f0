"""Bulk import of profiles: accepted at once, applied later, reported row by row."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import orjson

from simulator.account import Account, ImportJob, RowError
from simulator.api import resources
from simulator.api.call import Answer, Call, one, page
from simulator.api.jsonapi import ApiError, Json, chosen, invalid, not_found
from simulator.api.profile_calls import IGNORED, WRITABLE, find_for_import
from simulator.profile import InvalidWrite, new_profile, written

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
        completed_at=call.now + timedelta(seconds=lasts_s),
        expires_at=call.now + EXPIRES_AFTER,
    )
    call.account.jobs[job.id] = job
    call.deferred.at(job.completed_at, lambda: _apply(call, job))
    return Answer(202, one(call, _resource(call, job)).body)


def get_bulk_import_profiles_jobs(call: Call) -> Answer:
    paths = call.fields("profile-bulk-import-job", resources.JOB_FIELDS)

    def value_of(job: ImportJob, name: str) -> Any:
        return job.status(call.now) if name == "status" else getattr(job, name)

    shown, links = page(call, call.account.jobs.values(), value_of)
    return Answer(200, {"data": [resources.import_job(call.base, it, call.now, paths) for it in shown], "links": links})


def get_bulk_import_profiles_job(call: Call) -> Answer:
    call.includes()
    return one(call, _resource(call, _job(call.account, call.params["job_id"])))


def get_errors_for_bulk_import_profiles_job(call: Call) -> Answer:
    job = _job(call.account, call.params["id"])
    errors = job.errors if job.status(call.now) == "complete" else []
    paths = call.fields("import-error", resources.IMPORT_ERROR_FIELDS)
    shown, links = page(call, errors, lambda error, name: getattr(error, name))
    return Answer(200, {"data": [_error_resource(error, paths) for error in shown], "links": links})


def _job(account: Account, job_id: str) -> ImportJob:
    if (job := account.jobs.get(job_id)) is None:
        raise not_found("profile-bulk-import-job", job_id)
    return job


def _resource(call: Call, job: ImportJob) -> Json:
    paths = call.fields("profile-bulk-import-job", resources.JOB_FIELDS)
    return resources.import_job(call.base, job, call.now, paths)


def _rows(call: Call, data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    pointer = "/data/attributes/profiles/data"
    attributes = data.get("attributes")
    profiles = attributes.get("profiles") if isinstance(attributes, dict) else None
    rows = profiles.get("data") if isinstance(profiles, dict) else None
    if not isinstance(rows, list) or not rows:
        raise invalid("profiles.data must be an array with at least one profile.", pointer=pointer)
    if len(rows) > PROFILES_MAX:
        raise invalid(f"At most {PROFILES_MAX} profiles are allowed per job.", pointer=pointer)
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or row.get("type") != "profile" or not isinstance(row.get("attributes"), dict):
            raise invalid("Each profile needs type 'profile' and attributes.", pointer=f"{pointer}/{number}")
        # A row's own bytes cannot be seen inside the body; its compact encoding is the smallest they can be.
        if len(orjson.dumps(row)) > PROFILE_MAX_KB * call.world.settings.kilobyte_bytes:
            raise invalid(f"A profile may not exceed {PROFILE_MAX_KB} KB.", pointer=f"{pointer}/{number}")
    return rows


def _list_ids(data: Mapping[str, Any]) -> list[str]:
    lists = ((data.get("relationships") or {}).get("lists") or {}).get("data") or []
    return [str(entry["id"]) for entry in lists if isinstance(entry, dict) and "id" in entry]


def _apply(call: Call, job: ImportJob) -> None:
    for number, row in enumerate(job.rows):
        try:
            _apply_row(call, job, row)
        except (ApiError, InvalidWrite) as error:
            detail = error.detail if isinstance(error, ApiError) else str(error)
            pointer = f"/data/attributes/profiles/data/{number}"
            job.errors.append(RowError(call.world.ids.uuid4(), "invalid", "Invalid input", detail, pointer, row))


def _apply_row(call: Call, job: ImportJob, row: Mapping[str, Any]) -> None:
    attributes = row["attributes"]
    for name in attributes:
        if name not in WRITABLE and name not in IGNORED:
            raise InvalidWrite(f"'{name}' is not a valid field for the resource 'profile'.", "")
    person = find_for_import(call, row)
    if person is None:
        made = new_profile(call.world.ids.ulid(job.completed_at), attributes, job.completed_at)
        call.account.add_profile(made)
        return
    # Nulls are ignored: a bulk import cannot clear anything.
    state = written(person.state, attributes, {}, keep_nulls=True)
    call.account.write(person, state, attributes.get("properties") or {}, job.completed_at)


def _error_resource(error: RowError, paths: resources.Paths) -> Json:
    attributes = {
        "code": error.code,
        "title": error.title,
        "detail": error.detail,
        "source": {"pointer": error.pointer},
        "original_payload": error.payload,
    }
    return {"type": "import-error", "id": error.id, "attributes": chosen(attributes, paths)}
