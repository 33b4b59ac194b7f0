"""What leads services to places that a sound day does not cross: a bucket that refuses, a key of another account, a
template that nobody has fitted yet. Each is made by what an administrator, a customer or Klaviyo does, and mended."""

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from uuid import uuid4

import aiohttp

from devstack.seeds import INSERT_ORG
from devstack.services import run_justai
from tests.chaos.oracle import Violation
from tests.chaos.orgs import INSERT_VARIANT, INSERT_VERSION
from tests.chaos.trouble import HOUR_S, WITHIN_S, Somebody, Trouble
from tests.chaos.troubles_events import (
    BatchOfEvents,
    BatchToRead,
    EventsOfKlaviyo,
    HourOfComparing,
    PreviewedFile,
    TotalsThatFail,
)
from tests.support.link import link_to
from tests.support.waiting import eventually

SET_ACCESS_KEY = "UPDATE export_targets SET access_key = $2 WHERE org_id = $1"
SET_TABLES = "UPDATE export_targets SET tables = $2 WHERE org_id = $1"
CHANGE_LAYOUT = """
    UPDATE export_targets SET layout = CASE layout WHEN 'plain' THEN 'hive' ELSE 'plain' END WHERE org_id = $1
"""
COUNT_FOLDERS = "SELECT count(*) FROM export_targets WHERE org_id = $1 AND bucket = ''"
RENAME_QUOTA = "UPDATE integrations SET account_key = account_key || '.' WHERE org_id = $1"
COUNT_LEFT_BEHIND = """
    SELECT (SELECT count(*) FROM profile_state s JOIN integrations i USING (org_id)
            WHERE s.account_key <> i.account_key)
         + (SELECT count(*) FROM pending_writes p JOIN integrations i USING (org_id)
            WHERE p.account_key <> i.account_key)
"""
COUNT_REFUSED = "SELECT count(*) FROM refused_webhooks WHERE org_id = $1"
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

        await eventually(given, within_s=WITHIN_S, every_s=0.25)


class ChangedLayout(Trouble):
    """Folders are to be called otherwise, and an hour that lies under its old name is exported again."""

    async def before(self) -> None:
        await self.ask()
        await self.rig.settled()
        self._until = self.rig.leap_to_the_next_hour()
        await self.rig.exported(self._until)
        await self.rig.execute(CHANGE_LAYOUT, self.org.org_id)

    async def during(self) -> None:
        start, end = (f"{at:%Y-%m-%dT%H}" for at in (self._until - timedelta(hours=1), self._until))
        told = ("export", "backfill", self.org.slug, "--from", start, "--to", end)
        self._told = asyncio.create_task(run_justai(self.rig.env, *told))  # it ends when the hour is there

    async def after(self) -> None:
        await self._told
        await self.rig.exported(self._until)


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
        self.rig.leap(HOUR_S)
        await self.none_left(COUNT_UNFITTED, self.org.org_id, since)


class Stop(Trouble):
    """A writer that has work in hand is asked to stop, and dies on its way out."""

    async def during(self) -> None:
        await self.rig.ready("profile_writer", within_s=WITHIN_S)
        await self.ask()
        os.kill(self.rig.pid("profile_writer"), signal.SIGTERM)


class StopWithoutDatabase(Trouble):
    """A generator that waits for its database with jobs in hand is asked to stop, and gives them back."""

    async def before(self) -> None:
        self._stack = AsyncExitStack()
        self._link, through = await self._stack.enter_async_context(link_to(self.rig.database_url))
        self.env = {"JUSTAI_DATABASE_URL": through}

    async def during(self) -> None:
        rig = self.rig
        await rig.ready("generator", within_s=WITHIN_S)
        self._link.cut()
        await self.ask()
        log = rig.folder / "logs" / "generator.log"
        await eventually(lambda: "consumer.outage" in log.read_text(), within_s=WITHIN_S, every_s=0.1)
        os.kill(rig.pid("generator"), signal.SIGTERM)
        await eventually(lambda: rig.processes.exit_code("generator") is not None, within_s=WITHIN_S, every_s=0.05)
        self._link.mend()

    async def after(self) -> None:
        await self.rig.settled()
        await self.rig.processes.end("generator")
        await self.rig.start("generator")  # by its own line
        await self._stack.aclose()


class RefusedWebhook(Trouble):
    """A flow's webhook brings no key, and is told so for as long as it comes: what the org is told has that kind."""

    async def during(self) -> None:
        await eventually(self._refused, within_s=WITHIN_S, every_s=0.25)

    async def after(self) -> None:
        async def told() -> None:
            await self._refused()
            assert await self.rig.fetchval(COUNT_REFUSED, self.org.org_id) > 0

        await eventually(told, within_s=WITHIN_S, every_s=0.25)

    async def _refused(self) -> None:
        url = f"{self.rig.gateway_url}/api/generate/{self.org.slug}"
        try:
            async with self.rig.http.post(url, data=b"{}") as answer:
                assert answer.status == 401, await answer.text()
        except aiohttp.ClientError as failure:
            raise AssertionError(str(failure)) from failure


class TriedBucket(Somebody):
    """An administrator has the exporter try a bucket."""

    async def before(self) -> None:
        self.told = ("export", "test", self.org.slug)


TROUBLES: Mapping[str, tuple[str, type[Trouble]]] = {
    "a bucket that refuses": ("egress", RefusingBucket),
    "the table of variants": ("egress", TableOfVariants),
    "an org without a bucket": ("egress", OrgWithoutBucket),
    "a template that nobody has fitted": ("generator", UnfittedTemplate),
    "an org without a connection": ("profile_writer", NoConnection),
    "a key of another account": ("profile_writer", OtherQuota),
    "a layout that is changed": ("egress", ChangedLayout),
    "a policy that is wrong": ("ranker", WrongPolicy),
    "a stop": ("profile_writer", Stop),
    "a stop without a database": ("generator", StopWithoutDatabase),
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
