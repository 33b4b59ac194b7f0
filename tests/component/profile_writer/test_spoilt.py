"""An account of whose rows nobody can make a turn costs no other account its writes."""

from datetime import timedelta

from tests.component.profile_writer.rig import rigged, writing

SPOIL = "UPDATE pending_writes SET deadline_at = '-infinity', next_attempt_at = 'infinity' WHERE org_id = $1"
LET_GO = "UPDATE klaviyo_accounts SET blocked_until = NULL, runnable_at = $2 WHERE account_key = $1"


async def test_rows_that_no_turn_can_be_made_of_keep_no_other_account_waiting(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        other = await rig.neighbour("other")
        (spoilt,), (well,) = rig.people(1), other.people(1)
        await rig.hold(until=rig.clock.now() + timedelta(hours=1))
        await rig.send(await rig.generate(spoilt, delay_s=3600))
        await rig.taken_in(1)
        async with rig.db.connection() as connection:
            await connection.execute(SPOIL, rig.org_id)
            await connection.execute(LET_GO, f"acct:{rig.account.id}", rig.clock.now())

        await other.send(await other.generate(well))

        assert {row["outcome"] for row in (await other.outcomes(1)).values()} == {"written"}
