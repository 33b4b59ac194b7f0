"""Work that takes a moment, so that a kill finds it in hand: a large file of events, closed hours, writes under way."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

import asyncpg

from bench.ingest_files import Files, Maker
from tests.chaos.ledgers import remove_exported
from tests.chaos.load import busy
from tests.chaos.orgs import Org
from tests.chaos.rig import Rig
from tests.chaos.servers import frozen
from tests.support.waiting import eventually

ROWS = 10_000  # of a file; it takes half a second and more

SELECT_HELD: Mapping[str, str] = {
    "profile_writer": """
        SELECT taken_by::text AS who, count(*) AS held FROM pending_writes WHERE taken_by IS NOT NULL GROUP BY taken_by
    """,
    "ingest": """
        SELECT claim_id::text AS who, 1 AS held FROM ingest_files WHERE state = 'loading' AND claim_id IS NOT NULL
    """,
    "egress": """
        SELECT concat_ws(' ', org_id, table_name, hour, epoch) AS who, 1 AS held
        FROM export_hours WHERE state = 'exporting' AND lease_until IS NOT NULL
    """,
}
"""What each has in hand, by whom or under which claim: what a dead one held stands there until its lease is over."""
ASK_AGAIN = """
    UPDATE export_hours SET dirty_seq = dirty_seq + 1, reason = 'backfill', state = 'pending', due_at = $1
    WHERE state = 'exported'
"""
SELECT_LOADED = """
    SELECT f.state, count(e.event_id) AS events FROM ingest_files f LEFT JOIN events e USING (org_id, file_id)
    WHERE regexp_replace(f.path, '^.*/', '') = $1 GROUP BY f.file_id, f.state
"""


class InHand:
    """Kills services of a rig that have something in hand. `held`: how much each had at its kills."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._dead: set[str] = set()
        self._made: list[tuple[Files, str]] = []
        self._laid: list[tuple[Files, str]] = []
        self.held: Counter[str] = Counter()

    async def prepare(self, files: int) -> None:
        """So many files of events, and a closed hour of each org. To be called when all is quiet."""
        rig, maker = self._rig, Maker()
        try:
            for number in range(files):
                org, start = rig.orgs[number % len(rig.orgs)], rig.clock.now() - timedelta(hours=6)
                one = await asyncio.to_thread(maker.make, rig.events, f"made-{number}", ROWS, 1, start)
                self._made.append((one, _name(org, number)))
        finally:
            maker.close()
        await rig.exported(rig.leap_to_the_next_hour())

    async def kill(self, victim: str) -> None:
        """SIGKILL; to those that look for work themselves, with some of it in hand."""
        rig = self._rig
        if victim == "ingest":
            one, name = self._made.pop()
            one.paths[0].rename(rig.events / name)
            self._laid.append((one, name))
        elif victim == "egress":
            await self._have_hours_exported()
        if victim in SELECT_HELD:
            await eventually(lambda: self._caught(victim), within_s=busy(60), every_s=0.02)
        else:
            await rig.processes.end(victim, kill=True)

    async def all_loaded(self) -> int:
        """Until every file that was laid down is read, each of its events once; how many those are."""

        async def done() -> None:
            for one, name in self._laid:
                row = await self._rig.fetchrow(SELECT_LOADED, name)
                assert row is not None, name
                assert tuple(row) == ("done", one.events), name

        await eventually(done, within_s=busy(60), every_s=0.25)
        return sum(one.events for one, _ in self._laid)

    async def _have_hours_exported(self) -> None:
        """Again, and their objects are gone meanwhile, so that they have to be uploaded."""
        rig = self._rig
        assert rig.exported_until is not None
        await rig.exported(rig.exported_until)  # nobody is between his upload and its record
        await asyncio.to_thread(remove_exported, rig.endpoints, rig.bucket, [org.slug for org in rig.orgs])
        await rig.execute(ASK_AGAIN, rig.clock.now())

    async def _caught(self, victim: str) -> bool:
        if not await self._holding(victim):
            return False
        with frozen(self._rig.pid(victim)):  # what it held a moment ago may be done
            if not (found := await self._holding(victim)):
                return False
            await self._rig.processes.end(victim, kill=True)
        self._dead |= {row["who"] for row in found}
        self.held[victim] += sum(row["held"] for row in found)
        return True

    async def _holding(self, victim: str) -> list[asyncpg.Record]:
        return [row for row in await self._rig.fetch(SELECT_HELD[victim]) if row["who"] not in self._dead]


def _name(org: Org, number: int) -> str:
    """One that the org's source takes."""
    return f"klaviyo_events_{org.account_id}_large_{number}.csv"
