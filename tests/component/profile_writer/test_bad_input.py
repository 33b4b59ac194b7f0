"""Rows that nothing can be made of: each ends alone, with its reason; its neighbours of the same turn are written."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
import zstandard

from services.profile_writer.content import Contents
from services.profile_writer.intake_rules import wanted_as_pending
from services.profile_writer.rows import Key, Pending, Ref, Wanted
from shared.db.pool import open_database
from shared.schemas.copy import VariantSource, Vars
from shared.schemas.jobs import WriteJob
from shared.vars_codec import encode_vars
from simulator.faults import Fault
from tests.component.cli.rig import Cli
from tests.component.profile_writer.rig import INSERT_VERSION, RING, Rig, rigged, writing
from tests.component.profile_writer.rig import settings as rig_settings
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(90)

OTHER_SOURCE = VariantSource(uuid4(), 1, "Another variant's subject", "its preheader", "<p>its body</p>" * 20)
LONG = "".join(f"{number * 7919 % 9973:04}" for number in range(1500))  # more than an index entry holds
Damage = Callable[[bytes, VariantSource], bytes | None]


def _one_bit(blob: bytes, _: VariantSource) -> bytes:
    return bytes([*blob[:-6], blob[-6] ^ 1, *blob[-5:]])


DAMAGED: dict[str, Damage] = {
    "nothing stored": lambda blob, source: None,
    "no bytes": lambda blob, source: b"",
    "no frame": lambda blob, source: b"no zstd frame",
    "cut off": lambda blob, source: blob[:-3],
    "one bit flipped": _one_bit,
    "claims to be huge": lambda blob, source: bytes.fromhex("28b52ffde0") + (1 << 40).to_bytes(8, "little") + b"\1\0\0",
    "two texts": lambda blob, source: zstandard.compress(b"Hi\0pre"),
    "NUL in a text": lambda blob, source: encode_vars(Vars("Hi\0Ann", "pre", "<p>Hello</p>"), source),
    "lone surrogate": lambda blob, source: zstandard.compress(
        "Hi \ud800\0pre\0<p>Hello</p>".encode("utf-8", "surrogatepass")
    ),
    "Latin-1": lambda blob, source: zstandard.compress("Hi J\u00fcrgen\0pre\0<p>Hello</p>".encode("latin-1")),
    "another variant's": lambda blob, source: encode_vars(
        Vars("Another variant's subject", "its preheader", "<p>its body</p>" * 20), OTHER_SOURCE
    ),
}


async def change(rig: Rig, job: WriteJob, column: str, value: object) -> None:
    """Damage a stored generation."""
    async with rig.db.transaction() as connection:
        await connection.execute(
            f"UPDATE generations SET {column} = $3 WHERE day = $1 AND generation_id = $2",  # ours
            job.day, job.generation_id, value,
        )  # fmt: skip


async def why(rig: Rig, job: WriteJob, *options: str) -> dict[str, Any]:
    """What `justai why` tells of it."""
    cli = Cli(rig_settings(rig))
    told = await asyncio.to_thread(cli.ok, "why", str(job.generation_id), "--json", *options)
    found: dict[str, Any] = json.loads(told)
    return found


def written(rig: Rig) -> set[str]:
    """The profiles that Klaviyo was asked to write to, whatever it said."""
    return {patch.path.rpartition("/")[2].partition("?")[0] for patch in rig.patches()}


async def neighbours(rig: Rig, count: int = 6) -> list[WriteJob]:
    return [await rig.generate(person) for person in rig.people(count)]


async def test_a_stored_copy_that_cannot_be_read_is_never_sent(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig:
        bad: dict[str, WriteJob] = {}
        for (name, damage), person in zip(DAMAGED.items(), rig.people(len(DAMAGED)), strict=True):
            bad[name] = await rig.generate(person)
            blob = encode_vars(Vars("Hi Ann", "pre", "<p>Hello Ann</p>"), rig.source)
            await change(rig, bad[name], "vars", damage(blob, rig.source))
        for column, value in (("variant_version", 9), ("variant_version", None), ("copy_id", uuid4())):
            bad[f"{column} {value}"] = await rig.generate(rig.people(1)[0])
            await change(rig, bad[f"{column} {value}"], column, value)
        good = await neighbours(rig)
        jobs = [*bad.values(), *good]
        assert len(jobs) <= 25  # one turn
        async with writing(rig):
            await rig.send(*jobs)
            outcomes = await rig.outcomes(len(jobs))

        ends = {name: tuple(outcomes[job.generation_id])[1:3] for name, job in bad.items()}
        assert ends == dict.fromkeys(bad, ("rejected", "no_stored_copy"))
        assert {outcomes[job.generation_id]["outcome"] for job in good} == {"written"}
        assert written(rig) == {job.profile_id for job in good}
        told = await why(rig, bad["one bit flipped"])
        assert (told["ended"]["reason"], told["believed"]["state"]) == ("no_stored_copy", "nothing")


@pytest.mark.parametrize(
    "profile_id",
    ["", "ann@people.example", "a/b", "..", "01GDD KASAP8", "ABC?x=1", "\u00e9", "A" * 65, LONG, "ABC\x00"],
)  # fmt: skip
async def test_an_id_that_no_profile_has_is_never_sent(database_url: str, amqp_url: str, profile_id: str) -> None:
    async with rigged(database_url, amqp_url) as rig:
        good = await neighbours(rig)
        bad = (await rig.generate("P00001")).model_copy(update={"profile_id": profile_id})
        async with writing(rig):
            await rig.send(*good[:3], bad, *good[3:])
            outcomes = await rig.outcomes(len(good) + 1)

        assert tuple(outcomes[bad.generation_id])[1:3] == ("rejected", "profile_id_invalid")
        assert written(rig) == {job.profile_id for job in good}
        assert (await why(rig, bad))["ended"]["means"]["do"].startswith("correct the webhook")


async def test_a_body_over_the_limit_as_encoded_is_never_sent(database_url: str, amqp_url: str) -> None:
    """It counts what is sent: each line end takes two bytes in JSON, each of these letters two in UTF-8."""
    async with rigged(database_url, amqp_url) as rig:
        bad = [
            await rig.generate(person, name=text * 24_000)
            for person, text in zip(rig.people(2), ("\n", "é"), strict=True)
        ]
        fits = await rig.generate(rig.people(1)[0], name="e" * 24_000)
        good = await neighbours(rig)
        async with writing(rig):
            await rig.send(*bad, fits, *good)
            outcomes = await rig.outcomes(len(good) + 3)

        assert {tuple(outcomes[job.generation_id])[1:3] for job in bad} == {("rejected", "body_too_large")}
        assert written(rig) == {job.profile_id for job in [fits, *good]}
        assert (await why(rig, bad[0]))["ended"]["reason"] == "body_too_large"


async def test_what_klaviyo_refuses_for_good_costs_its_own_write_only(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig:
        reasons = {400: "error", 409: "conflict", 413: "body_too_large", 422: "unprocessable"}
        rig.box.world.faults += [
            Fault(kind="status", status=status, operation="update_profile", count=1) for status in reasons
        ]
        [merged, into] = rig.people(2)
        rig.account.remove(merged, into)
        lost = await rig.generate(merged)
        jobs = await neighbours(rig, 10)
        async with writing(rig):
            await rig.send(*jobs)
            await rig.outcomes(len(jobs))
            await rig.send(lost)
            outcomes = await rig.outcomes(len(jobs) + 1)

        ends = Counter(row["reason"] or row["outcome"] for row in outcomes.values())
        assert ends == {"written": 6, "profile_not_found": 1} | dict.fromkeys(reasons.values(), 1)
        assert {row["attempts"] for row in outcomes.values()} == {1}
        assert await rig.dirty() != []
        told = await why(rig, lost)
        assert told["ended"]["means"]["means"] == "the profile was merged or deleted"
        refused = next(job for job in jobs if outcomes[job.generation_id]["reason"] == "conflict")
        assert (await why(rig, refused))["ended"]["means"]["means"] == "Klaviyo's answer"


async def test_an_older_copy_is_taken_away_when_the_newer_one_can_never_be_sent(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        [person] = rig.people(1)
        await rig.send(await rig.generate(person, name="Old"))
        await rig.outcomes(1)
        bad = await rig.generate(person, name="\n" * 60_000)
        await rig.send(bad)
        outcomes = await rig.outcomes(2)

        await eventually(lambda: rig.properties(person) == {})
        assert outcomes[bad.generation_id]["reason"] == "body_too_large"


async def test_an_org_that_is_not_connected_says_so_and_does_not_stop_others(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig:
        stranger = await rig.generate(rig.people(1)[0])
        async with rig.db.transaction() as connection:
            org_id = uuid4()
            await connection.execute(
                "INSERT INTO orgs (org_id, slug, name, created_at) VALUES ($1, 'stranger', 's', $2)",
                org_id, rig.clock.now(),
            )  # fmt: skip
        await change(rig, stranger, "org_id", org_id)
        stranger = stranger.model_copy(update={"org_id": org_id})
        good = await neighbours(rig)
        async with writing(rig):
            await rig.send(*good, stranger)
            outcomes = await rig.outcomes(len(good)) | await replace(rig, org_id=org_id).outcomes(1)

        assert tuple(outcomes[stranger.generation_id])[1:3] == ("rejected", "no_integration")
        assert {outcomes[job.generation_id]["outcome"] for job in good} == {"written"}
        told = await why(rig, stranger)
        assert (told["org"], told["ended"]["means"]["do"]) == ("stranger", "`justai klaviyo connect ORG`")


async def test_an_org_that_is_disconnected_while_its_writes_wait_is_told_so(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        rig.key.revoked = True
        job = await rig.generate(rig.people(1)[0], delay_s=150)
        await rig.send(job)
        await eventually(lambda: pause(rig, job, "key_refused"))
        async with rig.db.transaction() as connection:
            await connection.execute("DELETE FROM integrations WHERE org_id = $1", rig.org_id)
        await eventually(lambda: pause(rig, job, "no_integration"))
        outcomes = await rig.outcomes(1, within_s=60)

        assert tuple(outcomes[job.generation_id])[1:3] == ("expired", "key_refused")


async def pause(rig: Rig, job: WriteJob, reason: str) -> bool:
    told = await why(rig, job)
    return bool(told["account"]["paused_reason"] == reason and told["waiting"] is not None)


# --- what somebody else does to the profile --------------------------------------------------------------------------


async def test_reading_back_tells_whose_copy_is_on_the_profile(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig:
        await rig.connect(rig.box.world.add_key(rig.account, {"profiles:write", "profiles:read"}).value)
        [person] = rig.people(1)
        first, second = await rig.generate(person, name="Old"), await rig.generate(person, name="New")
        async with writing(rig):
            await rig.send(first)
            await rig.outcomes(1)
            as_written = await why(rig, first, "--read-back")
            await rig.send(second)
            await rig.outcomes(2)
            another = await why(rig, first, "--read-back")
            overwrite(rig, person, {"jai_subject": "Sale!"})
            changed = await why(rig, second, "--read-back")
            text = await asyncio.to_thread(
                Cli(rig_settings(rig)).ok, "why", str(second.generation_id), "--org", "shop", "--read-back"
            )
            rig.account.remove(person, None)
            gone = await why(rig, second, "--read-back")

        assert as_written["read_back"]["finding"] == "as_written"
        assert (another["read_back"]["finding"], another["read_back"]["generation_id"]) == (
            "another_generation",
            str(second.generation_id),
        )
        assert (changed["read_back"]["finding"], changed["read_back"]["properties"]) == ("overwritten", ["jai_subject"])
        assert changed["ended"]["outcome"] == "written"
        assert "read back overwritten by someone else (jai_subject)\n" in text
        assert "Sale!" not in text
        assert gone["read_back"]["finding"] == "profile_gone"


async def test_a_key_that_may_not_read_profiles_leaves_the_rest_of_the_story(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        job = await rig.generate(rig.people(1)[0])
        await rig.send(job)
        await rig.outcomes(1)
        told = await why(rig, job, "--read-back")

        assert told["ended"]["outcome"] == "written"
        assert told["read_back"]["finding"] == "not_read"
        assert told["read_back"]["reason"].startswith("scope_missing")


def overwrite(rig: Rig, person: str, properties: dict[str, Any]) -> None:
    """Another app's write."""
    profile = rig.account.profiles[person]
    state = type(profile.state)(profile.state.fields, {**profile.state.properties, **properties})
    rig.account.write(profile, state, properties, rig.clock.now())


# --- the copies of a turn --------------------------------------------------------------------------------------------


async def test_no_copy_goes_missing_because_few_sources_are_kept(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig, open_database(database_url, name="contents") as db:
        contents = Contents(db, RING, sources_max=1)
        rows = [pending(rig, await rig.generate(person)) for person in rig.people(3)]
        for number, row in enumerate(rows[1:], start=1):
            await another_variant(rig, row.ref.generation_id, f"V{number}")

        first = await contents.texts(rows[:1])
        all_of_them = await contents.texts(rows)

        assert set(first.by_id) == {rows[0].ref.generation_id}
        assert set(all_of_them.by_id) == {row.ref.generation_id for row in rows}


def pending(rig: Rig, job: WriteJob) -> Pending:
    ref = Ref(job.day, job.generation_id, job.org_id)
    wanted = Wanted(
        Key("acct:A", job.profile_id, "jai"), ref, "write", "m", job.accepted_at, job.deadline_at, job.deadline_at
    )
    return wanted_as_pending(wanted, rig.clock.now())


async def another_variant(rig: Rig, generation_id: UUID, name: str) -> None:
    """The generation's copy is of a variant of its own."""
    copy_id, now = uuid4(), rig.clock.now()
    async with rig.db.transaction() as connection:
        await connection.execute(
            "INSERT INTO variants (org_id, copy_id, template_id, name, created_at, updated_at) "
            "VALUES ($1, $2, 'welcome', $3, $4, $4)",
            rig.org_id, copy_id, name, now,
        )  # fmt: skip
        await connection.execute(INSERT_VERSION, rig.org_id, copy_id, now)
        await connection.execute("UPDATE generations SET copy_id = $2 WHERE generation_id = $1", generation_id, copy_id)
