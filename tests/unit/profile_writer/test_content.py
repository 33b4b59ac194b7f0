"""Turns that read their copies side by side."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any, cast
from uuid import UUID

from services.profile_writer.content import Contents
from services.profile_writer.rows import Key, Lane, Pending, Ref
from shared.crypto import KeyRing
from shared.db.pool import Database
from shared.schemas.copy import VariantSource, Vars
from shared.vars_codec import encode_vars

AT = datetime(2026, 11, 23, 10, tzinfo=UTC)
RING = KeyRing({"k1": bytes(32)})
SOURCES = [VariantSource(UUID(int=n), 1, f"Subject {n}", "Preheader", f"<p>Body {n}</p>") for n in range(3)]


class Stored:
    """Generation n has a copy of variant n. Whoever asks for the source `held` of waits until it is `let_go`."""

    def __init__(self, held: VariantSource) -> None:
        self._held, self.asked_for_it, self.let_go = held, asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator["Stored"]:
        yield self

    async def fetch(self, statement: str, *columns: Sequence[Any]) -> list[dict[str, Any]]:
        if statement == Contents.SELECT_VARS:
            return [_generation(SOURCES[one.int]) for one in columns[1]]
        if self._held.copy_id in columns[0]:
            self.asked_for_it.set()
            await self.let_go.wait()
        return [asdict(SOURCES[one.int]) for one in columns[0]]


def _generation(source: VariantSource) -> dict[str, Any]:
    copy = encode_vars(Vars(source.subject, source.preheader, source.body), source)
    of = {"generation_id": source.copy_id, "copy_id": source.copy_id, "variant_version": source.version}
    return {**of, "vars": copy, "stopped": False}


def pending(n: int) -> Pending:
    ref = Ref(date(2026, 11, 23), UUID(int=n), UUID(int=9))
    return Pending(Key("acct:A", f"P{n}", "jai"), ref, "write", Lane.FRESH, "welcome", AT, AT, AT, AT)


async def test_a_turn_keeps_the_copies_that_it_found_while_another_one_makes_room_for_its_own() -> None:
    stored = Stored(held=SOURCES[1])
    contents = Contents(cast(Database, stored), RING, sources_max=1)
    await contents.texts([pending(0)])

    slow = asyncio.create_task(contents.texts([pending(0), pending(1)]))
    async with asyncio.timeout(10):
        await stored.asked_for_it.wait()
    await contents.texts([pending(2)])
    stored.let_go.set()

    assert set((await slow).by_id) == {UUID(int=0), UUID(int=1)}
