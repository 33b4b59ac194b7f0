"""When a model is asked again, what drafts cost, and where prompts and keys may go."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random
from socket import AddressFamily

import pytest
from aiohttp import TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from shared.drafting.retries import LONGEST_WAIT_S, may_heal, wait_s
from shared.drafting.settings import DraftingSettings, checked_url
from shared.drafting.usage import Prices, Usage, counted
from shared.drafting.wire import open_session, private_names
from shared.hosts import ScreenedNames
from shared.settings import SettingsError

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
NONE: frozenset[str] = frozenset()
REQUIRED = {
    "JUSTAI_DATABASE_URL": "postgresql://h/d",
    "JUSTAI_AMQP_URL": "amqp://h/",
    "JUSTAI_SEAL_KEYS": "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "JUSTAI_API_KEY_PEPPERS": "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
}


@given(st.integers(1, 1_000), st.integers())
def test_waits_grow_to_eight_seconds_and_never_beyond(tried: int, seed: int) -> None:
    waited = wait_s(tried, {}, Random(seed), NOW)

    assert waited is not None
    assert min(0.375 * 2 ** (tried - 1), 6.0) <= waited <= min(0.5 * 2 ** (tried - 1), 8.0)


@pytest.mark.parametrize("said", ["7", "7.0", format_datetime(NOW + timedelta(seconds=7), usegmt=True)])
def test_a_server_that_asks_to_wait_is_waited_for(said: str) -> None:
    assert wait_s(1, {"retry-after": said}, Random(1), NOW) == 7.0


def test_a_wait_that_is_too_long_is_not_waited_for() -> None:
    assert wait_s(1, {"retry-after": str(LONGEST_WAIT_S)}, Random(1), NOW) == LONGEST_WAIT_S
    assert wait_s(1, {"retry-after": "61"}, Random(1), NOW) is None
    assert wait_s(1, {"retry-after": "inf"}, Random(1), NOW) is None


@pytest.mark.parametrize("said", ["", "soon", "-5", "nan", "0"])
def test_a_wait_that_says_nothing_is_the_usual_one(said: str) -> None:
    waited = wait_s(1, {"retry-after": said}, Random(1), NOW)

    assert waited is not None
    assert 0.375 <= waited <= 0.5


def test_only_what_may_heal_is_asked_again() -> None:
    healing = [status for status in range(100, 600) if may_heal(status, {}, NONE)]

    assert healing == [408, 409, 425, 429, *range(500, 600)]
    assert not may_heal(429, {}, frozenset({"insufficient_quota"}))
    assert not may_heal(429, {}, frozenset({"rate_limit_error", "enforced_spend_limit_reached"}))
    assert not may_heal(500, {"x-should-retry": "false"}, NONE)
    assert may_heal(400, {"x-should-retry": "true"}, NONE)


def test_money_is_shown_where_the_prices_are_known_and_tokens_always() -> None:
    usage = Usage(1_200, 300) + Usage(800, 700)

    assert usage.shown(Prices(2.5, 10)) == "2,000 tokens read, 1,000 written, 0.0150 USD"
    assert usage.shown(None) == "2,000 tokens read, 1,000 written"


def test_a_server_that_does_not_count_makes_the_cost_a_lower_bound() -> None:
    usage = Usage(1_000_000, 0) + counted(None, 3) + counted(True, 3) + counted(-1, 3)

    assert usage.shown(Prices(1, 1)) == (
        "1,000,000 tokens read, 0 written, at least 1.0000 USD, 3 answers not counted by the server"
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example/v1",
        "http://127.0.0.1:8080/v1",
        "http://[::1]:80/v1",
        "http://10.1.2.3/v1",
        "http://llama:1/v1",
    ],
)
def test_https_and_private_http_are_taken(url: str) -> None:
    assert checked_url(url + "/") == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://8.8.8.8/v1", "must be https"), ("http://169.254.169.254/v1", "must be https"),
        ("http://[::ffff:8.8.8.8]/v1", "must be https"), ("http://0.0.0.0/v1", "must be https"),
        ("https://me:secret@api.example/v1", "no login"), ("https://api.example/v1?key=secret", "no login"),
        ("ftp://api.example", "is no URL"), ("api.example/v1", "is no URL"), ("https://", "is no URL"),
        ("https://[::1", "is no URL"), ("https://h:99999/v1", "is no URL"),
    ],
)  # fmt: skip
def test_a_url_that_prompts_must_not_go_to_is_refused_without_repeating_it(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        checked_url(url)

    assert "secret" not in str(caught.value)


class Names(AbstractResolver):
    """A resolver that knows one answer."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AddressFamily.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=one, port=port, family=family, proto=0, flags=0)
            for one in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


async def test_a_name_behind_plain_http_leads_to_a_private_network_or_nowhere() -> None:
    mixed = await private_names(Names("8.8.8.8", "10.0.0.7")).resolve("llama", 80)

    assert [one["host"] for one in mixed] == ["10.0.0.7"]
    with pytest.raises(OSError, match="llama is not in a private network"):
        await private_names(Names("8.8.8.8", "169.254.169.254")).resolve("llama", 80)


@pytest.mark.parametrize(("url", "guarded"), [("http://llama:8080/v1", True), ("https://api.example/v1", False)])
async def test_names_are_guarded_for_plain_http_and_no_time_limit_is_hidden(url: str, guarded: bool) -> None:
    async with open_session(url) as session:
        assert isinstance(session.connector, TCPConnector)
        assert isinstance(session.connector._resolver, ScreenedNames) is guarded
        assert session.timeout.total is None


def read(monkeypatch: pytest.MonkeyPatch, **settings: str) -> DraftingSettings:
    for name, value in {**REQUIRED, **{f"JUSTAI_LLM_{name.upper()}": one for name, one in settings.items()}}.items():
        monkeypatch.setenv(name, value)
    return DraftingSettings.read()


def test_without_settings_there_is_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(monkeypatch)

    assert found.llm_provider is None
    assert found.prices is None


def test_the_key_is_a_secret_in_every_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(monkeypatch, provider="anthropic", model="m", api_key="sk-very-secret")

    assert found.summary()["llm_api_key"] == "set"
    assert "sk-very-secret" not in repr(found)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"model": "m"}, "JUSTAI_LLM_MODEL: means nothing without JUSTAI_LLM_PROVIDER"),
        ({"provider": "openai", "api_key": "k"}, "JUSTAI_LLM_MODEL: is missing"),
        ({"provider": "openai", "model": "m"}, "JUSTAI_LLM_API_KEY: is missing"),
        ({"provider": "openai", "model": "m", "api_key": "a b"}, "JUSTAI_LLM_API_KEY: must be visible"),
        ({"provider": "openai", "model": "m", "url": "http://8.8.8.8"}, "JUSTAI_LLM_URL: must be https"),
        ({"provider": "gpt", "model": "m"}, "JUSTAI_LLM_PROVIDER: Input should be"),
        ({"price_read": "1"}, "JUSTAI_LLM_PRICE_WRITTEN: set it together"),
        ({"modell": "m"}, "JUSTAI_LLM_MODELL: no such setting"),
        ({"timeout_s": "0"}, "JUSTAI_LLM_TIMEOUT_S: Input should be greater than 0"),
    ],
)
def test_settings_that_do_not_fit_are_named(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], told: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(monkeypatch, **settings)

    assert str(caught.value).startswith(told)
    assert len(str(caught.value).splitlines()) == 1
