"""Asking for all of an org to be computed anew, and how far it is."""

from shared.admin.orgs import recounting
from tests.component.admin.rig import Rig


async def store(rig: Rig, **columns: object) -> None:
    async with rig.database.transaction() as connection:
        for name, value in columns.items():
            await connection.execute(f"UPDATE recounts SET {name} = $1", value)


async def test_it_is_asked_for_once_until_it_has_ended(acme: Rig) -> None:
    assert await acme.run(recounting.progress, {}, "viewer") == recounting.Recount()

    first = await acme.run(recounting.recount, {}, "editor")
    await store(acme, days=[acme.clock.at.date()], total=3)
    again = await acme.run(recounting.recount, {}, "editor")

    assert (first.asked_at, first.days, first.ended_at) == (acme.clock.at, None, None)
    assert (again.asked_at, again.days, again.done) == (first.asked_at, 3, 2)
    await store(acme, days=[], ended_at=acme.clock.at)
    ended = await acme.run(recounting.progress, {}, "viewer")
    assert (ended.done, ended.ended_at) == (3, acme.clock.at)
    anew = await acme.run(recounting.recount, {}, "editor")
    assert (anew.days, anew.ended_at) == (None, None)
