"""What a service had in hand when it was asked to end, and what the broker handed out again because of that."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg

from devstack import Endpoints
from shared.messaging.topology import EXPORT_HOUR, GENERATE, INGEST_FILE, WRITE
from tests.chaos.rig import management
from tests.support.waiting import eventually

QUEUES = {"generator": GENERATE, "profile_writer": WRITE, "ingest": INGEST_FILE, "egress": EXPORT_HOUR}
_WAY = {"generator": ("accepted", "stored"), "profile_writer": ("meant", "taken")}  # what comes to it, what it has done
_PASSED = """
    SELECT (SELECT count(*) FROM generations) AS stored,
        (SELECT count(*) FROM generations WHERE decision = 'treatment') AS meant,
        (SELECT count(*) FROM pending_writes WHERE action = 'write') + (SELECT count(*) FROM write_outcomes) AS taken
"""


@dataclass
class InHand:
    """`accepted`: answers of gateways by status, as they are counted elsewhere."""

    endpoints: Endpoints
    env: Mapping[str, str]
    accepted: Counter[int]
    most: Counter[str] = field(default_factory=Counter)

    async def passed(self) -> dict[str, int]:
        """How many jobs have come by each place of their way."""
        connection = await asyncpg.connect(self.env["JUSTAI_DATABASE_URL"])
        try:
            [row] = await connection.fetch(_PASSED)
        finally:
            await connection.close()
        return {"accepted": self.accepted[202], **dict(row)}

    def ended(self, name: str, before: Mapping[str, int], after: Mapping[str, int]) -> None:
        """What came until it had ended, without what was done before it was asked to end."""
        if name in _WAY:
            comes, done = _WAY[name]
            self.most[name] += after[comes] - before[done]

    async def delivered_again(self) -> dict[str, int]:
        """Messages that were handed out a second time, by the service that takes them, once nothing is left."""
        host = quote(urlsplit(self.env["JUSTAI_AMQP_URL"]).path.removeprefix("/"), safe="")
        consumers = {queue: name for name, spec in QUEUES.items() for queue in spec.queues}
        async with management(self.endpoints) as (http, base):

            async def settled() -> list[dict[str, Any]]:
                async with http.get(f"{base}/api/queues/{host}") as answer:
                    queues: list[dict[str, Any]] = await answer.json()
                told = {one["name"]: one.get("message_stats", {}) for one in queues if one["name"] in consumers}
                came = {name: (one.get("publish", 0), one.get("ack", 0)) for name, one in told.items()}
                assert sum(published for published, _ in came.values()) >= self.accepted[202]  # its figures come late
                left = {name: counts for name, counts in came.items() if counts[0] != counts[1]}
                assert not left, f"published and acknowledged: {left}"
                return queues

            queues = await eventually(settled, within_s=40, every_s=1)
        again: Counter[str] = Counter()
        for one in queues:
            again[consumers.get(one["name"], one["name"])] += one.get("message_stats", {}).get("redeliver", 0)
        return {name: number for name, number in again.items() if number}

    async def bounded(self) -> None:
        """Nothing comes again that nobody had in hand, and never more than a consumer takes at once."""
        again = await self.delivered_again()
        print(f"\ndelivered again: {again}; at most in hand: {dict(self.most)}")  # noqa: T201  # a figure for who reads the run
        assert {name: number for name, number in again.items() if number > self.most[name]} == {}
        assert all(number <= QUEUES[name].prefetch for name, number in again.items())
