"""What an export asks of the place it writes to, of a bucket and of a folder alike."""

import asyncio
import io
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import IO

import pytest

from services.egress.folder import Folder
from services.egress.model import Found, Superseded, Target
from services.egress.places import Places
from services.egress.s3 import S3, Bucket, S3Options
from shared.errors import Permanent, Transient
from tests.support.servers import Servers

KEY = "2026/11/23/10/part-000.parquet"
SMALL, LARGE = b"small", os.urandom(6 << 20)
Place = Bucket | Folder


@pytest.fixture(params=["folder", "s3"])
def target(request: pytest.FixtureRequest) -> Target:
    if request.param == "folder":
        return Target("", "", "us-east-1", org_slug="acme")
    servers: Servers = request.getfixturevalue("servers")
    at, bucket = servers.need("s3"), request.getfixturevalue("bucket")
    return Target(bucket, "", "us-east-1", at.s3_endpoint, at.s3_access_key, at.s3_secret_key)


@pytest.fixture
async def place(target: Target, tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        # Whoever loses a race for a key is made to wait by the server for whole seconds: 3 and more were seen.
        s3 = S3(S3Options(connect_timeout_s=2, read_timeout_s=30, attempts=1, part_bytes=5 << 20), stack)
        yield await Places(s3, tmp_path).bucket(target)


async def put(place: Place, content: bytes, over: Found | None = None, **metadata: str) -> str:
    said = {"sha256": sha256(content).hexdigest(), **metadata}
    return await place.replace(KEY, io.BytesIO(content), len(content), metadata=said, kind="text/plain", over=over)


async def there(place: Place) -> Found:
    found = await place.find(KEY)
    assert found is not None
    return found


@pytest.mark.parametrize("content", [SMALL, LARGE, b""], ids=["whole", "in parts", "empty"])
async def test_what_was_put_is_found_with_what_was_said_of_it(place: Place, content: bytes) -> None:
    assert await place.find(KEY) is None

    etag = await put(place, content, revision="3")

    found = await there(place)
    assert (found.etag, found.size) == (etag, len(content))
    assert dict(found.metadata) == {"sha256": sha256(content).hexdigest(), "revision": "3"}
    assert await place.read(KEY, len(content) + 1) == content


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["whole", "in parts"])
async def test_only_what_was_seen_is_replaced(place: Place, content: bytes) -> None:
    await put(place, b"first")
    first = await there(place)

    with pytest.raises(Superseded):
        await put(place, content)  # as if nothing were there
    await put(place, content, first)
    with pytest.raises(Superseded):
        await put(place, b"late", first)

    assert await place.read(KEY, len(LARGE)) == content
    assert (await there(place)).metadata["sha256"] == sha256(content).hexdigest()


async def test_of_many_who_put_the_first_one_does(place: Place) -> None:
    put_at_once = [put(place, f"writer {n}".encode()) for n in range(10)]

    ended = await asyncio.gather(*put_at_once, return_exceptions=True)

    [etag] = [one for one in ended if isinstance(one, str)]
    assert [type(one) for one in ended if not isinstance(one, str)] == [Superseded] * 9
    assert (await there(place)).etag == etag


async def test_an_upload_that_fails_half_way_leaves_what_was_there(place: Place) -> None:
    class Breaks(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= 5 << 20:
                raise Transient("the disk of the exporter went", reason="disk")
            return super().read(size)

    await put(place, b"before")
    before = await there(place)
    broken: IO[bytes] = Breaks(LARGE)

    with pytest.raises(Transient, match="the disk of the exporter went"):
        await place.replace(KEY, broken, len(LARGE), metadata={}, kind="text/plain", over=before)

    assert await there(place) == before
    assert await place.sweep("", lambda _: True, -3600) == 0  # nothing is left of it


async def test_what_is_removed_is_gone_and_may_be_put_anew(place: Place) -> None:
    await put(place, SMALL)

    await place.remove(KEY, await there(place))

    assert await place.find(KEY) is None
    await put(place, SMALL)


async def test_an_upload_that_is_begun_and_ended_leaves_nothing(place: Place) -> None:
    await place.begin_and_abort(KEY)

    assert await place.find(KEY) is None
    assert await place.sweep("", lambda _: True, -3600) == 0


# What only a folder can do to us.


async def test_a_crash_between_file_and_what_is_said_of_it_leaves_nothing_to_be_believed(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    await put(folder, b"first")
    first = await there(folder)
    about = (tmp_path / "_about" / KEY).read_bytes()
    await put(folder, b"second", first)
    (tmp_path / "_about" / KEY).write_bytes(about)

    assert (await there(folder)).metadata == {}


def test_readers_of_the_whole_folder_meet_objects_alone(tmp_path: Path) -> None:
    asyncio.run(put(Folder(tmp_path), SMALL))

    seen = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert [one for one in seen if not any(part[0] in "._" for part in Path(one).parts)] == [KEY]


async def test_what_a_killed_exporter_left_half_written_is_swept_when_it_is_old(tmp_path: Path) -> None:
    left = tmp_path / "_uploads" / "0123"
    left.parent.mkdir()
    left.write_bytes(SMALL)

    assert await Folder(tmp_path).sweep("", lambda _: True, 3600) == 0
    os.utime(left, (1, 1))
    assert await Folder(tmp_path).sweep("", lambda _: True, 3600) == 1
    assert not left.exists()


async def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "_uploads").write_bytes(b"in the way")

    with pytest.raises(Transient, match="the folder of exports: File exists"):
        await put(Folder(tmp_path), SMALL)


async def test_an_installation_without_its_folder_blocks_the_hours_of_orgs_without_a_bucket(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        s3, target = S3(S3Options(), stack), Target("", "", "us-east-1", org_slug="acme")
        for folder, said in ((None, "no folder for exports"), (tmp_path / "not mounted", "is not there")):
            with pytest.raises(Permanent, match=said):
                await Places(s3, folder).bucket(target)
