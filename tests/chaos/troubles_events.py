"""What leads the readers of events astray: a batch, a file or Klaviyo's own list, and what they are compared with."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar
from uuid import uuid4

import aiohttp

from services.ingest.settings import Settings
from shared.clock import FrozenClock
from shared.crypto import KeyRing
from simulator.people.hooks import signed_batch
from simulator.world import World
from tests.chaos.trouble import HOUR_S, WITHIN_S, Somebody, Trouble
from tests.support.klaviyo_events import Mail
from tests.support.waiting import eventually

COUNT_UNCOMPARED = "SELECT count(*) FROM reconcile_orgs WHERE compared_at IS NULL OR compared_at < $1"
INSERT_SOURCE = "INSERT INTO sources (source_id, org_id, name, kind, poll_s) VALUES ($1, $2, $3, $4, 1)"
SWITCH_OFF = "UPDATE sources SET enabled = false WHERE source_id = $1"
COUNT_RECEIVED = """
    SELECT count(DISTINCT e.profile_id) FROM events e JOIN ingest_files f USING (file_id)
    WHERE f.source_id = $1 AND e.metric = 'Received Email' AND e.profile_id = ANY($2) AND e.event_at >= $3
"""
INSERT_HOOK = "INSERT INTO event_hooks VALUES ($1, $2, $3, $4, NULL, NULL, $5)"
SELECT_BATCHES = "SELECT count(*) FROM event_batches WHERE source_id = $1"
SELECT_LOADED = """
    SELECT coalesce(sum(rows), 0)::int FROM ingest_files
    WHERE source_id = $1 AND state = 'done' AND superseded_by IS NULL
"""

_EARLY_H = 1
_READ_AGAIN_S = int(Settings.model_fields["ingest_klaviyo_overlap_s"].default) + HOUR_S // 4


class HourOfComparing(Trouble):
    """Counts are due to be compared with Klaviyo's own."""

    fault: ClassVar[Mapping[str, Any] | None] = None

    async def before(self) -> None:
        if self.fault is not None:
            await self.org.box.break_down(**self.fault)

    async def during(self) -> None:
        self._since = self.rig.clock.now()
        self.rig.leap(HOUR_S)

    async def after(self) -> None:
        await self.org.box.mend()
        self.rig.leap(HOUR_S)  # past the lease of who died, and the wait of who was put off
        await self.none_left(COUNT_UNCOMPARED, self._since)


class TotalsThatFail(HourOfComparing):
    """The same, and Klaviyo does not answer."""

    fault: ClassVar = {"kind": "status", "status": 500, "operation": "get_metrics"}


class BatchOfEvents(Trouble):
    """Klaviyo's system webhook brings a batch, and brings it again until it is accepted."""

    async def before(self) -> None:
        rig, now = self.rig, self.rig.clock.now()
        self._source_id, self._hook_id, secret = uuid4(), uuid4(), "s" * 43
        sealed = KeyRing(rig.env["JUSTAI_SEAL_KEYS"]).seal(secret, f"{self.org.org_id}/hook/{self._hook_id}")
        await rig.execute(INSERT_SOURCE, self._source_id, self.org.org_id, f"{self._hook_id}", "webhook")
        await rig.execute(INSERT_HOOK, self._source_id, self.org.org_id, self._hook_id, sealed, now)
        account = World(FrozenClock()).add_account("Corner Shop")
        mails = [Mail(account, now - timedelta(minutes=5), f"01P{one}{self._hook_id}") for one in range(2)]
        self._batch = signed_batch(account.id, [one.received() for one in mails], secret, "hook1", now)

    async def during(self) -> None:
        self._sent = asyncio.create_task(self._send())

    async def after(self) -> None:
        await self._sent
        assert await self.rig.fetchval(SELECT_BATCHES, self._source_id) == 1
        self.rig.leap(120)  # its minute is over, and looked at unchanged

        async def loaded() -> None:
            assert await self.rig.fetchval(SELECT_LOADED, self._source_id) == 2

        await eventually(loaded, within_s=WITHIN_S, every_s=0.25)

    async def _send(self) -> None:
        url = f"{self.rig.gateway_url}/api/klaviyo-events/{self.org.slug}/{self._hook_id}"

        async def accepted() -> None:
            try:
                async with self.rig.http.post(url, data=self._batch.body, headers=self._batch.headers) as answer:
                    assert answer.status == 202, await answer.text()
            except aiohttp.ClientError as failure:
                raise AssertionError(str(failure)) from failure

        await eventually(accepted, within_s=WITHIN_S, every_s=0.25)


class BatchToRead(BatchOfEvents):
    """The same, and it is read at once: the reader is who dies."""

    async def during(self) -> None:
        await super().during()
        await self._sent
        self.rig.leap(120)


class EventsOfKlaviyo(Trouble):
    """An org's events are read from Klaviyo itself."""

    async def before(self) -> None:
        # A new source reads its day from the beginning, in windows of minutes: the later, the longer that takes.
        if (now := self.rig.clock.now()).hour >= _EARLY_H:
            self.rig.leap((24 - now.hour) * HOUR_S)
        self._source_id = uuid4()
        await self.rig.execute(INSERT_SOURCE, self._source_id, self.org.org_id, f"{self._source_id}", "klaviyo")

    async def after(self) -> None:
        since = self.rig.clock.now().replace(microsecond=0)
        people = await self.emailed()
        self.rig.leap(_READ_AGAIN_S)  # a leap over a window's end lets emails leave in it that was read already

        async def received() -> None:
            # Emails of those who entered before may leave in the same window, and to the same people.
            found = await self.rig.fetchval(COUNT_RECEIVED, self._source_id, people, since)
            assert found == len(people), f"{found} of {len(people)} are there"

        try:
            await eventually(received, within_s=WITHIN_S, every_s=0.25)
        finally:  # its windows would keep those of the next one waiting
            await self.rig.execute(SWITCH_OFF, self._source_id)


class PreviewedFile(Somebody):
    """An analyst looks how a file would be read."""

    async def before(self) -> None:
        await self.emailed()
        await self.org.box.export(".", layout="nested", format="csv")
        self.told = ("source", "preview", self.org.slug, "sftp")
