"""Starts a service as it starts itself, and kills it where it commits, publishes, acknowledges or uploads.

    python -m tests.chaos.failing generator --report FILE                                  lists where it does so
    python -m tests.chaos.failing generator --report FILE --at 'publish … Publisher.send' --when after --nth 1
    python -m tests.chaos.failing generator --report FILE --refuse 0.01     has PostgreSQL refuse one in a hundred
    python -m tests.chaos.failing egress --report FILE --part-bytes 5242880     puts what is larger in parts
    python -m tests.chaos.failing cli --report FILE --at … -- dead replay write    kills our own command

Nothing of this is in the services: the calls that leave the process are wrapped here, at the client libraries' own
doors, before the service is built. A crossing is named by what it does and by the innermost function of ours that did
it; `sites` finds the same names by reading the code. The kill is `os._exit`: no handler, no finally, no farewell.
"""

import argparse
import functools
import importlib
import json
import os
import random
import re
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import aio_pika.exchange
import aio_pika.message
import asyncpg
import asyncpg.transaction
from aiobotocore.client import AioBaseClient

from shared import runtime
from shared.db.pool import Database
from shared.messaging import wire
from shared.messaging.consumer import Consumer

ROOT = Path(__file__).parents[2]
EXIT_CODE = 137
OURS = (f"{ROOT}/services/", f"{ROOT}/shared/")
PASSED_THROUGH = {  # whoever asked for the transaction is told instead
    ("shared/db/pool.py", "Database.connection"),
    ("shared/db/pool.py", "Database.transaction"),
    ("shared/db/versions.py", "Versions.get"),
    ("services/profile_writer/store.py", "Store.desk"),
    ("services/profile_writer/store.py", "Store.free_desk"),
}
CHANGES = re.compile(r"\bINSERT\s+INTO\b|\bUPDATE\s+\w+\s+(AS\s+)?\w*\s*SET\b|\bDELETE\s+FROM\b|\bensure_partition\b")
"""Statements that change something, and so commit by themselves outside of a transaction."""
UPLOADS = {"PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "DeleteObject"}

When = Literal["before", "after"]
Crossing = tuple[str, int]
"""A site, and the how many-th crossing of it: several may be under way."""


class Failpoints:
    """Counts crossings, reports each site once, and ends the process at the wanted one."""

    def __init__(self, report: Path, at: str | None, when: When, nth: int) -> None:
        self._report, self._at, self._when, self._nth = report, at, when, nth
        self._counts: Counter[str] = Counter()

    def crossing(self, kind: str) -> Crossing | None:
        """What is about to be crossed; None where nobody of ours is at work."""
        frame = _ours(sys._getframe(2))
        if frame is None:
            return None
        site = " ".join((kind, *_place(frame)))
        self._counts[site] += 1
        if self._counts[site] == 1:
            with self._report.open("a") as report:
                report.write(json.dumps({"site": site, "line": frame.f_lineno}) + "\n")
        crossing = site, self._counts[site]
        self._end_if(crossing, "before")
        return crossing

    def crossed(self, crossing: Crossing | None) -> None:
        if crossing is not None:
            self._end_if(crossing, "after")

    def _end_if(self, crossing: Crossing, when: When) -> None:
        if crossing == (self._at, self._nth) and when == self._when:
            os._exit(EXIT_CODE)


def _ours(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of ours, from here outwards along what is awaited."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(OURS) and _place(frame) not in PASSED_THROUGH:
            return frame
        frame = frame.f_back
    return None


def _place(frame: FrameType) -> tuple[str, str]:
    """File and outermost function."""
    code = frame.f_code
    return str(Path(code.co_filename).relative_to(ROOT)), code.co_qualname.partition(".<locals>")[0]


def install(points: Failpoints, uploads: Collection[str] = UPLOADS) -> None:
    """Wrap the doors; those of S3 for these calls alone."""

    def wrapped(call: Callable[..., Awaitable[Any]], kind: str, wanted: Callable[..., bool]) -> Callable[..., Any]:
        @functools.wraps(call)
        async def crossing(*args: Any, **kwargs: Any) -> Any:
            under_way = points.crossing(kind) if wanted(*args, **kwargs) else None
            result = await call(*args, **kwargs)
            points.crossed(under_way)
            return result

        return crossing

    def always(*_: Any, **__: Any) -> bool:
        return True

    def by_itself(connection: Any, statement: str, *_: Any, **__: Any) -> bool:
        return not connection.is_in_transaction() and CHANGES.search(statement) is not None

    def outermost(transaction: Any) -> bool:
        return not transaction._nested and not transaction._readonly

    def put(cls: Any, name: str, kind: str, wanted: Callable[..., bool] = always) -> None:
        setattr(cls, name, wrapped(getattr(cls, name), kind, wanted))

    put(asyncpg.transaction.Transaction, "_Transaction__commit", "commit", outermost)
    for name in ("execute", "executemany", "fetch", "fetchrow", "fetchval"):
        put(asyncpg.Connection, name, "commit", by_itself)
    put(wire, "publish", "publish")
    put(aio_pika.exchange.Exchange, "publish", "publish")
    for name in ("ack", "nack", "reject"):
        put(aio_pika.message.IncomingMessage, name, "ack")
    _wrap_uploads(points, uploads)


def _wrap_uploads(points: Failpoints, uploads: Collection[str]) -> None:
    call = AioBaseClient._make_api_call

    def make_api_call(self: Any, operation: str, arguments: Any) -> Any:
        # Named here, not when it is awaited: by then another function may be waiting for it.
        under_way = points.crossing("upload") if operation in uploads else None

        async def crossing() -> Any:
            result = await call(self, operation, arguments)
            points.crossed(under_way)
            return result

        return crossing()

    AioBaseClient._make_api_call = make_api_call


def refuse(share: float, seed: int) -> None:
    """Answer this share of our statements and connections as PostgreSQL does when it asks to try again, or is itself in
    trouble. From when the service is built: one that does not start is started again by whoever keeps it running."""
    chance, built, settle_heap = random.Random(seed), threading.Event(), runtime.settle_heap

    def settled() -> None:
        settle_heap()
        built.set()

    runtime.settle_heap = settled

    def refusing(call: Callable[..., Awaitable[Any]], refusals: Sequence[type[asyncpg.PostgresError]]) -> Any:
        @functools.wraps(call)
        async def asked(*args: Any, **kwargs: Any) -> Any:
            caller = sys._getframe(1)
            beginning = caller.f_code.co_filename == asyncpg.transaction.__file__  # or ending; that is never refused
            if built.is_set() and not beginning and _ours(caller) is not None and chance.random() < share:
                raise chance.choice(refusals)("refused on purpose")
            return await call(*args, **kwargs)

        return asked

    for name in ("execute", "executemany", "fetch", "fetchrow", "fetchval", "copy_records_to_table"):
        refusals = (
            asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.OutOfMemoryError,
            asyncpg.PostgresIOError,
        )  # fmt: skip
        setattr(asyncpg.Connection, name, refusing(getattr(asyncpg.Connection, name), refusals))
    full = (asyncpg.TooManyConnectionsError, asyncpg.ReadOnlySQLTransactionError)
    Database._acquire = refusing(Database._acquire, full)  # type: ignore[method-assign]  # as `crash_on` does


def crash_on(text: str) -> None:
    """End the process when a job that holds this text is handled."""
    handle = Consumer._handle

    async def handling(self: Any, jobs: Any, stop: Any) -> Any:
        if any(text in repr(job) for job in jobs):
            os._exit(EXIT_CODE)
        return await handle(self, jobs, stop)

    Consumer._handle = handling  # type: ignore[method-assign]  # that is what this program is for


def part(part_bytes: int) -> None:
    """Have the exporter put what is larger than this in parts: an hour of the size that ships would take hours."""
    app = importlib.import_module("services.egress.app")
    vars(app)["S3Options"] = functools.partial(app.S3Options, part_bytes=part_bytes)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("service", help="Or `cli`, which is told what comes after `--`.")
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--at")
    parser.add_argument("--when", choices=("before", "after"), default="before")
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("--poison", help="Die when a job with this text is handled.")
    parser.add_argument("--refuse", type=float, default=0.0, help="The share of statements that PostgreSQL refuses.")
    parser.add_argument("--upload", choices=UPLOADS, help="Die at this call of S3 alone.")
    parser.add_argument("--part-bytes", type=int, help="Of an object that is put in parts.")
    told = [*sys.argv[1:], "--"]
    asked = parser.parse_args(told[: told.index("--")])
    if asked.refuse:
        refuse(asked.refuse, seed=sum(asked.service.encode()))
    if asked.poison:
        crash_on(asked.poison)
    if asked.part_bytes:
        part(asked.part_bytes)
    install(Failpoints(asked.report, asked.at, asked.when, asked.nth), {asked.upload} if asked.upload else UPLOADS)
    if asked.service == "cli":
        sys.argv[1:] = told[told.index("--") + 1 : -1]
        importlib.import_module("cli.__main__").main()
    app = importlib.import_module(f"services.{asked.service}.app")
    settings = importlib.import_module(f"services.{asked.service}.settings")
    return runtime.run(app.build, settings.Settings)


if __name__ == "__main__":
    raise SystemExit(main())
