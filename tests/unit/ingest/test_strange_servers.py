"""What one customer's server, or one org's answers, must not do to the others: end the service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

from services.ingest.reconciling.reconciler import Reconciler, Totals
from services.ingest.reconciling.store import Comparisons, Due
from services.ingest.records import Listing, Source
from services.ingest.sources.poller import Ledger, Pace, Poller
from shared.clock import FrozenClock
from shared.crypto import KeyRing

ORG = UUID(int=1)
SOURCE = Source(ORG, UUID(int=2), "files.example", 22, "us", ".", "*", "", "", None)


class Strange:
    """A folder, and Klaviyo's totals, that answer in a way nobody foresaw."""

    async def list(self) -> Listing:
        raise KeyError("LastModified")

    async def metrics(self) -> Any:
        raise TypeError("an event without attributes")

    @asynccontextmanager
    async def open(self, source: Source) -> AsyncIterator["Strange"]:
        yield self


class OneSource:
    def __init__(self, source: Source) -> None:
        self._due: list[Source] = [source]
        self.failed: list[tuple[Source, str, bool]] = []

    async def take_poll_slot(self, now: datetime) -> Source | None:
        return self._due.pop() if self._due else None

    async def poll_succeeded(self, source: Source, listing: Listing, now: datetime) -> None:
        raise AssertionError("nothing was listed")

    async def poll_failed(self, source: Source, error: str, now: datetime, *, refused: bool) -> None:
        self.failed.append((source, error, refused))


async def nobody(_: object) -> None:
    raise AssertionError("nothing is to be published")


async def test_a_server_that_answers_something_unforeseen_is_said_of_its_source_and_the_next_is_polled() -> None:
    sources = OneSource(SOURCE)
    pace = Pace(tick_s=1, stable=timedelta(), requeue=timedelta(), parallel=1)
    poller = Poller(sources, cast(Ledger, None), Strange(), nobody, FrozenClock(), uuid4, pace)

    assert await poller.poll_one() is True

    said = "the server answers with something that nobody foresaw: KeyError"
    assert sources.failed == [(SOURCE, said, False)]


class Empty:
    """A folder with nothing in it."""

    async def list(self) -> Listing:
        return Listing([], 0)

    @asynccontextmanager
    async def open(self, source: Source) -> AsyncIterator["Empty"]:
        yield self


class Refusing:
    """A ledger that cannot hold what was listed."""

    async def record_listing(self, *_: object) -> None:
        raise ValueError("value out of int64 range")


async def test_a_listing_that_cannot_be_recorded_is_said_of_its_source_and_ends_nothing() -> None:
    sources = OneSource(SOURCE)
    pace = Pace(tick_s=1, stable=timedelta(), requeue=timedelta(), parallel=1)
    poller = Poller(sources, cast(Ledger, Refusing()), Empty(), nobody, FrozenClock(), uuid4, pace)

    assert await poller.poll_one() is True

    assert sources.failed == [(SOURCE, "the listing cannot be recorded: ValueError", False)]


class OneOrg:
    """Of the comparisons, and of what an org has of its own."""

    def __init__(self, due: Due) -> None:
        self._due = due
        self.put_off_for: list[str | None] = []
        self.newest_at = None

    async def claim(self, claim_id: UUID, now: datetime, lease: timedelta) -> Due | None:
        return self._due

    async def take_report(self, account_key: str, now: datetime) -> bool:
        return True

    def ours(self, org_id: UUID) -> "OneOrg":
        return self

    async def files(self, since: datetime, until: datetime) -> "OneOrg":
        return self

    async def put_off(
        self, due: Due, until: datetime, *, now: datetime | None = None, problem: str | None = None
    ) -> None:
        self.put_off_for.append(problem)


async def test_totals_that_nobody_foresaw_put_their_org_off_and_end_nothing() -> None:
    ring = KeyRing({"k1": bytes(32)})
    due = Due(ORG, uuid4(), "acct:A", "https://k.example", ring.seal("pk_1", f"{ORG}/klaviyo"), frozenset(), 1)
    org = OneOrg(due)
    reconciler = Reconciler(
        cast(Comparisons, org), lambda url, key: cast(Totals, Strange()), ring, FrozenClock(), uuid4,
        every=timedelta(hours=1), tick_s=1,
    )  # fmt: skip

    assert await reconciler.compare_one() is True

    assert org.put_off_for == ["Klaviyo's answer was not understood: TypeError"]
