"""Running a bulk import job once its time has come: rows become profiles, or import errors."""

import asyncio
from collections.abc import Mapping
from typing import Any

from simulator.account import Account, ImportJob, RowError, WrittenBy
from simulator.api.jsonapi import ApiError
from simulator.api.profile_calls import find_for_import, profile_data, writable
from simulator.faults import IMPORT, strike
from simulator.profile import InvalidWrite, new_profile, written
from simulator.world import World

ROWS_POINTER = "/data/attributes/profiles/data"
# Less than a millisecond of work: whoever calls the box meanwhile waits no longer than that.
SLICE_ROWS = 50


class PlannedRowError(Exception):
    """A sound row shall fail; `code` is its import error's."""

    def __init__(self, code: str) -> None:
        super().__init__("The profile could not be imported.")
        self.code = code


async def run(world: World, account: Account, job: ImportJob) -> None:
    """Apply the rows slice by slice, each as of the moment it is applied at, and end the job."""
    fault = strike(world.faults, account.id, IMPORT, world.ids.random, "cancel_job")
    count = job.total if fault is None else int(job.total * fault.applied_share)
    for start in range(0, count, SLICE_ROWS):
        for number in range(start, min(start + SLICE_ROWS, count)):
            _take(world, account, job, number)
        await asyncio.sleep(0)
    job.end(world.clock.now(), cancelled=fault is not None)


def _take(world: World, account: Account, job: ImportJob, number: int) -> None:
    row = job.rows[number]
    try:
        _apply(world, account, row, WrittenBy("job", job.id))
        job.applied += 1
    except (ApiError, InvalidWrite, PlannedRowError) as error:
        code = error.code if isinstance(error, PlannedRowError) else "invalid"
        detail = error.detail if isinstance(error, ApiError) else str(error)
        pointer = f"{ROWS_POINTER}/{number}"
        job.errors.append(RowError(world.ids.uuid4(), code, "Invalid input", detail, pointer, row))


def _apply(world: World, account: Account, row: Mapping[str, Any], by: WrittenBy) -> None:
    """Raises `ApiError` and `InvalidWrite` for an unsound row, `PlannedRowError` for one that a fault struck."""
    now, data = world.clock.now(), profile_data(row)
    attributes, person = writable(data["attributes"]), find_for_import(account, data)
    # Nulls are ignored and so is `meta.patch_properties`: a bulk import cannot clear anything.
    if person is None:
        made = new_profile(world.ids.ulid(now), attributes, now, keep_nulls=True)
    else:
        state = written(person.state, attributes, {}, keep_nulls=True)
    if world.faults and (fault := strike(world.faults, account.id, IMPORT, world.ids.random, "row_error")):
        raise PlannedRowError(fault.code)
    if person is None:
        account.add_profile(made, by)
    else:
        account.write(person, state, attributes.get("properties") or {}, now, by)
