"""Makes right what requests that landed late may have written over."""

from collections.abc import Sequence
from datetime import datetime

from services.profile_writer.book import Book
from services.profile_writer.store import Desk
from services.profile_writer.turns.late_rules import uncovered
from services.profile_writer.turns.rules import Sent
from shared import logs

log = logs.get(__name__)


async def uncover(desk: Desk, book: Book, late: Sequence[Sent], now: datetime) -> None:
    """`late`: what is `hidden` beneath; all of one account, which the desk holds."""
    held = {sent.row.key: book.held(sent.row.key) for sent in late}
    deadlines = await desk.deadlines([one.ref for one in held.values() if one is not None])
    for key, sent in {sent.row.key: sent for sent in late}.items():
        known = held[key]
        deadline_at = None if known is None else deadlines.get(known.ref.generation_id)
        book.record(key, uncovered(sent, book.pending(key), known, deadline_at, now))
    log.warning("turn.landed_late", account_key=late[0].row.key.account_key, writes=len(late))
