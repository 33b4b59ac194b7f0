"""What one customer's server lists must not keep others from being read."""

import random
import string
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.component.ingest.faulty import Faults, faulty_server
from tests.component.ingest.given import Mail, nested_csv
from tests.component.ingest.rig import Rig, Server


def random_name(length: int) -> bytes:
    """Printable, and so made that nothing compresses it."""
    return "".join(random.Random(7).choices(string.ascii_letters + string.digits, k=length)).encode()


@pytest.mark.parametrize(
    ("names", "size"),
    [
        pytest.param([b"huge.csv"], 1 << 63, id="a size that is none"),
        pytest.param([random_name(4096)], 5, id="a name that no index takes"),
        pytest.param([random_name(1024)], (1 << 62) + 1, id="both"),
    ],
)
async def test_what_the_ledger_cannot_hold_is_ignored_and_other_sources_are_read(
    bare_rig: Rig, sshd: Server, folder: Path, tmp_path: Path, names: Sequence[bytes], size: int
) -> None:
    async with faulty_server(tmp_path, Faults(names=names, size=size)) as server:
        await bare_rig.add_source(server, "/", name="bad")
        await bare_rig.add_source(sshd, str(folder), name="good")
        (folder / "events.csv").write_bytes(nested_csv([Mail("T1").received()]))

        await bare_rig.settle()

    assert await bare_rig.files() == {"events.csv": "done"}
    bad = await bare_rig.one("SELECT listed, ignored, last_error FROM sources WHERE name = 'bad'")
    assert bad == {"listed": 0, "ignored": 1, "last_error": None}


async def test_the_longest_name_and_the_largest_size_that_are_taken_can_be_stored(
    bare_rig: Rig, tmp_path: Path
) -> None:
    async with faulty_server(tmp_path, Faults(names=[random_name(1024)], size=1 << 62)) as server:
        await bare_rig.add_source(server, "/")

        await bare_rig.poll()

    assert await bare_rig.one("SELECT listed, ignored, last_error FROM sources") == {
        "listed": 1, "ignored": 0, "last_error": None,
    }  # fmt: skip


async def test_an_error_that_quotes_what_no_text_may_hold_is_kept_all_the_same(bare_rig: Rig, sshd: Server) -> None:
    source_id = await bare_rig.add_source(sshd, "/")
    source = await bare_rig.sources.find(bare_rig.org_id, source_id)
    assert source is not None

    await bare_rig.sources.poll_failed(source, "no method: a\0b\ud800", bare_rig.clock.now(), refused=False)

    assert await bare_rig.one("SELECT last_error FROM sources") == {"last_error": "no method: ab?"}
