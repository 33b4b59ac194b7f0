"""Passwords, delays, sessions and codes, as pure decisions."""

import asyncio
import statistics
import time
import timeit
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.console.people import totp
from services.console.people.delays import Delay, Kind, after_failure, key_of, wait_s
from services.console.people.passwords import Busy, Hasher, fault
from services.console.people.sessions import agent_in_words

NOW = datetime(2026, 11, 25, 10, tzinfo=UTC)
KINDS: tuple[Kind, ...] = ("account", "address", "code")


@pytest.fixture
def hasher() -> Iterator[Hasher]:
    made = Hasher(most_waiting=6)
    yield made
    made.close()


@pytest.mark.parametrize(
    "password",
    [
        "violet teapot under the stairs",
        "Tr0ub4dor&3 and more",
        "пароль из четырёх слов",
        "x" * 8 + "quiet otter",
        "acme otter violin",
        "klaviyo teapot 2026",
        "kT9#vq2LmZx8",
        "summer crumbs in winter",
        "nobody remembers why the lighthouse keeper painted seventeen umbrellas before breakfast on a quiet Thursday",
    ],
)
def test_long_passwords_that_nobody_guesses_are_accepted(password: str) -> None:
    """ASVS 5.0 V6.2.9: also those of more than 64 characters."""
    assert fault(password, email="ann@example.com", name="Ann Example") is None


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("elevenchars", "too short"),
        ("x" * 129, "too long"),
        ("aaaaaaaaaaaa", "repeats itself"),
        ("abababababab", "repeats itself"),
        ("abcdefghijklmn", "repeats itself or counts"),
        ("Password-123456", "among the first"),
        ("QWERTYuiop[]2024", "among the first"),
        ("Klaviyo Klaviyo 1", "among the first"),
        ("PlayStation3!", "among the first"),
        ("Peanut-Butter-7", "among the first"),
        ("1qa2ws3ed4rf", "among the first"),
        ("ann.example2024", "made of your name"),
        ("ann@example.com", "made of your name"),
        ("trustno1trustno1", "repeats itself"),
        ("violetviolet", "repeats itself"),
        ("Acme-Coffee-2026", "somebody who knows you"),
        ("klaviyo_acme_ann1", "somebody who knows you"),
        ("acmecoffee!Welcome", "somebody who knows you"),
        ("Qwertz1234asdfgh", "somebody who knows you"),
        ("P4$$w0rd-summer26", "somebody who knows you"),
        ("poiuy mnbvcxz 987", "somebody who knows you"),
        ("azertyuiop-2026-ab", "somebody who knows you"),
        ("example.winter.1999", "somebody who knows you"),
    ],
)
def test_passwords_that_are_guessed_first_are_refused_with_the_reason(password: str, why: str) -> None:
    """ASVS 5.0 V6.2.1."""
    orgs = ("Acme Coffee", "acme")
    assert why in (fault(password, email="ann@example.com", name="Ann Example", orgs=orgs) or "")


def test_the_longest_password_is_judged_at_once() -> None:
    took_s = min(
        timeit.repeat(
            lambda: fault("qwer1234" * 15 + "ab", email="ann@example.com"), number=1, repeat=3, timer=time.process_time
        )
    )
    assert took_s < 0.05


async def test_only_the_right_password_matches(hasher: Hasher) -> None:
    """ASVS 5.0 V11.4.2."""
    stored = await hasher.hash("violet teapot under the stairs")

    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await hasher.matches(stored, "violet teapot under the stairs")
    assert not await hasher.matches(stored, "violet teapot under the stairs ")
    assert not await hasher.matches("damaged", "violet teapot under the stairs")


async def test_without_an_account_the_same_work_is_done(hasher: Hasher) -> None:
    stored = await hasher.hash("violet teapot under the stairs")

    async def median_s(of: str | None) -> float:
        took = []
        for _ in range(7):
            began = time.process_time()
            assert not await hasher.matches(of, "something else entirely")
            took.append(time.process_time() - began)
        return statistics.median(took)

    assert 0.5 < await median_s(None) / await median_s(stored) < 2


async def test_who_comes_when_too_many_wait_is_sent_away_at_once(hasher: Hasher) -> None:
    answers = await asyncio.gather(*(hasher.matches(None, "x") for _ in range(20)), return_exceptions=True)

    assert [type(answer) for answer in answers].count(Busy) == 14


@given(st.sampled_from(KINDS), st.integers(1, 60))
def test_the_wait_never_shrinks_while_failures_go_on(kind: Kind, times: int) -> None:
    known: Delay | None = None
    now, waits = NOW, [0.0]
    for _ in range(times):
        known = after_failure(kind, known, now)
        waits.append(wait_s(known, now))
        now = max(now, known.blocked_until)

    assert waits == sorted(waits)
    assert max(waits) <= 900


def test_what_happened_long_ago_is_forgotten() -> None:
    known = Delay(50, NOW)

    assert after_failure("account", known, NOW + timedelta(minutes=14)).failures == 51
    assert after_failure("account", known, NOW + timedelta(minutes=15)).failures == 1


def test_addresses_of_one_network_are_one() -> None:
    assert key_of("address", "2001:db8::1") == key_of("address", "2001:db8::ffff:1")
    assert key_of("address", "2001:db8::1") != key_of("address", "2001:db8:0:1::1")
    assert key_of("address", "::ffff:203.0.113.9") == key_of("address", "203.0.113.9")
    assert key_of("address", "203.0.113.9") != key_of("address", "203.0.113.10")
    assert key_of("address", "ann@example.com") != key_of("account", "ann@example.com")


def test_a_code_counts_in_its_step_and_in_those_beside_it() -> None:
    secret = totp.new_secret(lambda size: bytes(range(size)))
    app, step = pyotp.TOTP(secret), int(NOW.timestamp()) // totp.STEP_S

    found = [totp.step_of(secret, app.generate_otp(step + away), NOW) for away in (-2, -1, 0, 1, 2)]

    assert found == [None, step - 1, step, step + 1, None]


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "１２３４５６", "-12345", "12 34"])
def test_what_is_no_code_is_wrong(code: str) -> None:
    assert totp.step_of(totp.new_secret(lambda size: bytes(size)), code, NOW) is None


def test_a_recovery_code_counts_however_it_is_typed() -> None:
    user, code = UUID(int=1), "abcd-efgh-ijkl-mnop"

    assert totp.recovery_digest(user, code) == totp.recovery_digest(user, " ABCD EFGH ijklmnop")
    assert totp.recovery_digest(user, code) != totp.recovery_digest(UUID(int=2), code)


def test_a_qr_code_is_markup_without_a_style() -> None:
    svg = totp.qr_svg(totp.provisioning_uri("A" * 32, 'a"<b>@example.com'))

    assert svg.startswith("<svg")
    assert "style=" not in svg
    assert "<b>" not in svg


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/126.0 Safari/537.36 Edg/126.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Version/17.5 Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0", "Firefox on Linux"),
        ("curl/8", "An unknown browser"),
        ("", "An unknown browser"),
    ],
)  # fmt: skip
def test_browsers_are_called_by_their_names(agent: str, words: str) -> None:
    assert agent_in_words(agent) == words
