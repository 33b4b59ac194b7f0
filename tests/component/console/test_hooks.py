"""Hooks in the console, with forms alone."""

from collections.abc import AsyncIterator

import pytest

from shared.clock import SystemClock
from tests.component.console.browser import Browser
from tests.support.console import Stage, console

HOOKS = "/acme/integration/hooks"


@pytest.fixture
async def stage(database_url: str) -> AsyncIterator[Stage]:
    async with console(database_url, SystemClock(), console_gateway_url="https://gw.example") as running:
        await running.staff()
        yield running


async def test_a_hook_is_made_its_secret_shown_once_and_rotated(visitor: Browser) -> None:
    await visitor.sign_in("ann@example.com")

    made = await visitor.post(HOOKS, name="hook")
    later = await visitor.get(HOOKS)
    again = await visitor.post(HOOKS, name="hook")
    rotated = await visitor.post(f"{HOOKS}/hook/rotate")

    assert ("secret_key" in made.words, "secret_key" in later.words) == (True, False)
    assert 'value="https://gw.example/api/klaviyo-events/acme/' in made.html
    assert "/api/klaviyo-events/acme/" in later.html
    assert (again.status, "already" in again.words) == (422, True)
    assert "The old secret works for 24 more hours" in rotated.words


async def test_a_viewer_sees_the_address_and_makes_none(visitor: Browser) -> None:
    await visitor.sign_in("ann@example.com")
    await visitor.post(HOOKS, name="hook")
    await visitor.sign_in("cleo@example.com")

    page = await visitor.get(HOOKS)
    refused = await visitor.post(HOOKS, name="other")

    assert "/api/klaviyo-events/acme/" in page.html
    assert ("Make a hook" in page.words, refused.status) == (False, 403)
