"""One encoded hour into its bucket: the object, what another layout left away, the manifest last."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Any, Protocol

from services.egress.holding import Hold
from services.egress.layout import Place, manifest
from services.egress.model import Exported, Found
from services.egress.parquet import Form, Summary
from shared import metrics
from shared.errors import Transient


class Bucket(Protocol):
    """Where objects go; see s3.Bucket."""

    async def find(self, key: str) -> Found | None: ...
    async def replace(
        self, key: str, content: IO[bytes], length: int, *, metadata: Mapping[str, str], kind: str, over: Found | None
    ) -> str: ...
    async def remove(self, key: str, over: Found) -> None: ...


@dataclass(frozen=True, slots=True)
class Writing:
    """One encoded hour on its way into the bucket."""

    hold: Hold
    bucket: Bucket
    place: Place
    form: Form[Any]
    summary: Summary

    def says(self, found: Found | None) -> bool:
        return found is not None and found.metadata.get("sha256") == self.summary.sha256

    def exported(self, etag: str | None, revision: int) -> Exported:
        summary, version = self.summary, self.form.version
        if summary.rows == 0:
            return Exported(0, 0, None, None, revision, version)
        return Exported(summary.rows, summary.bytes, summary.sha256, etag, revision, version)


@dataclass(frozen=True, slots=True)
class There:
    """What lies in the bucket before the export."""

    object: Found | None
    manifest: Found | None
    strays: Mapping[str, Found]
    lacks_success: bool

    @property
    def revision(self) -> int:
        """The highest that anything there has."""
        return max(map(_revision, (self.object, self.manifest, *self.strays.values())))


async def write_hour(writing: Writing, spool: IO[bytes]) -> tuple[str, Exported]:
    """What was done (`written`, `empty`, `unchanged`), and what the ledger keeps of it."""
    place, summary = writing.place, writing.summary
    there = await _look(writing)
    right = there.object is None if summary.rows == 0 else writing.says(there.object)
    etag = there.object.etag if there.object else None
    whole = right and not there.strays and not there.lacks_success
    if whole and there.manifest and writing.says(there.manifest) and _layout(there.manifest) == place.layout:
        return "unchanged", writing.exported(etag, _revision(there.manifest))
    # Above every earlier one, also where the ledger was restored from a backup and counts again.
    revision = max(writing.hold.lease.epoch, 1 + there.revision)
    metadata = {"sha256": summary.sha256, "revision": str(revision)}
    if not right:
        async with writing.hold.changing():
            if summary.rows:
                etag = await _put(writing, spool, metadata, there.object)
            elif there.object:
                await writing.bucket.remove(place.key, there.object)
                etag = None
    await _tidy(writing, there)
    await _vouch(writing, metadata, revision, there.manifest)
    return ("written" if summary.rows else "empty"), writing.exported(etag, revision)


async def _look(writing: Writing) -> There:
    place = writing.place
    keys = [place.key, place.manifest, *place.strays, *([place.success] if place.success else [])]
    found = dict(zip(keys, await asyncio.gather(*map(writing.bucket.find, keys)), strict=True))
    strays = {key: one for key in place.strays if (one := found[key]) is not None}
    lacks_success = place.success is not None and found[place.success] is None
    return There(found[place.key], found[place.manifest], strays, lacks_success)


async def _put(writing: Writing, spool: IO[bytes], metadata: Mapping[str, str], over: Found | None) -> str:
    """The object, and a look whether it is what was sent: its manifest must not vouch for anything else."""
    kind, key, length = "application/vnd.apache.parquet", writing.place.key, writing.summary.bytes
    etag = await writing.bucket.replace(key, spool, length, metadata=metadata, kind=kind, over=over)
    found = await writing.bucket.find(key)
    if found is None or found.etag != etag or not writing.says(found) or found.size not in (None, length):
        raise Transient("the server took the object and holds something else", reason="s3_not_as_written")
    metrics.count("export_bytes_total", length)
    return etag


async def _tidy(writing: Writing, there: There) -> None:
    """Take away what another layout left, before the manifest says that all is done, and put the marker there."""
    for key, stray in there.strays.items():
        async with writing.hold.changing():
            await writing.bucket.remove(key, stray)
    if there.lacks_success and writing.place.success is not None:
        await writing.hold.demand()
        await writing.bucket.replace(
            writing.place.success, BytesIO(), 0, metadata={}, kind="application/octet-stream", over=None
        )


async def _vouch(writing: Writing, metadata: Mapping[str, str], revision: int, over: Found | None) -> None:
    hold, place = writing.hold, writing.place
    content = manifest(
        hold.lease, place.key, writing.form, writing.summary, revision=revision, exported_at=hold.clock.now()
    )  # fmt: skip
    said = metadata if place.layout == "plain" else {**metadata, "layout": place.layout}
    await hold.demand()
    await writing.bucket.replace(
        place.manifest, BytesIO(content), len(content), metadata=said, kind="application/json", over=over
    )


def _layout(found: Found) -> str:
    return found.metadata.get("layout", "plain")


def _revision(found: Found | None) -> int:
    text = "0" if found is None else found.metadata.get("revision", "0")
    return int(text) if text.isdecimal() else 0
