"""An hour that goes up in parts, its exporter killed where the upload begins, within it, and where parts are joined."""

import asyncio
import random
import string
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from devstack import SERVERS
from devstack.services import run_justai
from tests.chaos import ledgers
from tests.chaos.client import webhook
from tests.chaos.failing import EXIT_CODE
from tests.chaos.rig import Rig, open_rig, seed_of
from tests.chaos.test_failpoints import failing, known
from tests.support.servers import Servers

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

EXPORTER = "egress"
[SITE] = known()["by_part"][EXPORTER]
PART_BYTES = 5 << 20  # the least that S3 takes
PEOPLE, NAME_CHARS = 520, 16_000  # chance is not compressed: 6 MB


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """With one hour that is larger than a part."""
    names, folder = ("gateway", "generator", "profile_writer", EXPORTER), tmp_path_factory.mktemp("parts")
    async with open_rig(servers.need(*SERVERS), folder, names=names, orgs=1, people=PEOPLE) as rig:
        [org], chance = rig.orgs, random.Random(seed_of("parts"))
        letters = string.ascii_letters + string.digits
        if rig.clock.now().minute == 59:  # all of them within one hour
            rig.leap(60)
        load = [webhook(org, one, "".join(chance.choices(letters, k=NAME_CHARS))) for one in org.people]
        await rig.client.load(load, 60)
        await rig.settled()
        await rig.exported(rig.leap_to_the_next_hour())
        yield rig


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
async def test_f15_a_kill_anywhere_in_an_upload_in_parts_leaves_the_whole_hour_or_nothing(
    rig: Rig, tmp_path: Path, call: str, when: str
) -> None:
    [org], end = rig.orgs, rig.exported_until
    assert end is not None
    in_parts = failing(EXPORTER, tmp_path / "report", "--part-bytes", str(PART_BYTES))
    await rig.processes.end(EXPORTER)
    await asyncio.to_thread(ledgers.remove_exported, rig.endpoints, rig.bucket, [org.slug])
    await rig.start(EXPORTER, argv=[*in_parts, "--at", SITE, "--when", when, "--upload", call])
    told = ("export", "backfill", org.slug, "--from", hour(end - timedelta(hours=1)), "--to", hour(end))
    done = asyncio.create_task(run_justai(rig.env, *told))

    assert await rig.died(EXPORTER, within_s=60) == EXIT_CODE
    left = await asyncio.to_thread(ledgers.exported, rig.endpoints, rig.bucket, [org.slug])
    assert len(left) == (PEOPLE if (call, when) == ("CompleteMultipartUpload", "after") else 0)
    await rig.start(EXPORTER, argv=in_parts)
    await done
    await rig.exported(end)
    await rig.clean(seed_of(f"{call} {when}"))


def hour(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H}"
