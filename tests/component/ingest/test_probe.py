"""Trying a source for somebody who waits: each step told, nothing stored, and a key in no queue in clear."""

import gzip
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any
from uuid import UUID, uuid4

import asyncssh
import pytest
from pydantic import SecretStr

from services.ingest.app import build
from services.ingest.settings import Settings
from services.ingest.sources.folder import LocalFolders
from services.ingest.sources.folders import Folders
from services.ingest.sources.probe import ProbeDeps, probe
from services.ingest.sources.s3 import Buckets
from shared.crypto import KeyRing
from shared.messaging.asking import SeldomAsker
from shared.messaging.topology import PROBE_SOURCE
from shared.schemas.jobs import ProbeSourceJob, TypedPlace
from shared.schemas.probes import SourceProbed
from tests.component.ingest.faulty import Faults, faulty_server
from tests.component.ingest.given import Mail, json_lines, nested_csv
from tests.component.ingest.rig import HERE, RING, Rig, Server
from tests.support.servers import Servers
from tests.support.services import serving

ROWS = [Mail(f"T{number}").received() for number in range(3)]
ALL = [
    "Find the server", "Connect", "Host key", "Log in", "List the folder", "Read the newest file", "Know its format",
    "Find the columns",
]  # fmt: skip


def folders_of(rig: Rig, root: Path | None = None) -> Folders:
    servers: Any = rig.deps.servers
    buckets = Buckets(KeyRing(RING), connect_timeout_s=5, read_timeout_s=5, hosts=HERE, own_role=False)
    return Folders({"sftp": servers, "folder": LocalFolders(root, read_timeout_s=3), "s3": buckets})


async def tried(rig: Rig, source_id: UUID | None, **more: Any) -> SourceProbed:
    deps = ProbeDeps(rig.sources.find, folders_of(rig), rig.clock, rig.deps.limits)
    job = ProbeSourceJob(org_id=rig.org_id, probe_id=uuid4(), reply_to="x", source_id=source_id, **more)
    return await probe(job, deps)


def last(found: SourceProbed) -> tuple[str, bool, str]:
    return found.steps[-1].name, found.steps[-1].ok, found.steps[-1].says


async def test_a_source_that_can_be_read_is_told_from_its_address_to_its_columns(
    bare_rig: Rig, sshd: Server, folder: Path
) -> None:
    (folder / "events.csv").write_bytes(nested_csv(ROWS))
    (folder / "notes.tmp").write_bytes(b"x")
    source_id = await bare_rig.add_source(sshd, str(folder), pattern="*.csv")

    found = await tried(bare_rig, source_id)

    fingerprint = asyncssh.import_public_key(sshd.host_key).get_fingerprint()
    assert [(step.name, step.ok) for step in found.steps] == [(name, True) for name in ALL]
    assert f"It is {fingerprint} (ssh-ed25519), as pinned." == found.steps[2].says
    assert "1 fit '*.csv', 1 do not" in found.steps[4].says
    assert "profile_id from 'profile_id'" in found.steps[7].says
    assert "3 of the first 3 rows are events" in found.steps[7].says
    assert (found.files, found.preview) == (1, None)
    assert await bare_rig.rows("SELECT 1 FROM ingest_files UNION ALL SELECT 1 FROM events") == []


async def test_another_host_key_is_shown_beside_the_pinned_one_and_nobody_logs_in(
    bare_rig: Rig, tmp_path: Path
) -> None:
    faults = Faults()
    async with faulty_server(tmp_path, faults) as server:
        for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256"):
            other = asyncssh.generate_private_key(kind)
            changed = replace(server, host_key=other.export_public_key().decode())
            found = await tried(bare_rig, await bare_rig.add_source(changed, "/", name=kind))

            name, ok, says = last(found)
            assert (name, ok) == ("Host key", False)
            assert asyncssh.import_public_key(server.host_key).get_fingerprint() in says
            assert other.get_fingerprint() in says
            assert "save it as the server's public key" in says


async def test_a_key_that_the_server_does_not_know_is_told_with_what_to_hand_over(
    bare_rig: Rig, sshd: Server, folder: Path
) -> None:
    revoked = asyncssh.generate_private_key("ssh-ed25519")
    server = replace(sshd, private_key=revoked.export_private_key().decode())

    name, ok, says = last(await tried(bare_rig, await bare_rig.add_source(server, str(folder))))

    assert (name, ok) == ("Log in", False)
    assert f"refused our key for user {sshd.user}; give the public key to whoever runs it" in says
    assert revoked.export_public_key().decode().strip() in says
    assert "PRIVATE" not in says


async def test_a_missing_or_empty_folder_and_a_pattern_that_fits_nothing_say_so(
    bare_rig: Rig, sshd: Server, folder: Path
) -> None:
    missing = await tried(bare_rig, await bare_rig.add_source(sshd, f"{folder}/none", name="missing"))
    empty = await tried(bare_rig, await bare_rig.add_source(sshd, str(folder), name="empty"))
    (folder / "events.txt").write_bytes(b"x")
    unfit = await tried(bare_rig, await bare_rig.add_source(sshd, str(folder), pattern="*.csv", name="unfit"))

    assert last(missing)[:2] == ("List the folder", False)
    assert "No folder" in last(missing)[2] or "no folder" in last(missing)[2]
    assert last(empty)[:2] == last(unfit)[:2] == ("List the folder", True)
    assert "There is nothing in" in last(empty)[2]
    assert "No file fits '*.csv', though 1 other things lie there" in last(unfit)[2]
    assert (missing.files, empty.files, unfit.files) == (None, 0, 0)


@pytest.mark.parametrize(
    ("typed", "step", "said"),
    [
        ({"host": "no-such-host.invalid"}, "Find the server", "is the name right?"),
        ({"port": 1}, "Connect", "takes no connection at port 1"),
    ],
)
async def test_a_server_that_is_not_there_is_told_by_name_and_port(
    bare_rig: Rig, sshd: Server, folder: Path, typed: dict[str, Any], step: str, said: str
) -> None:
    source_id = await bare_rig.add_source(sshd, str(folder))

    name, ok, says = last(await tried(bare_rig, source_id, typed=TypedPlace(**typed)))

    assert (name, ok) == (step, False)
    assert said in says
    assert not says.endswith("?.")


async def test_what_was_only_typed_is_tried_with_its_sealed_key(bare_rig: Rig, sshd: Server, folder: Path) -> None:
    (folder / "events.csv").write_bytes(nested_csv(ROWS))
    probe_id = uuid4()
    place = f"{bare_rig.org_id}/source/{probe_id}"
    typed = TypedPlace(
        host=sshd.host, port=sshd.port, username=sshd.user, path=str(folder), host_key=sshd.host_key,
        sealed_key=KeyRing(RING).seal(sshd.private_key, place),
    )  # fmt: skip
    deps = ProbeDeps(bare_rig.sources.find, folders_of(bare_rig), bare_rig.clock, bare_rig.deps.limits)

    found = await probe(ProbeSourceJob(org_id=bare_rig.org_id, probe_id=probe_id, reply_to="x", typed=typed), deps)
    stolen = await probe(ProbeSourceJob(org_id=uuid4(), probe_id=probe_id, reply_to="x", typed=typed), deps)

    assert all(step.ok for step in found.steps)
    assert last(stolen)[:2] == ("Log in", False)
    assert "our private key is unusable" in last(stolen)[2].lower()


async def test_a_preview_reads_the_newest_file_or_the_one_that_is_named_and_stores_nothing(
    bare_rig: Rig, sshd: Server, folder: Path
) -> None:
    (folder / "a.jsonl").write_bytes(json_lines(ROWS))
    (folder / "b.csv.gz").write_bytes(gzip.compress(nested_csv(ROWS[:2])))
    source_id = await bare_rig.add_source(sshd, str(folder))

    named = await tried(bare_rig, source_id, preview=True, file="a.jsonl")
    other = await tried(bare_rig, source_id, preview=True, file=f"{folder}/b.csv.gz", mapping={"profile_id": "metric"})
    nothing = await tried(bare_rig, source_id, preview=True, file="../secret")
    wrong = await tried(bare_rig, source_id, preview=True, file="a.jsonl", mapping={"colour": "metric"})

    assert named.preview is not None
    assert (named.preview.format, named.preview.events) == ("JSON lines, UTF-8", 3)
    assert other.preview is not None
    assert other.preview.format == "CSV, separated by commas, UTF-8, gzip"
    assert other.preview.problem == "2 of its first 2 rows are no events"  # a metric's name is no id: it has a space
    assert last(nothing)[2].startswith("No file '../secret' that fits is in the folder")
    assert wrong.preview is not None
    assert "unknown fields" in str(wrong.preview.problem)
    assert wrong.preview.columns
    assert await bare_rig.rows("SELECT 1 FROM ingest_files UNION ALL SELECT 1 FROM events") == []


async def test_a_server_that_falls_silent_is_given_up(bare_rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_bytes(nested_csv(ROWS))
    async with faulty_server(tmp_path, Faults(freeze=True)) as server:
        found = await tried(bare_rig, await bare_rig.add_source(server, "/"))

    assert last(found)[:2] == ("Read the newest file", False)
    assert "fell silent" in last(found)[2]


async def test_what_nobody_foresaw_is_told_to_who_asked(
    bare_rig: Rig, sshd: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(*_: object) -> None:
        raise LookupError("of some library")

    monkeypatch.setattr("services.ingest.sources.probe.look", look)
    (folder / "events.csv").write_bytes(nested_csv(ROWS))

    name, ok, says = last(await tried(bare_rig, await bare_rig.add_source(sshd, str(folder))))

    assert (name, ok) == ("Know its format", False)
    assert "nobody foresaw: LookupError" in says


@asynccontextmanager
async def running(rig: Rig, database_url: str, amqp_url: str) -> AsyncIterator[None]:
    settings = Settings(
        database_url=SecretStr(database_url),
        amqp_url=SecretStr(amqp_url),
        seal_keys=SecretStr(RING),
        api_key_peppers=SecretStr("1:" + "A" * 43 + "="),
        allow_private_hosts=True,
        clock=f"scaled:1:{time.time()}:{rig.clock.now().isoformat()}",
    )
    async with AsyncExitStack() as stack, serving(await build(settings, stack)):
        yield


async def test_the_service_answers_who_asks_over_its_queue_and_of_no_other_org(
    bare_rig: Rig, sshd: Server, folder: Path, database_url: str, amqp_url: str
) -> None:
    bare_rig.clock.advance(timedelta(hours=1).total_seconds())
    (folder / "events.csv").write_bytes(nested_csv(ROWS))
    source_id = await bare_rig.add_source(sshd, str(folder))
    asker = SeldomAsker(amqp_url, "test", token=partial(token_hex, 8))

    async def asked(org_id: UUID) -> SourceProbed:
        probe_id = uuid4()

        def job_of(reply_to: str) -> ProbeSourceJob:
            return ProbeSourceJob(
                org_id=org_id, probe_id=probe_id, reply_to=reply_to, source_id=source_id, preview=True
            )

        answer = await asker.ask(PROBE_SOURCE, org_id, job_of, str(probe_id), wait_s=20)
        assert answer is not None
        return SourceProbed.model_validate_json(answer)

    async with running(bare_rig, database_url, amqp_url):
        ours, theirs = await asked(bare_rig.org_id), await asked(uuid4())

    assert ours.preview is not None
    assert ours.preview.rows[0]["metric"] == "Received Email"
    assert [step.says for step in theirs.steps] == ["There is no such source any more."]


async def test_a_folder_of_ours_and_a_bucket_are_tried_in_steps_of_their_own(
    bare_rig: Rig, tmp_path: Path, servers: Servers, bucket: str
) -> None:
    (tmp_path / "shop" / "in").mkdir(parents=True)
    (tmp_path / "shop" / "in" / "events.csv").write_bytes(nested_csv(ROWS))
    at, probe_id = servers.need("s3"), uuid4()
    secret = KeyRing(RING).seal(at.s3_secret_key, f"{bare_rig.org_id}/source/{probe_id}")
    in_folder = TypedPlace(kind="folder", org_slug="shop", path="in")
    in_bucket = TypedPlace(
        kind="s3", bucket=bucket, region="us-east-1", endpoint_url=at.s3_endpoint, access_key=at.s3_access_key,
        sealed_key=secret,
    )  # fmt: skip

    async def tell(typed: TypedPlace) -> list[tuple[str, bool, str]]:
        deps = ProbeDeps(bare_rig.sources.find, folders_of(bare_rig, tmp_path), bare_rig.clock, bare_rig.deps.limits)
        job = ProbeSourceJob(org_id=bare_rig.org_id, probe_id=probe_id, reply_to="x", typed=typed)
        return [(step.name, step.ok, step.says) for step in (await probe(job, deps)).steps]

    folder, missing = await tell(in_folder), await tell(in_folder.model_copy(update={"path": "none"}))
    empty = await tell(in_bucket)
    denied = await tell(in_bucket.model_copy(update={"access_key": "stranger"}))

    assert [(name, ok) for name, ok, _ in folder] == [("Find the folder", True), *((name, True) for name in ALL[4:])]
    assert folder[0][2] == "shop/in is there."
    assert missing == [
        (
            "Find the folder", False,
            "No folder 'shop/none' below JUSTAI_INGEST_FOLDER_ROOT; make it, or correct the path.",
        )
    ]  # fmt: skip
    assert [name for name, _, _ in empty] == ["Find the server", "List the folder"]
    assert f"{at.s3_endpoint} is 127.0.0.1; it is asked with key {at.s3_access_key}." == empty[0][2]
    assert "There is nothing in '.' yet." in empty[1][2]
    assert denied[1][:2] == ("List the folder", False)
    assert "is the key right, and does it allow s3:ListBucket and s3:GetObject there?" in denied[1][2]
