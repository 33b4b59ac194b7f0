"""What every kind of source gives alike, each on its real server."""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from devstack.isolation import SftpFolder, fresh_bucket
from services.ingest.records import Changed, SourceRefused, SourceUnreachable
from services.ingest.sources import folders
from services.ingest.sources.folder import LocalFolders
from services.ingest.sources.folders import READ_BYTES, Folder, Folders
from services.ingest.sources.s3 import Buckets
from services.ingest.sources.sftp import Servers
from shared.crypto import KeyRing
from shared.hosts import Hosts
from tests.component.ingest.places import OnDisk, Place, in_bucket, on_disk, on_sftp, opened, source
from tests.component.ingest.rig import RING, Server
from tests.support.servers import Servers as RealServers


@pytest.fixture(params=["sftp", "folder", "s3"])
async def place(
    request: pytest.FixtureRequest, servers: RealServers, sshd: Server, sftp_root: SftpFolder, tmp_path: Path
) -> AsyncIterator[Place]:
    if request.param == "sftp":
        yield on_sftp(sshd, sftp_root.path, sftp_root.remote_path)
    elif request.param == "folder":
        yield on_disk(tmp_path)
    else:
        at = servers.need("s3")
        async with (
            fresh_bucket(at) as bucket,
            in_bucket(at.s3_endpoint, at.s3_access_key, at.s3_secret_key, bucket) as made,
        ):
            yield made


async def whole(folder: Folder, path: str, at_most: int = 1 << 30, start: int = 0) -> bytes:
    return b"".join([block async for block in folder.read(path, at_most, start)])


async def test_a_listing_shows_each_file_with_its_size_and_time(place: Place) -> None:
    await place.put("a.csv", b"one")
    await place.put("b.csv", b"three")

    async with opened(place) as folder:
        found = await folder.list()

    assert {(one.path, one.size) for one in found.files} == {(place.path("a.csv"), 3), (place.path("b.csv"), 5)}
    now = datetime.now(UTC)
    assert all(now - timedelta(minutes=2) < one.mtime <= now + timedelta(seconds=2) for one in found.files)
    assert found.ignored == 0


async def test_names_that_do_not_fit_and_those_of_unfinished_and_hidden_files_are_ignored(place: Place) -> None:
    for name in ("a.csv", "b.txt", "c.csv.part", "d.tmp", ".e.csv", "f.FILEPART", "g.csv"):
        await place.put(name, b"x")

    async with opened(place, pattern="*.csv") as folder:
        fitting = await folder.list()
    async with opened(place) as folder:
        any_name = await folder.list()

    assert [one.path for one in sorted(fitting.files)] == [place.path("a.csv"), place.path("g.csv")]
    assert fitting.ignored == 5
    assert [one.path for one in sorted(any_name.files)] == [place.path(name) for name in ("a.csv", "b.txt", "g.csv")]
    assert any_name.ignored == 4


async def test_folders_below_are_not_searched(place: Place) -> None:
    await place.put("a.csv", b"x")
    if isinstance(place, OnDisk):
        (place.folder / "old.csv").mkdir()
        (place.folder / "old.csv" / "b.csv").write_bytes(b"x")
    else:
        await place.put("old.csv/b.csv", b"x")

    async with opened(place) as folder:
        found = await folder.list()

    assert [one.path for one in found.files] == [place.path("a.csv")]
    assert found.ignored == 1


async def test_an_empty_folder_is_empty(place: Place) -> None:
    if not isinstance(place, OnDisk):
        await place.put("", b"")  # as consoles make a folder in a bucket

    async with opened(place) as folder:
        found = await folder.list()

    assert (found.files, found.ignored) == ([], 0)


async def test_a_look_says_what_the_listing_said_until_the_file_changes(place: Place) -> None:
    await place.put("a.csv", b"one")

    async with opened(place) as folder:
        (listed,) = (await folder.list()).files
        assert await folder.look(listed.path) == listed
        await place.put("a.csv", b"three")
        changed = await folder.look(listed.path)
        (again,) = (await folder.list()).files

    assert changed != listed
    assert (changed.path, changed.size) == (listed.path, 5)
    assert again == changed


async def test_a_rewrite_of_the_same_size_is_told_where_the_kind_can_tell(place: Place) -> None:
    await place.put("a.csv", b"one")

    async with opened(place) as folder:
        first = await folder.look(place.path("a.csv"))
        if place.told_apart:
            await place.put("a.csv", b"two")
            assert await folder.look(place.path("a.csv")) != first
        else:  # SFTP knows whole seconds: its rewrite shows in the next one
            assert isinstance(place, OnDisk)
            os.utime(place.folder / "a.csv", (1_700_000_000, 1_700_000_000))
            assert (await folder.look(place.path("a.csv"))).mtime == datetime.fromtimestamp(1_700_000_000, UTC)


async def test_a_file_is_read_whole_in_part_and_from_somewhere_on(place: Place) -> None:
    content = bytes(range(256)) * (10_000) + b"end"
    await place.put("a.csv", content)
    path = place.path("a.csv")

    async with opened(place) as folder:
        await folder.look(path)
        assert await whole(folder, path) == content
        assert await whole(folder, path, len(content) + 1) == content
        assert await whole(folder, path, 1000) == content[:1000]
        assert await whole(folder, path, 1000, len(content) - 3) == b"end"
        assert await whole(folder, path, 1000, len(content)) == b""
        assert await whole(folder, path, 0) == b""
        assert all([len(block) <= READ_BYTES async for block in folder.read(path, len(content))])


async def test_a_file_of_no_bytes_is_read_as_such(place: Place) -> None:
    await place.put("a.csv", b"")

    async with opened(place) as folder:
        (listed,) = (await folder.list()).files
        assert await folder.look(listed.path) == listed
        assert await whole(folder, listed.path, listed.size + 1) == b""


async def test_a_file_that_is_gone_is_said_to_be_gone(place: Place) -> None:
    await place.put("a.csv", b"x")

    async with opened(place) as folder:
        (listed,) = (await folder.list()).files
        await place.remove("a.csv")
        with pytest.raises(Changed, match=r"is (gone|not a regular file)"):
            await folder.look(listed.path)
        with pytest.raises(Changed, match="is gone"):
            await whole(folder, listed.path)
        assert (await folder.list()).files == []


async def test_a_folder_with_too_many_entries_is_refused_with_a_word(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "MAX_ENTRIES", 2)
    for name in ("a.csv", "b.csv", "c.txt"):
        await place.put(name, b"x")

    async with opened(place, pattern="*.csv") as folder:
        with pytest.raises(SourceUnreachable, match=r"more than 2 entries in .*; have old files moved away") as refused:
            await folder.list()

    assert refused.value.reason == "too_many_entries"


# --- what only some kinds have --------------------------------------------------------------------------------------


async def test_links_are_neither_listed_nor_followed(sshd: Server, sftp_root: SftpFolder, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_bytes(b"secret")
    for place in (on_sftp(sshd, sftp_root.path, sftp_root.remote_path), on_disk(tmp_path)):
        (place.folder / "link.csv").symlink_to(secret)
        (place.folder / "none.csv").symlink_to(tmp_path / "missing")

        async with opened(place) as folder:
            found = await folder.list()
            with pytest.raises(Changed):
                await folder.look(place.path("link.csv"))

        assert (found.files, found.ignored) == ([], 2)


async def test_a_link_or_pipe_that_takes_a_files_place_is_not_read(tmp_path: Path) -> None:
    place = on_disk(tmp_path)
    secret = tmp_path / "secret.csv"
    secret.write_bytes(b"secret")
    await place.put("a.csv", b"x")

    async with opened(place) as folder:
        (listed,) = (await folder.list()).files
        await place.remove("a.csv")
        (place.folder / "a.csv").symlink_to(secret)
        with pytest.raises(Changed, match="not a regular file"):
            await whole(folder, listed.path)
        await place.remove("a.csv")
        os.mkfifo(place.folder / "a.csv")
        with pytest.raises(Changed, match="not a regular file"):
            await whole(folder, listed.path)


@pytest.mark.parametrize("path", ["..", "../other", "in/../../other", "/etc", "/"])
async def test_no_path_leaves_the_orgs_folder(tmp_path: Path, path: str) -> None:
    place = on_disk(tmp_path)
    (tmp_path / "other").mkdir()

    with pytest.raises(SourceRefused, match="is no path in the org's folder"):
        async with opened(place, path=path):
            pass


async def test_no_name_leaves_the_folder(tmp_path: Path) -> None:
    """ASVS 5.0 V5.3.2."""
    place = on_disk(tmp_path)
    (tmp_path / "secret.csv").write_bytes(b"secret")

    async with opened(place) as folder:
        for path in ("in/../../secret.csv", "../secret.csv", "/etc/passwd", "in/..", "a.csv", ""):
            with pytest.raises(Changed, match="is not in the source's folder"):
                await folder.look(path)


async def test_a_folder_that_is_a_link_is_not_entered(tmp_path: Path) -> None:
    place = on_disk(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "shop" / "linked").symlink_to(tmp_path / "other")
    (tmp_path / "stolen").symlink_to(tmp_path / "other")

    for values in ({"path": "linked"}, {"org_slug": "stolen", "path": "."}):
        with pytest.raises(SourceUnreachable, match="is no folder, or a link, which is not followed"):
            async with opened(place, **values):
                pass


async def test_a_missing_folder_and_none_that_is_lent_say_what_to_do(tmp_path: Path) -> None:
    place = on_disk(tmp_path)

    with pytest.raises(SourceUnreachable, match="no folder 'shop/none' below JUSTAI_INGEST_FOLDER_ROOT; make it"):
        async with opened(place, path="none"):
            pass
    with pytest.raises(SourceUnreachable, match="the operator sets JUSTAI_INGEST_FOLDER_ROOT"):
        async with LocalFolders(None, read_timeout_s=1).open(place.source):
            pass


async def test_a_time_that_no_calendar_knows_does_not_hide_the_folder(tmp_path: Path) -> None:
    place = on_disk(tmp_path)
    await place.put("late.csv", b"x")
    await place.put("early.csv", b"x")
    os.utime(place.folder / "late.csv", (1, 1 << 40))
    os.utime(place.folder / "early.csv", (1, -1000))

    async with opened(place) as folder:
        found = {one.path: one.mtime for one in (await folder.list()).files}

    assert found["in/late.csv"].year in (2446, 9999)  # the farthest that the file system knows, or that we do
    assert found["in/early.csv"].year == 1969


async def test_a_kind_that_is_not_read_says_so() -> None:
    with pytest.raises(SourceUnreachable, match="sources of kind 'klaviyo' are not read by this service"):
        async with Folders({}).open(source("klaviyo")):
            pass


async def test_a_bucket_that_is_not_there_a_wrong_key_and_a_wrong_secret_say_what_to_do(
    servers: RealServers, bucket: str
) -> None:
    at = servers.need("s3")
    async with in_bucket(at.s3_endpoint, at.s3_access_key, at.s3_secret_key, bucket) as place:
        for values, said in (
            ({"bucket": "not-there"}, "no bucket not-there at http://.*; correct its name, region or endpoint"),
            ({"access_key": "stranger"}, f"bucket {bucket} at .* does not let us list 'klaviyo'; is the key right"),
            ({"endpoint_url": "http://127.0.0.1:1"}, "the S3 server does not answer"),
        ):
            with pytest.raises(SourceUnreachable, match=said):
                async with opened(place, **values) as folder:
                    await folder.list()
        for values, said in (
            ({"sealed_key": "x"}, "our secret key is unusable"),
            ({"bucket": "a/../b"}, "is no bucket in a region"),
            ({"region": "x.evil.example/"}, "is no bucket in a region"),
        ):
            with pytest.raises(SourceRefused, match=said):
                async with opened(place, **values):
                    pass
        with pytest.raises(SourceUnreachable, match="it has no access key"):
            async with opened(place, access_key="", sealed_key=""):
                pass


async def test_an_object_that_is_replaced_between_look_and_read_is_not_read(servers: RealServers, bucket: str) -> None:
    at = servers.need("s3")
    async with in_bucket(at.s3_endpoint, at.s3_access_key, at.s3_secret_key, bucket) as place:
        await place.put("a.csv", b"one")
        async with opened(place) as folder:
            await folder.look(place.path("a.csv"))
            await place.put("a.csv", b"two")
            with pytest.raises(Changed, match="was replaced while we read it"):
                await whole(folder, place.path("a.csv"))
            await folder.look(place.path("a.csv"))
            assert await whole(folder, place.path("a.csv")) == b"two"


async def test_a_server_in_a_private_network_is_not_talked_to_unless_the_operator_lets_it(
    servers: RealServers, sshd: Server, sftp_root: SftpFolder, bucket: str
) -> None:
    at = servers.need("s3")
    over_ssh = on_sftp(sshd, sftp_root.path, sftp_root.remote_path)
    over_ssh.opener = Servers(KeyRing(RING), connect_timeout_s=5, read_timeout_s=3, hosts=Hosts())
    async with in_bucket(at.s3_endpoint, at.s3_access_key, at.s3_secret_key, bucket) as over_http:
        over_http.opener = Buckets(KeyRing(RING), connect_timeout_s=5, read_timeout_s=3, hosts=Hosts(), own_role=False)
        places: tuple[Place, ...] = (over_ssh, over_http)
        for place in places:
            with pytest.raises(SourceUnreachable, match="which is not on the public internet") as refused:
                async with opened(place) as folder:
                    await folder.list()
            assert refused.value.reason == "private_host"
        with pytest.raises(SourceUnreachable):
            async with opened(over_http, endpoint_url=at.s3_endpoint.replace("127.0.0.1", "localhost")) as folder:
                await folder.list()
