"""Trying a source, and seeing how a file of it would be read: asked of the ingest service, from where it will read
later. Nothing of it is stored; a key that is not saved yet travels sealed."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from shared.admin.context import Asking, Context
from shared.admin.errors import Refused
from shared.admin.operation import ResultModel, operation_after
from shared.admin.sources.kinds import DEFAULT_REGION, Kind, demand_fitting, demand_whole
from shared.admin.sources.sources import Given, Mapping, OneSource, kind_of, pinned_key, source_id_of
from shared.messaging.topology import PROBE_SOURCE
from shared.schemas.jobs import ProbeSourceJob, TypedPlace
from shared.schemas.probes import FilePreview, ProbeStep, SourceProbed

PROBE_WAIT_S: Final = 30.0
"""Real seconds for which an answer is waited for; the ingest service gives up before."""


class TrySource(Given):
    """A source as it was typed. `name`: a stored one, whose kind counts, and its values where nothing is given."""

    name: str | None = None
    kind: Kind | None = None


class PreviewSource(OneSource):
    """`file`: by its path or name; null: the newest. `mapping`: read it so; null: as the source's mapping says."""

    file: str | None = None
    mapping: Mapping | None = None


class SourceTested(ResultModel):
    """`heard`: whether the ingest service answered in time. `steps`: what was tried, up to the first thing that did not
    work; `works`: all of it did. `files`: how many in the folder fit; null: it was not listed."""

    heard: bool
    works: bool
    steps: list[ProbeStep]
    files: int | None
    at: datetime


class SourcePreviewed(SourceTested):
    """`newest`: files that may be asked for; `preview` null: no file could be read, and the last step says why."""

    newest: list[str]
    preview: FilePreview | None


async def _ask(asking: Asking, job_of: Callable[..., ProbeSourceJob], probe_id: UUID) -> SourceProbed | None:
    asker = asking.means.need_asker()
    job_of = partial(job_of, org_id=asking.org_id, probe_id=probe_id)
    answer = await asker.ask(
        PROBE_SOURCE, asking.org_id, lambda reply_to: job_of(reply_to=reply_to), str(probe_id), wait_s=PROBE_WAIT_S
    )
    return None if answer is None else SourceProbed.model_validate_json(answer)


async def _stored(asking: Asking, name: str) -> UUID:
    async with asking.means.database.transaction(asking.org_id) as connection:
        return await source_id_of(connection, asking.org_id, name)


async def _demand_fitting(asking: Asking, asked: TrySource, source_id: UUID) -> None:
    async with asking.means.database.transaction(asking.org_id) as connection:
        kind, access_key = await kind_of(connection, source_id)
    if asked.kind is not None and asked.kind != kind:
        raise Refused(f"is {kind} and stays so; add another source instead", field="kind")
    demand_fitting(kind, _given(asked), access_key)


def _given(asked: TrySource) -> dict[str, Any]:
    return {name: getattr(asked, name) for name in Given.model_fields}


async def _ask_of_stored(asking: Asking, asked: OneSource) -> SourceProbed | None:
    source_id = await _stored(asking, asked.name)
    return await _ask(asking, partial(ProbeSourceJob, source_id=source_id), asking.means.new_id())


@operation_after(
    _ask_of_stored, "sources.test", "POST", "/sources/{name}/test", "editor",
    "Have the ingest service try the source now, step by step; nothing is stored.", changes=False,
)  # fmt: skip
async def try_stored(context: Context, _: OneSource, probed: SourceProbed | None) -> SourceTested:
    return _tested(context, probed)


async def _ask_of_typed(asking: Asking, asked: TrySource) -> SourceProbed | None:
    probe_id = asking.means.new_id()
    source_id = None
    if asked.name is None:
        demand_whole(asked.kind or "sftp", _given(asked))
    else:
        source_id = await _stored(asking, asked.name)
        await _demand_fitting(asking, asked, source_id)
    secret = asked.secret()
    sealed = asking.means.ring.seal(secret, asking.place(f"source/{probe_id}")) if secret is not None else None
    kind = None if asked.name is not None else asked.kind or "sftp"
    region = asked.region or (DEFAULT_REGION if kind == "s3" else None)
    typed = TypedPlace(
        kind=kind, org_slug=asking.org_slug, bucket=asked.bucket, region=region, endpoint_url=asked.endpoint_url,
        access_key=asked.access_key, host=asked.host, port=asked.port, username=asked.user, path=asked.path,
        pattern=asked.pattern,
        host_key=pinned_key(asked.host_key) if asked.host_key is not None else None, sealed_key=sealed,
    )  # fmt: skip
    return await _ask(asking, partial(ProbeSourceJob, source_id=source_id, typed=typed), probe_id)


# As an owner: with another host it sends our login there.
@operation_after(
    _ask_of_typed, "sources.try", "POST", "/sources/test", "owner",
    "Have the ingest service try a source that is not saved, or a saved one with other values.", changes=False,
)  # fmt: skip
async def try_typed(context: Context, _: TrySource, probed: SourceProbed | None) -> SourceTested:
    return _tested(context, probed)


async def _ask_for_preview(asking: Asking, asked: PreviewSource) -> SourceProbed | None:
    source_id = await _stored(asking, asked.name)
    job_of = partial(ProbeSourceJob, source_id=source_id, preview=True, file=asked.file, mapping=asked.mapping)
    return await _ask(asking, job_of, asking.means.new_id())


# It shows people's values, like rejects do.
@operation_after(
    _ask_for_preview, "sources.preview", "POST", "/sources/{name}/preview", "editor",
    "Show how a file would be read, its first rows and first rejects; nothing is stored.", changes=False,
)  # fmt: skip
async def preview(context: Context, _: PreviewSource, probed: SourceProbed | None) -> SourcePreviewed:
    return SourcePreviewed(
        **dict(_tested(context, probed)),
        newest=probed.newest if probed is not None else [],
        preview=probed.preview if probed is not None else None,
    )


def _tested(context: Context, probed: SourceProbed | None) -> SourceTested:
    steps = probed.steps if probed is not None else []
    return SourceTested(
        heard=probed is not None,
        works=bool(steps) and all(step.ok for step in steps),
        steps=steps,
        files=probed.files if probed is not None else None,
        at=context.now,
    )
