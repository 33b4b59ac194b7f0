"""The ledger as a file: what the box did, one JSON object a line, for whoever counts afterwards.

It is appended to, never rewritten, and holds no header, no body and no text of a person's. Members that do not apply
are left out; every line has its kind and `at`, a moment on the box's clock.

- start: the box starts, the numbers of requests begin anew. Has seed.
- request: an API request, admitted or refused. Has account, request, operation, status, admitted, profile, job, limit,
  remaining, reset_s, retry_after_s.
- write: a profile took a write that came over the API. Has account, profile, markers, request or job.
- email: an email left a flow that a webhook feeds. Has account, profile, flow, message, transmission, generation,
  outcome, reason.

`request` is the request's number, in a write the one that wrote; `job` is an import job's id. `admitted` says that
quota was spent; only then the steady window is told (`limit`, `remaining`, `reset_s`). A status of 599 is a connection
that was cut. `markers` are the write's `<prefix>_generation` and `<prefix>_for`, null where it took one away. `outcome`
is the judge's word on what the email showed (`flow.judge`), from what was known when it left: control reads
`control_missed` unless the decision was told before, and a write that comes later has a line of its own.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from simulator.account import WrittenBy
from simulator.flow.judge import Outcome
from simulator.flow.ledger import Send
from simulator.requestlog import LoggedRequest
from simulator.windows import Granted

FLUSH_EVERY_S = 0.5


class LedgerFile:
    """Appends to `path`, which is made when it is not there. Raises OSError when that cannot be done.

    Lines wait in memory until there are `batch` of them, and while `keep_flushing` runs for at most `FLUSH_EVERY_S`;
    `close` writes the last ones.
    """

    def __init__(self, path: Path, batch: int = 1_000) -> None:
        self._file, self._batch = path.open("ab"), batch
        self._lines: list[bytes] = []

    def started(self, at: datetime, seed: int) -> None:
        self._add({"kind": "start", "at": at, "seed": seed})

    def request(
        self, entry: LoggedRequest, named: Mapping[str, str], granted: Granted | None, retry_after: str | None
    ) -> None:
        """One request; `named` is the id of the profile or job that it is about, by its kind."""
        line: dict[str, Any] = {
            "kind": "request", "at": entry.at, "account": entry.account_id, "request": entry.number,
            "operation": entry.operation, "status": entry.status, "admitted": granted is not None, **named,
        }  # fmt: skip
        if granted is not None:
            line |= {"limit": granted.limit, "remaining": granted.remaining, "reset_s": granted.reset_s}
        if retry_after is not None:
            line["retry_after_s"] = int(retry_after)
        self._add(line)

    def write(
        self, at: datetime, account_id: str, profile_id: str, markers: Mapping[str, str | None], by: WrittenBy
    ) -> None:
        """One write that a profile took."""
        line = {"kind": "write", "at": at, "account": account_id, "profile": profile_id, "markers": markers}
        self._add(line | {by.kind: by.id})

    def email(self, account_id: str, send: Send, shown: Outcome) -> None:
        """One email that left."""
        self._add(
            {
                "kind": "email", "at": send.sent_at, "account": account_id, "profile": send.entry.profile_id,
                "flow": send.entry.flow_id, "message": send.message_id, "transmission": send.transmission_id,
                "generation": send.newest, "outcome": shown.kind, "reason": shown.reason,
            }
        )  # fmt: skip

    def _add(self, line: Mapping[str, Any]) -> None:
        self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        if len(self._lines) >= self._batch:
            self.flush()

    def flush(self) -> None:
        """Hand all lines to the system. Raises OSError."""
        if self._lines:
            self._file.write(b"".join(self._lines))
            self._lines.clear()
            self._file.flush()

    async def keep_flushing(self) -> None:
        """Flush in real time until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            self.flush()

    def close(self) -> None:
        self.flush()
        self._file.close()
