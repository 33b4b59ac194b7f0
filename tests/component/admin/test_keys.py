"""API keys: made, rotated with an overlap, revoked, and what each is refused."""

from datetime import timedelta

import pytest

from shared.admin.access import keys
from shared.admin.errors import Conflict, NotFound, Refused
from shared.api_keys import well_formed
from tests.component.admin.rig import START, Rig


async def test_a_new_key_takes_the_place_of_one_that_goes_on_for_a_week(acme: Rig) -> None:
    old = await acme.run(keys.create, {"name": "webhook", "scopes": ["preview"]})

    new = await acme.run(keys.rotate, {"key": "webhook"})

    listed = {key.key_id: key for key in (await acme.run(keys.list_keys, {})).keys}
    assert well_formed(new.key)
    assert new.key != old.key
    assert (new.old_key_id, new.old_expires_at) == (old.key_id, START + timedelta(days=7))
    assert listed[old.key_id].expires_at == START + timedelta(days=7)
    assert (listed[new.key_id].name, listed[new.key_id].scopes) == ("webhook", ["generate", "preview"])
    assert listed[new.key_id].expires_at is None


async def test_a_key_that_expires_is_followed_by_one_that_lives_as_long(acme: Rig) -> None:
    await acme.run(keys.create, {"name": "webhook", "days": 10})
    acme.clock.at += timedelta(days=9, hours=12)

    new = await acme.run(keys.rotate, {"key": "webhook", "keep_hours": 48})

    expires = {key.key_id: key.expires_at for key in (await acme.run(keys.list_keys, {})).keys}
    assert new.old_expires_at == START + timedelta(days=10)
    assert expires[new.key_id] == acme.clock.at + timedelta(days=10)


async def test_two_keys_of_a_name_are_rotated_one_by_one(acme: Rig) -> None:
    first = await acme.run(keys.create, {"name": "webhook"})
    await acme.run(keys.create, {"name": "webhook"})

    with pytest.raises(Conflict, match="2 active keys are called 'webhook'"):
        await acme.run(keys.rotate, {"key": "webhook"})

    assert (await acme.run(keys.rotate, {"key": first.shown})).old_key_id == first.key_id


@pytest.mark.parametrize("gone", ["revoked", "expired"])
async def test_a_key_that_is_not_active_cannot_be_rotated(acme: Rig, gone: str) -> None:
    await acme.run(keys.create, {"name": "webhook", "days": 1})
    if gone == "revoked":
        await acme.run(keys.revoke, {"key": "webhook"})
    else:
        acme.clock.at += timedelta(days=2)

    with pytest.raises(NotFound, match="No active key 'webhook'"):
        await acme.run(keys.rotate, {"key": "webhook"})


async def test_a_key_of_another_org_is_out_of_reach(acme: Rig) -> None:
    other = await acme.other()
    made = await other.run(keys.create, {"name": "theirs"})

    for named in ("theirs", made.shown, str(made.key_id)):
        with pytest.raises(NotFound):
            await acme.run(keys.revoke, {"key": named})
        with pytest.raises(NotFound):
            await acme.run(keys.rotate, {"key": named})


async def test_an_admin_key_may_do_nothing_else(acme: Rig) -> None:
    made = await acme.run(keys.create, {"name": "robot", "scopes": ["admin"]})

    with pytest.raises(Refused) as refused:
        await acme.run(keys.create, {"name": "robot", "scopes": ["admin", "generate"]})

    assert made.scopes == ["admin"]
    assert refused.value.field == "scopes"
