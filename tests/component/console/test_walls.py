"""Every declared route: its headers, who may open it, who may send to it. A new page is tested by being declared."""

import asyncio
import re
from io import BytesIO
from itertools import product
from uuid import uuid4

import aiohttp
import asyncpg
import pytest
from aiohttp import web

from services.console.routes import all_pages
from services.console.web.page import Page, Pages, guarded, require_guards
from shared.people.roles import ROLES
from tests.component.console.browser import Browser
from tests.support.console import Stage

PAGES = all_pages(dev=False)
OF_AN_ORG = [page for page in PAGES if page.of_an_org]


def path_of(page: Page, org: str) -> str:
    """With an id that could be somebody's in every other place."""
    return re.sub(r"\{[a-z_]+\}", str(uuid4()), page.path.replace("{org}", org))


async def asked(browser: Browser, page: Page, org: str) -> int:
    path = path_of(page, org)
    return (await (browser.get(path) if page.method == "GET" else browser.post(path))).status


async def test_no_page_of_an_org_opens_for_who_does_not_work_there(stage: Stage, visitor: Browser) -> None:
    """ASVS 5.0 V8.4.1: tenants are kept apart."""
    await visitor.sign_in(await stage.person("Ann", acme="owner"))

    of_another = {(page.method, page.path): await asked(visitor, page, "other") for page in OF_AN_ORG}
    of_nobody = {(page.method, page.path): await asked(visitor, page, "no-such-org") for page in OF_AN_ORG}

    assert len(of_another) >= 6
    assert set(of_another.values()) == {404}
    assert of_another == of_nobody


async def test_ids_of_another_org_are_not_there(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    await stage.person("Bob", other="owner")
    bob = await stage.person("Cleo", other="viewer")
    await stage.invite("other", "dan@example.com")
    async with stage.db.connection() as connection:
        invite_id = await connection.fetchval("SELECT invite_id FROM invites")

    statuses = [
        (await visitor.post(f"/acme/people/{stage.users[bob]}/remove")).status,
        (await visitor.post(f"/acme/people/{stage.users[bob]}/role", role="owner")).status,
        (await visitor.post(f"/acme/people/invites/{invite_id}/withdraw")).status,
    ]

    assert statuses == [404, 404, 404]
    async with stage.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM memberships") == 3
        assert await connection.fetchval("SELECT count(*) FROM invites") == 1


async def test_a_role_that_is_too_small_is_told_so_on_every_page(stage: Stage) -> None:
    """ASVS 5.0 V8.2.1."""
    for role in ROLES[:-1]:
        async with Browser(stage.url) as browser:
            await browser.sign_in(await stage.person(role.capitalize(), acme=role))
            for page in OF_AN_ORG:
                too_small = ROLES.index(role) < ROLES.index(page.least)
                status = await asked(browser, page, "acme")
                assert (status == 403) is too_small, (role, page.method, page.path, status)


async def test_nothing_but_what_anyone_may_see_opens_without_signing_in(stage: Stage, visitor: Browser) -> None:
    await stage.person("Ann", acme="owner")

    for page in PAGES:
        if page.least != "anyone":
            answer = await visitor.ask(page.method, path_of(page, "acme"), headers={"Sec-Fetch-Site": "same-origin"})
            leads = answer.headers.get("Location", "").startswith("/_sign-in")
            assert (answer.status, leads) == ((303, True) if page.method == "GET" else (401, False)), page.path


def test_a_route_without_a_declared_role_does_not_start() -> None:
    async def anything(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/{org}/fine", guarded(anything))
    require_guards(app)

    async def forgotten(_: web.Request) -> web.Response:
        return web.Response()

    app.router.add_get("/{org}/forgotten", forgotten)
    with pytest.raises(RuntimeError, match=r"/\{org\}/forgotten has no declared role"):
        require_guards(app)


def test_a_page_of_an_org_cannot_be_declared_for_everybody() -> None:
    for path, role in (("/{org}/secrets", "anyone"), ("/{org}/secrets", "signed_in"), ("/secrets", "viewer")):
        with pytest.raises(ValueError, match="do not fit"):
            Pages().page("GET", path, role=role)  # type: ignore[arg-type] # what is refused


async def test_the_database_shows_one_org_its_own_people_alone(stage: Stage) -> None:
    await stage.person("Ann", acme="owner")
    await stage.person("Bob", other="owner")
    await stage.invite("other", "dan@example.com")

    async with stage.db.transaction(stage.orgs["acme"]) as connection:
        emails = [row["email"] for row in await connection.fetch("SELECT email FROM users")]
        invites = await connection.fetchval("SELECT count(*) FROM invites")
    assert (emails, invites) == (["ann@example.com"], 0)


async def test_whoever_serves_an_org_cannot_touch_what_signs_people_in(stage: Stage) -> None:
    await stage.person("Ann", acme="owner")

    for statement in (
        "SELECT password_hash FROM users", "SELECT sealed_totp FROM users", "SELECT 1 FROM sessions",
        "SELECT 1 FROM recovery_codes", "SELECT 1 FROM password_resets", "SELECT 1 FROM signin_delays",
        "UPDATE users SET name = 'x'", "DELETE FROM users",
    ):  # fmt: skip
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with stage.db.transaction(stage.orgs["acme"]) as connection:
                await connection.fetch(statement)


# --- forms of others -------------------------------------------------------------------------------------------------

OWN, FOREIGN = "own", "https://evil.example"
MATRIX = [
    # Sec-Fetch-Site, Origin, taken
    ("same-origin", OWN, True),
    ("same-origin", None, True),
    ("same-origin", FOREIGN, True),
    ("same-site", OWN, False),
    ("cross-site", OWN, False),
    ("cross-site", FOREIGN, False),
    ("none", None, False),
    ("none", OWN, False),
    ("nonsense", OWN, False),
    (None, OWN, True),
    (None, FOREIGN, False),
    (None, "null", False),
    (None, None, False),
]  # fmt: skip


async def test_only_our_own_pages_can_send_a_form(stage: Stage, visitor: Browser) -> None:
    """ASVS 5.0 V3.5.1; every other form: test_foreign_forms.py."""
    await visitor.sign_in(await stage.person("Ann", acme="owner"))

    for number, (site, origin, taken) in enumerate(MATRIX):
        headers = {"Sec-Fetch-Site": site, "Origin": stage.url if origin == OWN else origin}
        new_name = f"Mallory the {number}."
        answer = await visitor.ask(
            "POST", "/_account/name", form={"name": new_name},
            headers={name: value for name, value in headers.items() if value is not None},
        )  # fmt: skip
        async with stage.db.connection() as connection:
            name = await connection.fetchval("SELECT name FROM users")
        assert (answer.status, name == new_name) == ((303, True) if taken else (403, False)), (site, origin)


async def test_no_page_that_changes_something_can_be_asked_by_get(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    read = {page.path for page in PAGES if page.method == "GET"}

    answers = [
        await visitor.get(path_of(page, "acme")) for page in PAGES if page.method == "POST" and page.path not in read
    ]

    assert {(answer.status, answer.headers["Allow"]) for answer in answers} == {(405, "POST")}


# --- headers ---------------------------------------------------------------------------------------------------------

ASKED = ["/", "/_sign-in", "/acme/", "/acme/people", "/_account", "/nope", "/acme/nope", "/_static/0/x.css",
         "/api/v1/x", "/_invite/x", "/%00", "/..%2f..%2fetc/passwd"]  # fmt: skip


HEADERS = {
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store", "Server": None, "Access-Control-Allow-Origin": None,
}  # fmt: skip


async def test_every_answer_carries_the_headers(stage: Stage, visitor: Browser) -> None:
    """ASVS 5.0 V3.4.2 to V3.4.6, V3.4.8 and V14.3.2."""
    await visitor.sign_in(await stage.person("Ann", acme="owner"))

    for method, path in product(["GET", "HEAD", "POST", "DELETE", "OPTIONS"], ASKED):
        answer = await visitor.ask(method, path, headers={"Sec-Fetch-Site": "same-origin"})
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';"), (method, path)
        assert "unsafe" not in policy, (method, path)
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, (method, path)
        assert answer.status < 500, (method, path)


async def test_one_can_sign_out_of_every_page(stage: Stage, visitor: Browser) -> None:
    """ASVS 5.0 V7.4.4."""
    await visitor.sign_in(await stage.person("Ann", acme="owner"))

    for page in PAGES:
        shown = await visitor.get(path_of(page, "acme")) if page.method == "GET" else None
        if shown is not None and shown.status == 200 and "<body" in shown.html:
            assert re.search(r'<form method="post" action="/_sign-out"><button', shown.html), page.path


async def test_no_page_has_a_script_or_a_style_of_its_own(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))

    for page in PAGES:
        if page.method == "GET":
            html = (await visitor.get(path_of(page, "acme"))).html
            assert not re.search(r"<script(?![^>]*\ssrc=)|\sstyle=|<style|\son[a-z]+=|javascript:", html), page.path
            assert not re.search(r"""(?:src|href|action)=["']?(?:https?:)?//""", html), page.path


async def test_what_people_write_is_shown_as_text(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    evil = "<img src=x onerror=alert(1)>{{ 7*7 }}"

    await visitor.post("/_account/name", name=evil)
    html = (await visitor.get("/acme/people")).html

    assert "&lt;img src=x onerror=alert(1)&gt;{{ 7*7 }}" in html
    assert "<img src=x" not in html


HOSTILE = ["%00", "a%00b", "%ed%a0%80", "%ff", "%F0%9F%92%A9", "%0D%0ASet-Cookie:x=1", "%u0041"]
FIELDS = [("/_account/name", "name"), ("/acme/people/invites", "email"), ("/_sign-in", "email")]


async def test_no_bytes_of_a_form_break_a_page(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}

    for written, (path, field) in product(HOSTILE, FIELDS):
        async with aiohttp.ClientSession(cookies={"justai": visitor.token or ""}) as http:
            body = f"{field}={written}&password=x"
            async with http.post(stage.url + path, data=body, headers=headers, allow_redirects=False) as answer:
                assert answer.status in (303, 400, 422), (path, written, answer.status)
                assert "Set-Cookie" not in answer.headers, (path, written)


@pytest.mark.parametrize("body", [b"--x\r\nContent-Disposition: form-data\r\n\r\n", b"", b"\0" * 100])
async def test_a_form_that_is_none_is_refused(stage: Stage, body: bytes) -> None:
    headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": "multipart/form-data; boundary=x"}

    async with (
        aiohttp.ClientSession() as http,
        http.post(stage.url + "/_sign-in", data=body, headers=headers) as answer,
    ):
        assert answer.status in (400, 422)


async def test_a_form_that_is_too_large_is_refused(stage: Stage) -> None:
    headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}

    async with (
        aiohttp.ClientSession() as http,
        http.post(stage.url + "/_sign-in", data=BytesIO(b"email=" + b"x" * 1_100_000), headers=headers) as answer,
    ):
        assert answer.status == 413


async def test_an_unforeseen_error_shows_an_id_and_nothing_else(stage: Stage, visitor: Browser) -> None:
    """ASVS 5.0 V16.5.4."""
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    owner = await asyncpg.connect(stage.settings.database_url.get_secret_value())
    await owner.execute("ALTER TABLE integrations RENAME TO integrations_gone")
    await owner.close()

    answer = await visitor.get("/acme/")

    assert answer.status == 500
    assert re.search(r"tell whoever runs the console this id: [0-9a-f]{12}", answer.words)
    assert "integrations" not in answer.html


async def test_assets_are_kept_for_ever_and_named_after_what_is_in_them(visitor: Browser) -> None:
    html = (await visitor.get("/_sign-in")).html
    paths = re.findall(r'(?:src|href)="(/_static/[^"]+)"', html)

    answers = [await visitor.get(path) for path in paths]

    assert len(paths) >= 5
    assert {answer.status for answer in answers} == {200}
    assert {answer.headers["Cache-Control"] for answer in answers} == {"public, max-age=31536000, immutable"}


async def test_a_first_page_is_small(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    html = (await visitor.get("/acme/")).html
    paths = set(re.findall(r'(?:src|href)="(/_static/[^"]+)"', html))

    async def size(http: aiohttp.ClientSession, path: str) -> int:
        async with http.get(stage.url + path, headers={"Accept-Encoding": "gzip"}) as answer:
            return len(await answer.read())

    async with aiohttp.ClientSession(auto_decompress=False) as http:
        total = sum(await asyncio.gather(*(size(http, path) for path in paths)))
    assert len(html.encode()) + total < 100_000
