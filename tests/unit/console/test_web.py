"""Forms, times, pages of lists, paths, settings: what every page stands on."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_settings import BaseSettings

from services.console.oidc.flow import begin_flow, sealed
from services.console.routes import _headers
from services.console.settings import Settings
from services.console.web import times
from services.console.web.assets import Assets
from services.console.web.environment import chart_rows, number, percent
from services.console.web.navigation import Area, areas, is_inside
from services.console.web.paging import Paging
from services.console.web.security import caller_address, local_path
from services.console.web.signed_out import SECRETS
from shared.crypto import KeyRing
from shared.errors import Permanent
from shared.zones import zone_of

NOW = datetime(2026, 11, 25, 23, 30, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
KEY = "A" * 43 + "="
GIVEN = {
    "database_url": "postgresql://u:p@h/d",
    "amqp_url": "amqp://h/",
    "seal_keys": f"k:{KEY}",
    "api_key_peppers": f"1:{KEY}",
}


def forms() -> Iterator[type[BaseModel]]:
    """Models of what the console's pages are sent."""
    below = [*BaseModel.__subclasses__()]
    while below:
        model = below.pop()
        below += model.__subclasses__()
        if model.__module__.startswith("services.console.") and not issubclass(model, BaseSettings):
            yield model


def test_no_secret_of_any_form_is_among_what_comes_back_when_nobody_is_signed_in() -> None:
    secret = {
        name for model in forms() for name, field in model.model_fields.items() if "SecretStr" in str(field.annotation)
    }

    assert secret == SECRETS


def test_times_are_those_of_the_zone_with_utc_behind_them() -> None:
    shown = str(times.moment(NOW, BERLIN))

    assert ">26 Nov 2026, 00:30<" in shown
    assert 'datetime="2026-11-25T23:30:00+00:00"' in shown
    assert "23:30:00 UTC" in shown
    assert times.day(NOW, BERLIN) == "26 Nov 2026"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "just now"), (-3, "just now"), (45, "45 seconds ago"), (60, "1 minute ago"), (7199, "1 hour ago"),
     (86_400 * 3, "3 days ago"), (-7200, "in 2 hours"), (-86_400 * 7 + 20, "in 7 days"),
     (-30, "in 30 seconds"), (86_400 * 40, "17 Oct 2026")],
)  # fmt: skip
def test_distances_are_told_as_people_tell_them(seconds: int, words: str) -> None:
    assert words in str(times.ago(NOW - timedelta(seconds=seconds), NOW, BERLIN))


def test_a_zone_that_is_not_known_is_utc() -> None:
    assert [zone_of(name).key for name in ("Europe/Berlin", "Nowhere/Land", "../../etc/passwd", "")] == [
        "Europe/Berlin", "UTC", "UTC", "UTC",
    ]  # fmt: skip


@given(st.text())
def test_no_text_leads_elsewhere_after_signing_in(text: str) -> None:
    path = local_path(text)

    assert path is None or (path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable())


@pytest.mark.parametrize(
    ("forwarded", "proxies", "address"),
    [
        (["203.0.113.9"], 0, "10.0.0.1"),
        (["203.0.113.9"], 1, "203.0.113.9"),
        (["6.6.6.6, 203.0.113.9"], 1, "203.0.113.9"),
        (["6.6.6.6", "203.0.113.9, 10.0.0.7"], 2, "203.0.113.9"),
        (["203.0.113.9"], 2, "10.0.0.1"),
        (["6.6.6.6, "], 1, "10.0.0.1"),
        ([], 1, "10.0.0.1"),
    ],
)
def test_only_proxies_of_ours_are_believed(forwarded: list[str], proxies: int, address: str) -> None:
    """ASVS 5.0 V4.1.3."""
    assert caller_address("10.0.0.1", forwarded, proxies) == address


@given(st.text())
def test_any_page_number_is_a_page(text: str) -> None:
    paging = Paging.of({"page": text})

    assert paging.number >= 1
    assert paging.offset == (paging.number - 1) * 50


def test_a_list_knows_what_is_beside_its_part() -> None:
    part = Paging.of({"page": "2"}, size=2).cut([1, 2, 3], "/acme/x", {"q": "a b", "page": "2"})

    assert (list(part.rows), part.before, part.after) == ([1, 2], "/acme/x?q=a+b&page=1", "/acme/x?q=a+b&page=3")


def test_figures_are_grouped() -> None:
    assert [number(12_345), number(1234.5), percent(0.1234), percent(None)] == ["12,345", "1,234.5", "12.3 %", "–"]


def test_a_charts_table_has_a_row_for_each_day_and_a_dash_for_what_is_not_known() -> None:
    data = {
        "unit": "%", "x": [1, 2],
        "series": [{"label": "Lift", "y": [10, None], "low": [9.5, None], "high": [11, None]}, {"y": [1234, 0]}],
    }  # fmt: skip

    assert chart_rows(data, "day {}".format) == [
        ("day 1", ["10 %", "9.5 %", "11 %", "1,234 %"]),
        ("day 2", ["–", "–", "–", "0 %"]),
    ]
    assert chart_rows({"x": [], "series": [{"label": "Lift", "y": []}]}, str) == []


def test_an_area_is_shown_where_it_has_a_page() -> None:
    assert [area.title for area in areas(["/{org}/", "/{org}/people", "/_account"])] == ["Home", "People"]
    assert is_inside(Area("people", "", ""), "acme", "/acme/people/1")
    assert not is_inside(Area("people", "", ""), "acme", "/acme/peoples")
    assert not is_inside(Area("", "", ""), "acme", "/acme/people")


def test_a_console_without_its_assets_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="run `make assets`"):
        Assets(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"console_url": "http://console.example.com"}, "must be https"),
        ({"console_url": "https://console.example.com/"}, "without a path or a slash"),
        ({"console_url": "console.example.com"}, "is no address like"),
        ({"console_url": "https://u:p@console.example.com"}, "carries a login"),
        ({"console_url": "https://console.example.com", "console_plain_cookies": True}, "is for http on this machine"),
        ({"console_listen": "8081"}, "expected host:port"),
    ],
)
def test_settings_that_would_be_unsafe_stop_the_start(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Settings(**{**GIVEN, **wrong})  # type: ignore[arg-type] # what is refused


@pytest.mark.parametrize(("over_https", "said"), [(True, "max-age=31536000; includeSubDomains"), (False, None)])
async def test_browsers_are_told_to_stay_with_https_where_it_is_spoken(over_https: bool, said: str | None) -> None:
    """ASVS 5.0 V3.4.1."""
    response = web.Response()
    await _headers(over_https)(make_mocked_request("GET", "/"), response)

    assert response.headers.get("Strict-Transport-Security") == said


def test_cookies_are_secure_unless_it_is_said_otherwise() -> None:
    assert Settings(**GIVEN).secure_cookies  # type: ignore[arg-type] # texts, as from the environment


@pytest.mark.parametrize("char", ["a", '"', "é", "語", "😀"])
def test_no_sign_in_is_larger_than_a_cookie_that_browsers_keep(char: str) -> None:
    """ASVS 5.0 V3.3.5; the session's own cookie is a token of 43 characters."""
    for chars in (*range(200, 1_200, 50), 999):
        flow = begin_flow(os.urandom, f"https://login.example/{'x' * 300}", f"/{char * chars}", NOW)

        assert len(f"__Host-justai-sign-in={sealed(flow, KeyRing(f'k1:{KEY}'))}") <= 4_096


PROVIDED = {
    "console_oidc_issuer": "https://login.example", "console_oidc_client_id": "c", "console_oidc_client_secret": "s"
}  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"console_oidc_issuer": "http://login.example"}, "console_oidc_issuer must be https"),
        ({"console_oidc_issuer": "https://10.0.0.1"}, "private network; that needs console_oidc_private"),
        ({"console_oidc_issuer": "https://169.254.169.254", "console_oidc_private": True}, "must not be reached so"),
        ({"console_oidc_issuer": "login.example"}, "is no address like"),
        ({"console_oidc_issuer": "https://login.example", "console_oidc_client_id": ""}, "client_id is missing"),
        ({"console_oidc_client_secret": ""}, "client_secret is missing"),
        ({"console_oidc_issuer": None, "console_oidc_only": True}, "nobody could sign in"),
        ({"console_oidc_scopes": "email"}, "must name `openid`"),
        ({"console_oidc_domains": "example.com, @b.example"}, "'@b.example' is no domain"),
        ({"console_oidc_join": "acme"}, "'acme' is no place like acme:viewer"),
        ({"console_oidc_join": "acme:admin"}, "roles are viewer, reviewer, editor, owner"),
        ({"console_oidc_join": "groups"}, "console_oidc_groups names none"),
        ({"console_oidc_groups": "crm"}, "'crm' is no role of a group"),
        ({"console_oidc_groups": "crm=acme:boss"}, "'acme:boss' is no place"),
    ],
)
def test_settings_of_a_provider_that_would_let_in_nobody_or_anybody_stop_the_start(
    wrong: dict[str, object], why: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        Settings(**{**GIVEN, **PROVIDED, **wrong})  # type: ignore[arg-type] # what is refused


def test_the_clients_secret_is_shown_nowhere() -> None:
    settings = Settings(**{**GIVEN, **PROVIDED, "console_oidc_client_secret": "very-secret"})  # type: ignore[arg-type]  # texts, as an environment has them

    assert settings.summary()["console_oidc_client_secret"] == "set"
    assert "very-secret" not in repr(settings)
