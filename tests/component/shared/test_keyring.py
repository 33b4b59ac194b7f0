"""The key ring of a running process: its file may change, AWS KMS may wrap its keys, and who has which is known."""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared import keyring, kms, logs
from shared.crypto import KeyRing, SealError, Wrapped
from shared.db.pool import Database, open_database
from shared.errors import Permanent, Transient
from shared.keyring import Holder, KeptRing, holders, read_keys
from tests.support.kms import ALIAS, ARN, Kms, kms_serving
from tests.support.waiting import eventually

K1, K2 = (f"k{one}:{base64.b64encode(bytes([one]) * 32).decode()}" for one in (1, 2))
OTHER_K1 = f"k1:{base64.b64encode(bytes([9]) * 32).decode()}"
PLACE = "org-1/klaviyo"


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "_LOOK_EVERY_S", 0.02)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, name="test") as database:
        yield database


@pytest.fixture
async def aws(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kms]:
    async with kms_serving() as served:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", served.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield served


@asynccontextmanager
async def kept(spec: str, database: Database, service: str = "gateway") -> AsyncIterator[KeyRing]:
    """The ring of a process that runs meanwhile."""
    ring, stop = await KeptRing.open(spec, service, database), asyncio.Event()
    running = asyncio.create_task(ring.run(stop))
    try:
        yield ring.ring
    finally:
        stop.set()
        await running


async def test_a_ring_follows_its_file_without_a_restart(quickly: None, database: Database, tmp_path: Path) -> None:
    file = tmp_path / "ring"
    file.write_text(f"{K1}\n")
    async with kept(f"file:{file}", database) as ring:
        old = ring.seal("secret", PLACE)

        file.write_text(f"{K1}\n{K2}\n")
        await eventually(lambda: ring.names == ("k1", "k2"))
        file.write_text(f"{K2}\n{K1}\n")
        await eventually(lambda: ring.names == ("k2", "k1"))

        new = ring.rewrap(old, PLACE)
        file.write_text(f"{K2}\n")
        await eventually(lambda: ring.names == ("k2",))
        assert ring.open(new, PLACE) == "secret"
        with pytest.raises(SealError, match="'k1'"):
            ring.open(old, PLACE)


@pytest.mark.parametrize("bad", ["", "k1", f"{OTHER_K1}\n{K2}\n", f"{K1}\n{K1}\n"])
async def test_a_file_that_is_damaged_or_gives_a_name_to_another_key_changes_nothing(
    quickly: None, database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: str
) -> None:
    file = tmp_path / "ring"
    file.write_text(K1)
    async with kept(f"file:{file}", database) as ring:
        sealed = ring.seal("secret", PLACE)
        file.write_text(bad)
        await eventually(lambda: "keyring.not_taken" in caplog.messages)
        assert (ring.names, ring.open(sealed, PLACE)) == (("k1",), "secret")

        file.unlink()
        file.write_text(f"{K1}\n{K2}")
        await eventually(lambda: ring.names == ("k1", "k2"))


async def test_no_log_line_shows_a_key_that_came_while_the_process_ran(
    quickly: None, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    file = tmp_path / "ring"
    file.write_text(K1)
    try:
        logs.configure("test")
        async with kept(f"file:{file}", database) as ring:
            file.write_text(f"{K1}\n{K2}")
            await eventually(lambda: ring.names == ("k1", "k2"))
            logs.get("test").info("test.said", words=f"here: {K1} {K2}")
    finally:
        root.handlers[:], root.level = handlers, level
    said = capsys.readouterr().err
    assert "here: k1:… k2:…" in said
    assert K2.partition(":")[2] not in said


async def test_a_file_that_is_half_written_is_waited_for(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "ring"
    file.write_text(f"{K1}\n{K2}")
    ring = await KeptRing.open(f"file:{file}", "gateway", database)

    file.write_text(K2)  # the rest is not written yet
    assert not await ring._look()
    file.write_text(f"{K2}\n{K1}")
    assert not await ring._look()
    assert ring.ring.names == ("k1", "k2")

    assert await ring._look()
    assert ring.ring.names == ("k2", "k1")


async def test_who_has_which_key_is_known_while_they_run(quickly: None, database: Database, tmp_path: Path) -> None:
    file = tmp_path / "ring"
    file.write_text(K1)

    async def seen() -> list[tuple[str, list[str]]]:
        return [(one.service, list(one.keys)) for one in await holders(database, datetime.now(UTC))]

    async def told(*expected: tuple[str, list[str]]) -> bool:
        return await seen() == list(expected)

    async with kept(f"file:{file}", database, "gateway"), kept(K2, database, "egress"):
        await eventually(lambda: told(("egress", ["k2"]), ("gateway", ["k1"])))
        file.write_text(f"{K2},{K1}")
        await eventually(lambda: told(("egress", ["k2"]), ("gateway", ["k2", "k1"])))
        assert await holders(database, datetime.now(UTC) + keyring.LIVES + timedelta(seconds=20)) == []
    assert await seen() == []


def test_who_lacks_a_key_is_found() -> None:
    held = [Holder("gateway", "a", ["k1", "k2"]), Holder("egress", "b", ["k1"])]

    assert keyring.without(held, "k2") == held[1:]
    assert keyring.without(held, "k1") == []


async def test_a_service_does_not_start_without_a_usable_ring(database: Database, tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"nothing-here cannot be read: FileNotFoundError"):
        await KeptRing.open(f"file:{tmp_path}/nothing-here", "gateway", database)
    (tmp_path / "ring").write_text("k1:canary-secret")
    with pytest.raises(Permanent, match="not usable") as error:
        await KeptRing.open(f"file:{tmp_path}/ring", "gateway", database)
    assert "canary" not in str(error.value)


# --- AWS KMS ---------------------------------------------------------------------------------------------------------


async def test_a_key_that_kms_made_is_printed_wrapped_and_opens_by_kms_alone(aws: Kms) -> None:
    made = await kms.new_key("k2", ALIAS, "eu-central-1")

    keys = await read_keys(f"k2:{made},{K1}")

    assert made.kms_key == ARN
    assert base64.b64encode(keys["k2"]).decode() not in str(made)
    assert aws.calls == ["GenerateDataKeyWithoutPlaintext", "Decrypt"]
    sealed = KeyRing(keys).seal("secret", PLACE)
    assert KeyRing(await read_keys(f"{K1},k2:{made}")).open(sealed, PLACE) == "secret"


async def test_a_wrapped_key_is_bound_to_its_name_and_to_the_key_that_wrapped_it(aws: Kms) -> None:
    made = await kms.new_key("k2", ARN, None)

    with pytest.raises(Permanent, match="InvalidCiphertextException"):
        await read_keys(f"k3:{made}")
    with pytest.raises(Permanent, match="IncorrectKeyException"):
        await read_keys(f"k2:{Wrapped(ARN[:-1] + 'c', made.blob)}")


async def test_a_running_process_asks_kms_for_new_keys_alone(
    aws: Kms, quickly: None, database: Database, tmp_path: Path
) -> None:
    first, second = [await kms.new_key(name, ARN, None) for name in ("k1", "k2")]
    file = tmp_path / "ring"
    file.write_text(f"k1:{first}")
    aws.calls.clear()
    async with kept(f"file:{file}", database) as ring:
        assert aws.calls == ["Decrypt"]
        aws.refuses = (400, "ThrottlingException")
        file.write_text(f"k1:{first}\nk2:{second}\n")
        await eventually(lambda: len(aws.calls) > 3, within_s=30)
        assert list(ring.names) == ["k1"]
        aws.refuses = None
        await eventually(lambda: list(ring.names) == ["k1", "k2"], within_s=30)
        aws.calls.clear()
        file.write_text(f"k2:{second}\nk1:{first}\n")
        await eventually(lambda: ring.names == ("k2", "k1"), within_s=30)
        assert aws.calls == []


async def test_a_refusal_and_a_silence_of_kms_are_told_apart(aws: Kms, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await kms.new_key("k2", ARN, None)
    aws.refuses = (400, "AccessDeniedException")
    with pytest.raises(Permanent, match="AWS KMS refuses Decrypt: 400 AccessDeniedException"):
        await read_keys(f"k2:{made}")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
    with pytest.raises(Transient, match="AWS KMS does not answer"):
        await read_keys(f"k2:{made}")
    with pytest.raises(Permanent, match="say the key's ARN"):
        await kms.new_key("k2", ALIAS, None)
