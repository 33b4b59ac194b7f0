"""Tries an org's bucket when somebody asks: a small object is written, read back and removed, each told with its error.

Best effort, like every answer over a reply queue: nothing is retried, and a job that nobody waits for any more only
leaves the bucket as it was.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from uuid import UUID

from services.egress.handler import Bucket
from services.egress.layout import probe_key
from services.egress.model import Target
from shared import logs
from shared.errors import Failure
from shared.schemas.jobs import ProbeTargetJob
from shared.schemas.probes import Probed, ProbeStep

log = logs.get(__name__)

TRIES_S = 15.0
"""Real seconds for all steps together: whoever asked still waits then."""

_CONTENT = b"JustAI tried whether it can write here. This object may be deleted.\n"

_HINTS = {
    "s3_403": "The bucket's policy, or the role's, does not allow it.",
    "s3_404": "Is the bucket's name right, and is it in this region?",
    "s3_301": "The bucket is in another region.",
    "s3_400": "Is the bucket in this region, and is the key right?",
    "s3_unreachable": "Is the endpoint right, and open to the exporter?",
    "s3_no_credentials": "Give an access key, or run the exporter with an identity of its own.",
}

FindTarget = Callable[[UUID], Awaitable[Target]]
OpenBucket = Callable[[Target], Awaitable[Bucket]]
Send = Callable[[str, str, bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ProbeDeps:
    """`send`: an answer to an address under a correlation id."""

    target: FindTarget
    bucket: OpenBucket
    send: Send


async def probe_targets(jobs: Sequence[ProbeTargetJob], deps: ProbeDeps) -> Sequence[Exception | None]:
    """Each job is answered once, whatever came of it."""
    for job in jobs:
        steps = await probe(job, deps)
        try:
            await deps.send(job.reply_to, str(job.probe_id), Probed(steps=steps).model_dump_json().encode())
        except Failure as error:
            log.info("probe.unanswered", error=error.reason)
    return [None] * len(jobs)


async def probe(job: ProbeTargetJob, deps: ProbeDeps) -> list[ProbeStep]:
    """What was tried, up to the first thing that did not work."""
    steps: list[ProbeStep] = []
    try:
        async with asyncio.timeout(TRIES_S):
            await _try(job, deps, steps)
    except Failure as error:
        steps.append(ProbeStep(name=_NAMES[len(steps)], ok=False, says=_said(error)))
    except TimeoutError:
        steps.append(ProbeStep(name=_NAMES[len(steps)], ok=False, says=f"No answer within {TRIES_S:g} seconds."))
    return steps


_NAMES = ("Sign in", "Look for an object", "Write an object", "Read it back", "Remove it")


async def _try(job: ProbeTargetJob, deps: ProbeDeps, steps: list[ProbeStep]) -> None:
    def done(says: str) -> None:
        steps.append(ProbeStep(name=_NAMES[len(steps)], ok=True, says=says))

    target = await deps.target(job.org_id)
    bucket = await deps.bucket(target)
    done(
        f"As {target.role_arn}."
        if target.role_arn
        else "With the access key."
        if target.access_key
        else "As ourselves."
    )
    key = probe_key(target.prefix, job.probe_id)
    there = await bucket.find(key)
    done("Looking is allowed.")
    kind, metadata = "text/plain", {"probe": str(job.probe_id)}
    await bucket.replace(key, BytesIO(_CONTENT), len(_CONTENT), metadata=metadata, kind=kind, over=there)
    done(f"{key} was written.")
    written = await bucket.find(key)
    if written is None or written.metadata.get("probe") != str(job.probe_id):
        steps.append(ProbeStep(name=_NAMES[3], ok=False, says="It is not there, though the server took it."))
        return
    done("It is there, with what was written.")
    await bucket.remove(key, written)
    done("It is gone again.")


def _said(error: Failure) -> str:
    text, hint = str(error).rstrip("."), _HINTS.get(error.reason, "")
    return f"{text[:1].upper()}{text[1:]}. {hint}".strip()
