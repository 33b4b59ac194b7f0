import os
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import api_keys
from shared.schemas.ids import WINDOW_S, generation_day, generation_ids, window_start
from shared.schemas.jobs import Batch, GenerateJob, encode_batch, join_encoded

ORG = UUID("6f1c1b1e-0000-4000-8000-000000000001")
AT = datetime(2026, 11, 23, 10, 59, 59, 999999, tzinfo=UTC)
PEPPERS = "2:" + "A" * 43 + "=,1:" + "B" * 43 + "="
text = st.text(max_size=30)


@given(since_2020_s=st.floats(0, 70 * 365 * 86400))
def test_a_window_lies_within_one_day_and_holds_its_moment(since_2020_s: float) -> None:
    at = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=since_2020_s)
    start = window_start(at)

    assert start <= at < start + timedelta(seconds=WINDOW_S)
    assert start.date() == generation_day(at) == at.date()


def test_the_window_does_not_depend_on_how_the_moment_is_written() -> None:
    assert window_start(AT) == window_start(AT.astimezone(timezone(timedelta(hours=5, minutes=30))))


@given(parts=st.tuples(text, text, text), others=st.tuples(text, text, text), body=st.binary(max_size=50))
def test_generation_ids_differ_exactly_when_the_request_differs(
    parts: tuple[str, str, str], others: tuple[str, str, str], body: bytes
) -> None:
    window_s = int(window_start(AT).timestamp())

    first, earlier = generation_ids(ORG, *parts, body, window_s)

    assert {(UUID(text).version, str(UUID(text)) == text) for text in (first, earlier)} == {(8, True)}
    assert (first == generation_ids(ORG, *others, body, window_s)[0]) == (parts == others)
    assert first != generation_ids(ORG, *parts, body + b"!", window_s)[0]
    assert first != generation_ids(uuid4(), *parts, body, window_s)[0]
    assert (earlier, first) == (
        generation_ids(ORG, *parts, body, window_s - WINDOW_S)[0],
        generation_ids(ORG, *parts, body, window_s + WINDOW_S)[1],
    )


def test_pre_encoded_jobs_make_the_same_message_as_models() -> None:
    job = GenerateJob(
        org_id=ORG, generation_id=uuid4(), earlier_id=uuid4(), day=AT.date(), template_id="t", user_id="u",
        tracking_id="u.f.a", attrs={"plan": ["a", "b"]}, fields={"first_name": 'Ann "A"'}, accepted_at=AT,
    )  # fmt: skip
    encoded = job.model_dump_json(exclude_defaults=True).encode()

    assert encode_batch([job, job]) == join_encoded("generate", [encoded, encoded])
    assert Batch[GenerateJob].model_validate_json(encode_batch([job])).jobs == [job]


@given(seed=st.binary(min_size=32, max_size=32))
def test_a_minted_key_is_well_formed_and_any_typing_error_is_seen(seed: bytes) -> None:
    key = api_keys.mint(lambda _: seed)
    at = len(api_keys.PREFIX) + seed[0] % 32
    mistyped = key[:at] + ("a" if key[at] != "a" else "b") + key[at + 1 :]

    assert api_keys.well_formed(key)
    assert not api_keys.well_formed(mistyped)
    assert not api_keys.well_formed(key + "a")


def test_keys_are_found_under_every_pepper_but_stored_under_the_first() -> None:
    peppers = api_keys.Peppers(PEPPERS)
    key = api_keys.mint(os.urandom)

    number, digest = peppers.digest(key)

    assert number == 2
    assert peppers.digests(key)[0] == digest
    assert len(set(peppers.digests(key))) == 2


@pytest.mark.parametrize("spec", ["", "1:short", "x:" + "A" * 43 + "=", "1"])
def test_peppers_that_are_no_peppers_are_refused(spec: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # int() and base64 word it differently
        api_keys.Peppers(spec)
