"""Recorded messages: one set for every shape that was ever sent. `python -m tests.support.messages` writes the next.

A set holds, by kind, the JSON schema of that time, and messages as the encoders of that time wrote them, each with
what it means, every field said. Sets are never edited: they are what a queue may still hold, or an older release says.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel, TypeAdapter

from services.gateway.acceptance import accept
from services.gateway.reader import Webhook
from shared.schemas.jobs import (
    KINDS,
    Batch,
    ExportHourJob,
    IngestFileJob,
    Job,
    Preview,
    ProbeSourceJob,
    ProbeTargetJob,
    TypedPlace,
    WriteJob,
    encode_batch,
    join_encoded,
)
from shared.schemas.probes import FilePreview, FoundField, Probed, ProbeStep, SeenReject, SourceProbed

SETS: Final = Path(__file__).parents[1] / "corpus" / "messages"
AT: Final = datetime(2026, 11, 23, 10, 20, 30, 400_000, tzinfo=UTC)
ORG, ONE, OTHER = (UUID(int=number) for number in (0x6F1C << 112 | 1, 0x6F1C << 112 | 2, 0x6F1C << 112 | 3))

ENVELOPES: Final[Mapping[str, type[BaseModel]]] = {
    **{kind: Batch[job_type] for job_type, kind in KINDS.items()},  # type: ignore[valid-type]  # runtime types
    "answer_probe_target": Probed,
    "answer_probe_source": SourceProbed,
}
"""What is read off a queue, by kind: jobs, and answers to those who asked."""

JOBS: Final[Sequence[Job]] = (
    WriteJob(
        org_id=ORG, generation_id=ONE, day=AT.date(), profile_id="01HXYZ", prefix="jai", action="write",
        accepted_at=AT, deadline_at=AT.replace(minute=50),
    ),
    WriteJob(
        org_id=ORG, generation_id=OTHER, day=AT.date(), profile_id="01HXYZ", prefix="jai", action="clear",
        accepted_at=AT, deadline_at=AT.replace(minute=50),
    ),
    IngestFileJob(org_id=ORG, source_id=ONE, file_id=OTHER),
    ExportHourJob(org_id=ORG, hour=AT.replace(minute=0, second=0, microsecond=0)),
    ExportHourJob(
        org_id=ORG, hour=AT.replace(minute=0, second=0, microsecond=0), table="outcomes", reason="dirty"
    ),
    ProbeTargetJob(org_id=ORG, probe_id=ONE, reply_to="reply.console.a1"),
    ProbeSourceJob(org_id=ORG, probe_id=ONE, reply_to="reply.console.a1", source_id=OTHER),
    ProbeSourceJob(
        org_id=ORG, probe_id=ONE, reply_to="reply.console.a1", source_id=OTHER, preview=True, file="in/a.csv",
        mapping={"email": "E-mail"},
        typed=TypedPlace(
            kind="sftp", org_slug="acme", host="files.example.com", port=2222, username="acme", path="in",
            pattern="*.csv", host_key="ssh-ed25519 AAAA", sealed_key="v1.k1.AAAA.BBBB", bucket="b", region="r",
            endpoint_url="https://s3.example.com", access_key="AK",
        ),
    ),
)  # fmt: skip

ANSWERS: Final[Mapping[str, Sequence[BaseModel]]] = {
    "answer_probe_target": [Probed(steps=[ProbeStep(name="write", ok=False, says="403 AccessDenied")])],
    "answer_probe_source": [
        SourceProbed(
            steps=[ProbeStep(name="connect", ok=True, says="It answers.")], files=2, newest=["in/a.csv"],
            preview=FilePreview(
                path="in/a.csv", size=100, read_bytes=100, whole=True, format="csv", columns=["email"],
                fields=[FoundField(field="email", column="E-mail", by="hand")], events=1, rejected=1,
                rows=[{"email": "ann@people.example"}],
                rejects=[SeenReject(line=2, reason="no_email", raw="x")], problem="too_many_rejects",
            ),
        )
    ],
}  # fmt: skip


def written() -> dict[str, list[bytes]]:
    """Messages as today's services write them, by kind."""
    made: dict[str, list[bytes]] = {kind: [] for kind in ENVELOPES}
    for job in JOBS:
        made[KINDS[type(job)]].append(encode_batch([job]))
    made["write"].append(encode_batch([job for job in JOBS if isinstance(job, WriteJob)]))
    plain = Webhook("welcome", "01HXYZ", "01HXYZ.flow.action", {}, {}, ())
    full = Webhook(
        "welcome", "01HXYZ", "01HXYZ.flow.action", {"plan": ["a", "b"], "city": "Köln"}, {"first_name": 'Ann "A"'},
        ("unescaped_quote",),
    )  # fmt: skip
    previewed = {"reply_to": "reply.gateway.a1", "preview": Preview(copy_id=ONE, write=True)}
    for webhook, more in ((plain, {}), (full, previewed)):
        _, encoded = accept(ORG, webhook, b"{}", AT, **more)  # type: ignore[arg-type]  # as named above
        made["generate"].append(join_encoded("generate", [encoded]))
    for kind, answers in ANSWERS.items():
        made[kind] = [answer.model_dump_json().encode() for answer in answers]
    return made


def read(kind: str, body: bytes) -> dict[str, Any]:
    """What a message means to today's reader: every field, said or not."""
    return ENVELOPES[kind].model_validate_json(body).model_dump(mode="json")


def schema(kind: str) -> dict[str, Any]:
    """Of today's reader, without words for people: they may change."""
    bare: dict[str, Any] = _without_words(TypeAdapter(ENVELOPES[kind]).json_schema())
    return bare


def _without_words(part: Any) -> Any:
    if isinstance(part, dict):
        return {
            name: _without_words(value)
            for name, value in part.items()
            if not (name in ("title", "description") and isinstance(value, str))
        }
    return [_without_words(one) for one in part] if isinstance(part, list) else part


def recorded() -> dict[int, dict[str, Any]]:
    """Every set by its number, the oldest first: kind → `schema`, `messages`."""
    return {
        int(folder.name): {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}
        for folder in sorted(SETS.iterdir())
        if folder.is_dir()
    }


def record() -> Path:
    """Write the next set."""
    folder = SETS / f"{max(recorded(), default=0) + 1:04}"
    folder.mkdir(parents=True)
    for kind, bodies in written().items():
        content = {
            "schema": schema(kind),
            "messages": [{"body": body.decode(), "means": read(kind, body)} for body in bodies],
        }
        (folder / f"{kind}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return folder


if __name__ == "__main__":
    print(f"wrote {record()}")  # noqa: T201  # a command
