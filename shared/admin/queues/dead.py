"""An org's dead letters: jobs that no retry could cure, or that ran out of attempts. Look, mend the cause, replay.

A letter that holds jobs of several orgs is nobody's here; whoever runs the system sees all with `justai dead`.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal
from uuid import UUID

import orjson
from pydantic import Field

from shared.admin.context import Asking, Context
from shared.admin.errors import Next, NotFound
from shared.admin.operation import AskedModel, ResultModel, operation_after
from shared.messaging.dead import DeadLetter
from shared.messaging.topology import ALL

Kind = Literal["generate", "write", "ingest_file", "export_hour", "probe_target", "probe_source"]
KINDS = {spec.name: spec for spec in ALL}
LOOKED_THROUGH = 2000  # of each kind, oldest first, whosever they are

Limit = Annotated[int, Field(ge=1, le=LOOKED_THROUGH)]


class AskedLetters(AskedModel):
    """The oldest so many of each kind, or of one."""

    kind: Kind | None = None
    limit: Limit = 100


class OneLetter(AskedModel):
    """A letter by its id."""

    kind: Kind
    letter_id: str


class Replay(AskedModel):
    """One letter, those whose reason contains a text (`exact`: is the text), or all. `dry_run`: only say which."""

    kind: Kind
    letter_id: str | None = None
    reason: str | None = None
    exact: bool = False
    limit: Limit = 1000
    dry_run: bool = False


class Letter(ResultModel):
    """One letter without its jobs; the id is the same at every look."""

    kind: str
    letter_id: str
    dead_at: str
    attempt: int
    reason: str


class Letters(ResultModel):
    """By kind, oldest first."""

    letters: list[Letter]


class WholeLetter(ResultModel):
    """A letter with its jobs, which hold people's values."""

    letter: Letter
    origin: str
    body: str


class Replayed(ResultModel):
    """The letters that go round again, as first attempts; ids stay, so what was done already is done once."""

    letters: list[Letter]
    changed: bool


async def _look(asking: Asking, asked: AskedLetters) -> list[Letter]:
    found = await _mine(asking, *([asked.kind] if asked.kind else KINDS))
    return [letter for kind, letters in found.items() for letter in _rows(kind, letters[: asked.limit])]


async def _find(asking: Asking, asked: OneLetter) -> DeadLetter:
    letters = (await _mine(asking, asked.kind))[asked.kind]
    found = next((one for one in letters if one.letter_id == asked.letter_id), None)
    if found is None:
        raise _no_letter(asked.kind, asked.letter_id)
    return found


async def _wanted(asking: Asking, asked: Replay) -> list[DeadLetter]:
    found = [
        one
        for one in (await _mine(asking, asked.kind))[asked.kind]
        if asked.letter_id in (None, one.letter_id) and has_reason(one, asked)
    ]
    if asked.letter_id is not None and not found:
        raise _no_letter(asked.kind, asked.letter_id)
    return found[: asked.limit]


def has_reason(letter: DeadLetter, asked: Replay) -> bool:
    """Whether a letter died of what was asked for."""
    if asked.reason is None:
        return True
    return asked.reason == letter.reason if asked.exact else asked.reason in letter.reason


async def _mine(asking: Asking, *kinds: str) -> Mapping[str, list[DeadLetter]]:
    """By kind, in this order."""
    found = await asking.means.need_letters().peek(*(KINDS[kind] for kind in kinds), limit=LOOKED_THROUGH)
    return {kind: [one for one in found[kind] if orgs_of(one.body) == {asking.org_id}] for kind in kinds}


def orgs_of(body: bytes) -> set[UUID]:
    """The orgs whose jobs a message holds; none where it cannot be read."""
    try:
        return {UUID(job["org_id"]) for job in orjson.loads(body)["jobs"]}
    except (ValueError, TypeError, KeyError, AttributeError):
        return set()


@operation_after(_look, "dead.list", "GET", "/dead-letters", "editor", "List dead letters with their reasons.")
async def list_letters(context: Context, asked: AskedLetters, found: list[Letter]) -> Letters:
    return Letters(letters=found)


@operation_after(
    _find, "dead.show", "GET", "/dead-letters/{kind}/{letter_id}", "owner",
    "Show one dead letter whole; its jobs hold people's values.",
)  # fmt: skip
async def show(context: Context, asked: OneLetter, found: DeadLetter) -> WholeLetter:
    (letter,) = _rows(asked.kind, [found])
    return WholeLetter(letter=letter, origin=found.origin, body=found.body.decode(errors="replace"))


@operation_after(
    _wanted, "dead.replay", "POST", "/dead-letters/{kind}/replay", "editor", "Send dead letters round again."
)  # fmt: skip
async def replay(context: Context, asked: Replay, found: list[DeadLetter]) -> Replayed:
    """Replayed once the entry in the log is stored: what cannot be undone is written down first."""
    ids, letters = {one.letter_id for one in found}, context.means.need_letters()

    async def send() -> None:
        await letters.replay(KINDS[asked.kind], wanted=lambda one: one.letter_id in ids, limit=LOOKED_THROUGH)

    if ids and not asked.dry_run:
        context.after_commit(send)
    return Replayed(letters=_rows(asked.kind, found), changed=bool(ids) and not asked.dry_run)


def _rows(kind: str, found: Sequence[DeadLetter]) -> list[Letter]:
    return [
        Letter(kind=kind, letter_id=one.letter_id, dead_at=one.dead_at, attempt=one.attempt, reason=one.reason)
        for one in found
    ]


def _no_letter(kind: str, letter_id: str) -> NotFound:
    return NotFound(f"No letter {letter_id!r} in {kind}", field="letter_id", next=Next("dead.list"))
