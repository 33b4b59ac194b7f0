"""What leads services to places that a sound day does not cross: a bucket that refuses, a key of another account, a
template that nobody has fitted yet. Each is made by what an administrator, a customer or Klaviyo does, and mended."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import Any, ClassVar
from uuid import uuid4

import aiohttp

from devstack.seeds import INSERT_ORG
from devstack.services import CommandFailed, run_justai
from shared.clock import FrozenClock
from shared.crypto import KeyRing
from simulator.people.hooks import signed_batch
from simulator.world import World
from tests.chaos.client import webhooks
from tests.chaos.oracle import Violation
from tests.chaos.orgs import INSERT_VARIANT, INSERT_VERSION, Org
from tests.chaos.rig import Rig
from tests.support.klaviyo_events import Mail
from tests.support.waiting import eventually

_HOUR_S = 3600
_WITHIN_S = 60.0
_ASKED = slice(0, 150)
_entries = count()

SET_ACCESS_KEY = "UPDATE export_targets SET access_key = $2 WHERE org_id = $1"
SET_TABLES = "UPDATE export_targets SET tables = $2 WHERE org_id = $1"
COUNT_FOLDERS = "SELECT count(*) FROM export_targets WHERE org_id = $1 AND bucket = ''"
RENAME_QUOTA = "UPDATE integrations SET account_key = account_key || '.' WHERE org_id = $1"
COUNT_LEFT_BEHIND = """
    SELECT (SELECT count(*) FROM profile_state s JOIN integrations i USING (org_id)
            WHERE s.account_key <> i.account_key)
         + (SELECT count(*) FROM pending_writes p JOIN integrations i USING (org_id)
            WHERE p.account_key <> i.account_key)
"""
PUT_ASIDE = """
    WITH gone AS (DELETE FROM integrations WHERE org_id = $1 RETURNING *)
    SELECT to_jsonb(gone) FROM gone
"""
PUT_BACK = "INSERT INTO integrations SELECT * FROM jsonb_populate_record(NULL::integrations, $1)"
SET_POLICY = "UPDATE templates SET policy = $2 WHERE org_id = $1"
COUNT_UNFITTED = """
    SELECT count(*) FROM templates t LEFT JOIN policy_fits p USING (org_id, template_id)
    WHERE t.org_id = $1 AND (p.fitted_at IS NULL OR p.fitted_at < $2 OR p.error IS NOT NULL)
"""
COUNT_UNCOMPARED = "SELECT count(*) FROM reconcile_orgs WHERE compared_at IS NULL OR compared_at < $1"
INSERT_SOURCE = "INSERT INTO sources (source_id, org_id, name, kind, poll_s) VALUES ($1, $2, $3, $4, 1)"
SWITCH_OFF = "UPDATE sources SET enabled = false WHERE source_id = $1"
SELECT_RECEIVED = """
    SELECT count(*) FROM events e JOIN ingest_files f USING (file_id)
    WHERE f.source_id = $1 AND e.metric = 'Received Email'
"""
INSERT_HOOK = "INSERT INTO event_hooks VALUES ($1, $2, $3, $4, NULL, NULL, $5)"
SELECT_BATCHES = "SELECT count(*) FROM event_batches WHERE source_id = $1"
COUNT_REFUSED = "SELECT count(*) FROM refused_webhooks WHERE org_id = $1"
SELECT_LOADED = """
    SELECT coalesce(sum(rows), 0)::int FROM ingest_files
    WHERE source_id = $1 AND state = 'done' AND superseded_by IS NULL
"""


class Trouble:
    """One kind. In this order: `before` the service is started so that it dies, `during` until it has, `after` it was
    started again. `allowed`: what the oracle finds and this trouble asks for."""

    env: Mapping[str, str] = {}

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig, self.seed = rig, seed

    async def before(self) -> None: ...
    async def during(self) -> None: ...
    async def after(self) -> None: ...

    def allowed(self, one: Violation) -> bool:
        return False

    @property
    def org(self) -> Org:
        return self.rig.orgs[0]

    async def ask(self) -> None:
        await self.rig.client.load(webhooks(self.rig.orgs, 6, self.seed, people=_ASKED), 40)

    async def emailed(self) -> None:
        """Others enter the flows, and their emails leave."""
        number = next(_entries)
        await self.rig.enter(slice(_ASKED.stop + 2 * number, _ASKED.stop + 2 * (number + 1)))
        await self.rig.settled()
        await self.rig.emails_left()

    async def none_left(self, statement: str, *values: object) -> None:
        async def done() -> None:
            assert await self.rig.fetchval(statement, *values) == 0

        await eventually(done, within_s=_WITHIN_S, every_s=0.25)


class RefusingBucket(Trouble):
    """An hour is due, and the bucket does not know our key."""

    async def before(self) -> None:
        await self.rig.execute(SET_ACCESS_KEY, self.org.org_id, "nobody")
        await self.ask()
        await self.rig.settled()

    async def during(self) -> None:
        self._until = self.rig.leap_to_the_next_hour()

    async def after(self) -> None:
        await self.rig.execute(SET_ACCESS_KEY, self.org.org_id, self.rig.endpoints.s3_access_key)
        await self.rig.exported(self._until)


class TableOfVariants(Trouble):
    """The analyst asks for the table of variants too."""

    async def before(self) -> None:
        await self.rig.execute(SET_TABLES, self.org.org_id, ["variants"])
        await self.ask()
        await self.rig.settled()

    async def during(self) -> None:
        self._until = self.rig.leap_to_the_next_hour()

    async def after(self) -> None:
        await self.rig.exported(self._until)
        await self.rig.execute(SET_TABLES, self.org.org_id, [])


class OrgWithoutBucket(Trouble):
    """The installation offers a folder, and an org has named no bucket."""

    async def before(self) -> None:
        folder = self.rig.folder / "exports"
        folder.mkdir(exist_ok=True)
        self.env = {"JUSTAI_EGRESS_FOLDER": str(folder)}
        self._org_id = uuid4()
        await self.rig.execute(INSERT_ORG, self._org_id, f"bare-{self._org_id}", self.rig.clock.now())

    async def after(self) -> None:
        async def given() -> None:
            assert await self.rig.fetchval(COUNT_FOLDERS, self._org_id) == 1

        await eventually(given, within_s=_WITHIN_S, every_s=0.25)


class UnfittedTemplate(Trouble):
    """A variant is approved, and the ranker has not looked since."""

    async def before(self) -> None:
        rig, copy_id, now = self.rig, uuid4(), self.rig.clock.now()
        await rig.processes.end("ranker")
        await rig.execute(INSERT_VARIANT.replace("'A'", f"'{copy_id}'"), self.org.org_id, copy_id, now)
        await rig.execute(INSERT_VERSION, self.org.org_id, copy_id, now)

    async def during(self) -> None:
        await self.ask()

    async def after(self) -> None:
        await self.rig.start("ranker")


class NoConnection(Trouble):
    """An org takes its connection to Klaviyo away, and webhooks still come."""

    async def during(self) -> None:
        self._row = await self.rig.fetchval(PUT_ASIDE, self.org.org_id)
        await self.ask()

    async def after(self) -> None:
        await self.rig.settled()
        await self.rig.execute(PUT_BACK, self._row)

    def allowed(self, one: Violation) -> bool:
        return one.kind == "missed" and one.what == "rejected: no_integration"


class OtherQuota(Trouble):
    """What an org's profiles hold is under one quota, and its new key is under another one."""

    async def before(self) -> None:
        await self.ask()
        await self.rig.settled()

    async def during(self) -> None:
        await self.rig.execute(RENAME_QUOTA, self.org.org_id)

    async def after(self) -> None:
        await self.none_left(COUNT_LEFT_BEHIND)
        self.seed += 1
        await self.ask()


class WrongPolicy(Trouble):
    """Somebody wrote a template's policy by hand, and wrongly."""

    async def during(self) -> None:
        await self.rig.execute(SET_POLICY, self.org.org_id, json.dumps({"reward": 1}))

    async def after(self) -> None:
        since = self.rig.clock.now()
        mended = {"window_h": 24 + self.seed % 100}  # another one than the last that was fitted
        await self.rig.execute(SET_POLICY, self.org.org_id, json.dumps(mended))
        self.rig.leap(_HOUR_S)
        await self.none_left(COUNT_UNFITTED, self.org.org_id, since)


class HourOfComparing(Trouble):
    """Counts are due to be compared with Klaviyo's own."""

    fault: ClassVar[Mapping[str, Any] | None] = None

    async def before(self) -> None:
        if self.fault is not None:
            await self.org.box.break_down(**self.fault)

    async def during(self) -> None:
        self._since = self.rig.clock.now()
        self.rig.leap(_HOUR_S)

    async def after(self) -> None:
        await self.org.box.mend()
        self.rig.leap(_HOUR_S)  # past the lease of who died, and the wait of who was put off
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

        await eventually(loaded, within_s=_WITHIN_S, every_s=0.25)

    async def _send(self) -> None:
        url = f"{self.rig.gateway_url}/api/klaviyo-events/{self.org.slug}/{self._hook_id}"

        async def accepted() -> None:
            try:
                async with self.rig.http.post(url, data=self._batch.body, headers=self._batch.headers) as answer:
                    assert answer.status == 202, await answer.text()
            except aiohttp.ClientError as failure:
                raise AssertionError(str(failure)) from failure

        await eventually(accepted, within_s=_WITHIN_S, every_s=0.25)


class BatchToRead(BatchOfEvents):
    """The same, and it is read at once: the reader is who dies."""

    async def during(self) -> None:
        await super().during()
        await self._sent
        self.rig.leap(120)


class RefusedWebhook(Trouble):
    """A flow's webhook brings no key, and is told so for as long as it comes: what the org is told has that kind."""

    async def during(self) -> None:
        await eventually(self._refused, within_s=_WITHIN_S, every_s=0.25)

    async def after(self) -> None:
        async def told() -> None:
            await self._refused()
            assert await self.rig.fetchval(COUNT_REFUSED, self.org.org_id) > 0

        await eventually(told, within_s=_WITHIN_S, every_s=0.25)

    async def _refused(self) -> None:
        url = f"{self.rig.gateway_url}/api/generate/{self.org.slug}"
        try:
            async with self.rig.http.post(url, data=b"{}") as answer:
                assert answer.status == 401, await answer.text()
        except aiohttp.ClientError as failure:
            raise AssertionError(str(failure)) from failure


class EventsOfKlaviyo(Trouble):
    """An org's events are read from Klaviyo itself."""

    async def before(self) -> None:
        self._source_id = uuid4()
        await self.rig.execute(INSERT_SOURCE, self._source_id, self.org.org_id, f"{self._source_id}", "klaviyo")

    async def after(self) -> None:
        await self.emailed()
        self.rig.leap(_HOUR_S)  # the window of those emails is closed

        async def received() -> None:
            assert await self.rig.fetchval(SELECT_RECEIVED, self._source_id) == 2

        await eventually(received, within_s=_WITHIN_S, every_s=0.25)
        await self.rig.execute(SWITCH_OFF, self._source_id)


class Somebody(Trouble):
    """Tries something by a command, which a service answers: another try says how it is."""

    told: tuple[str, ...] = ()

    async def during(self) -> None:
        self._first = asyncio.create_task(run_justai(self.rig.env, *self.told))

    async def after(self) -> None:
        with suppress(CommandFailed):
            await self._first
        assert await run_justai(self.rig.env, *self.told)


class TriedBucket(Somebody):
    """An administrator has the exporter try a bucket."""

    async def before(self) -> None:
        self.told = ("export", "test", self.org.slug)


class PreviewedFile(Somebody):
    """An analyst looks how a file would be read."""

    async def before(self) -> None:
        await self.emailed()
        await self.org.box.export(".", layout="nested", format="csv")
        self.told = ("source", "preview", self.org.slug, "sftp")


TROUBLES: Mapping[str, tuple[str, type[Trouble]]] = {
    "a bucket that refuses": ("egress", RefusingBucket),
    "the table of variants": ("egress", TableOfVariants),
    "an org without a bucket": ("egress", OrgWithoutBucket),
    "a template that nobody has fitted": ("generator", UnfittedTemplate),
    "an org without a connection": ("profile_writer", NoConnection),
    "a key of another account": ("profile_writer", OtherQuota),
    "a policy that is wrong": ("ranker", WrongPolicy),
    "an hour that is compared": ("ingest", HourOfComparing),
    "totals that fail": ("ingest", TotalsThatFail),
    "a batch of events": ("gateway", BatchOfEvents),
    "a webhook that is refused": ("gateway", RefusedWebhook),
    "a batch that is read": ("ingest", BatchToRead),
    "events that Klaviyo is asked for": ("ingest", EventsOfKlaviyo),
    "a bucket that is tried": ("egress", TriedBucket),
    "a file that is previewed": ("ingest", PreviewedFile),
}
"""Whom it leads astray, by its name in sites.yaml."""
