"""Tries an org's bucket when somebody asks: all that an export does there is done once with a small object, each step
told with what it lacks.

Best effort, like every answer over a reply queue: nothing is retried, and a job that nobody waits for any more only
leaves the bucket as it was.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from typing import Protocol
from uuid import UUID

from services.egress import writing
from services.egress.lacks import Lack, lack_of
from services.egress.layout import probe_key
from services.egress.model import Found, Target
from shared import logs
from shared.errors import Failure, Permanent
from shared.schemas.jobs import ProbeTargetJob
from shared.schemas.probes import Probed, ProbeStep

log = logs.get(__name__)

TRIES_S = 15.0
"""Real seconds for all steps together: whoever asked still waits then."""

_FIRST = b"JustAI tried whether it can write here. This object may be deleted.\n"
_SECOND = b"JustAI tried whether it can overwrite here. This object may be deleted.\n"


class Bucket(writing.Bucket, Protocol):
    """What a try asks of a place besides; see s3.Bucket."""

    async def read(self, key: str, most: int) -> bytes: ...
    async def begin_and_abort(self, key: str) -> None: ...
    async def sweep(self, prefix: str, ours: Callable[[str], bool], older_than_s: float) -> int: ...


FindTarget = Callable[[UUID], Awaitable[Target]]
OpenBucket = Callable[[Target], Awaitable[Bucket]]


@dataclass(frozen=True, slots=True)
class ProbeDeps:
    """What a try needs."""

    target: FindTarget
    bucket: OpenBucket


async def probe_target(job: ProbeTargetJob, deps: ProbeDeps) -> Probed:
    """The answer to whoever asks."""
    return Probed(steps=await probe(job, deps))


async def probe(job: ProbeTargetJob, deps: ProbeDeps) -> list[ProbeStep]:
    """What was tried, each with what came of it."""
    steps: list[ProbeStep] = []
    trying = "Sign in"
    try:
        async with asyncio.timeout(TRIES_S):
            target = await deps.target(job.org_id)
            try:
                bucket = await deps.bucket(target)
            except Failure as error:
                return [_failed(trying, error, lack_of(error, target))]
            steps.append(ProbeStep(name=trying, ok=True, says=_as_whom(target)))
            attempt = Attempt(deps, target, bucket, probe_key(target.prefix, job.probe_id), steps)
            await attempt.make()
    except Failure as error:
        steps.append(ProbeStep(name=trying, ok=False, says=_sentence(error)))
    except TimeoutError:
        said = f"No answer within {TRIES_S:g} seconds."
        steps.append(ProbeStep(name="Go on" if steps else trying, ok=False, says=said))
    except Exception as error:  # whatever one customer's server answers, who asked is told, and the others' are tried
        log.error("probe.failed", exc_info=error)
        said = f"Something happened that nobody foresaw: {type(error).__name__}. The log of the exporter says more."
        steps.append(ProbeStep(name="Go on" if steps else trying, ok=False, says=said))
    return steps


class _Stop(Exception):
    """What failed is no matter of one right: there is nothing more to be learnt."""


@dataclass(slots=True)
class Attempt:
    """The steps behind signing in. One that lacks a right keeps no other from being tried, unless that needs it: so one
    test tells all that is missing."""

    deps: ProbeDeps
    target: Target
    bucket: Bucket
    key: str
    steps: list[ProbeStep]
    there: Found | None = None
    granted: set[str] = field(default_factory=set)

    async def make(self) -> None:
        """All of them, in order."""
        with suppress(_Stop):
            await self._step("Write an object", "put_object", self._write)
            if self.there is not None:
                await self._step("Read it back", "get_object", self._read)
                await self._step("Overwrite it", "put_object", self._overwrite)
            await self._step("Look where nothing is", "head_object", self._look)
            await self._step("Begin and end an upload in parts", "abort_multipart_upload", self._parts)
            await self._list_uploads()
        if (there := self.there) is not None:
            with suppress(_Stop):
                await self._step("Remove it", "delete_object", partial(self._remove, there))

    async def _step(self, name: str, call: str, act: Callable[[], Awaitable[str]]) -> None:
        """`call`: whose rights are there when it works."""
        try:
            self.steps.append(ProbeStep(name=name, ok=True, says=await act()))
            self.granted.update(self.target.reach.needs(call))
        except Failure as error:
            owner_is_right = await self._owner_is_right(error)
            lack = lack_of(error, self.target, granted=self.granted, owner_is_right=owner_is_right)
            self.steps.append(_failed(name, error, lack))
            if not lack.lacks:
                raise _Stop from error

    async def _owner_is_right(self, error: Failure) -> bool:
        """False where the bucket is refused with the owner that is named, and is not without: a server says 403 of a
        bucket of somebody else's as it does of a policy that lacks something."""
        if error.reason != "s3_403" or self.target.expected_owner is None:
            return True
        try:
            await self.bucket.find(self.key)
        except Failure as refused:
            if refused.reason != "s3_403":
                return True
        else:
            return True
        try:
            anybodys = await self.deps.bucket(replace(self.target, bucket_owner=""))
            await anybodys.find(self.key)
        except Failure:
            return True
        return False

    async def _write(self) -> str:
        self.there = await self._put(_FIRST, None)
        return f"{self.key} was written."

    async def _overwrite(self) -> str:
        self.there = await self._put(_SECOND, self.there)
        return "The same key holds something else now."

    async def _put(self, content: bytes, over: Found | None) -> Found:
        etag = await self.bucket.replace(
            self.key, BytesIO(content), len(content), metadata={"probe": "1"}, kind="text/plain", over=over
        )
        return Found(etag, {"probe": "1"})

    async def _read(self) -> str:
        if await self.bucket.read(self.key, 2 * len(_FIRST)) != _FIRST:
            raise Permanent("it holds something else than what was written", reason="s3_not_as_written")
        return "It is there, with what was written."

    async def _look(self) -> str:
        if await self.bucket.find(f"{self.key}.not") is not None:
            raise Permanent("something is there", reason="s3_not_as_written")
        return "The bucket says that nothing is there."

    async def _parts(self) -> str:
        await self.bucket.begin_and_abort(f"{self.key}.parts")
        return "Large hours can be written, and what is left half way can be ended."

    async def _list_uploads(self) -> None:
        """Who may not list them has a rule of the bucket's end them."""
        try:
            await self.bucket.sweep(self.target.prefix, lambda _: False, 0)
        except Failure as error:
            lack = lack_of(error, self.target)
            says = (
                f"Not possible, which is fine where a lifecycle rule ends uploads that were left. {lack.says}".strip()
            )
        else:
            lack, says = Lack(""), "What a crash leaves half way is ended."
        self.steps.append(ProbeStep(name="List uploads that were left", ok=True, says=says, lacks=list(lack.lacks)))

    async def _remove(self, there: Found) -> str:
        await self.bucket.remove(self.key, there)
        return "It is gone again."


def _as_whom(target: Target) -> str:
    if not target.bucket:
        return "Into the folder of this installation."
    if target.role_arn:
        return f"As {target.role_arn}, with the external id {target.external_id}."
    return "With the access key." if target.access_key else "As ourselves."


def _failed(name: str, error: Failure, lack: Lack) -> ProbeStep:
    return ProbeStep(name=name, ok=False, says=f"{_sentence(error)} {lack.says}".strip(), lacks=list(lack.lacks))


def _sentence(error: Failure) -> str:
    text = str(error).partition("; finding out")[0].rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."
