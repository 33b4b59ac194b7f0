"""Hooks for Klaviyo's system webhooks: made, rotated, shown without their secret."""

from datetime import timedelta

import pytest

from shared.admin.errors import Conflict, Refused
from shared.admin.sources import hooks, sources
from shared.crypto import KeyRing
from tests.component.admin.rig import START, Rig
from tests.component.cli.rig import KEY


async def opened(rig: Rig) -> tuple[str, str | None]:
    """The secret that Klaviyo signs with, and the one before."""
    [row] = await rig.rows("SELECT * FROM event_hooks")
    place = f"{rig.org_id}/hook/{row['hook_id']}"
    ring = KeyRing(KEY)
    return ring.open(row["sealed_secret"], place), row["sealed_before"] and ring.open(row["sealed_before"], place)


async def test_a_hook_is_a_source_with_an_address_and_a_sealed_secret(acme: Rig) -> None:
    made = await acme.run(hooks.create, {"name": "hook"})

    [source] = (await acme.run(sources.list_sources, {})).sources
    shown = await acme.run(hooks.show, {"name": "hook"}, role="viewer")

    assert (source.kind, source.place) == ("webhook", "Klaviyo's system webhooks")
    assert made.path == shown.path
    assert made.path.startswith("/api/klaviyo-events/acme/")
    assert len(made.secret) == 43
    assert await opened(acme) == (made.secret, None)
    log = await acme.rows("SELECT * FROM audit_log")
    assert made.secret not in str(log)


async def test_a_rotated_secret_keeps_the_one_before_for_a_while(acme: Rig) -> None:
    first = await acme.run(hooks.create, {"name": "hook"})

    second = await acme.run(hooks.rotate, {"name": "hook", "keep_hours": 2})

    assert second.path == first.path
    assert await opened(acme) == (second.secret, first.secret)
    assert await acme.rows("SELECT before_until FROM event_hooks") == [{"before_until": START + timedelta(hours=2)}]


async def test_names_are_taken_once_and_a_folder_has_no_hook(acme: Rig) -> None:
    await acme.run(sources.add, {"name": "folder", "kind": "folder"})

    with pytest.raises(Conflict, match="already"):
        await acme.run(hooks.create, {"name": "folder"})
    with pytest.raises(Refused, match="has no hook"):
        await acme.run(hooks.rotate, {"name": "folder"})
