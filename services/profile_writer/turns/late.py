"""Makes right what requests that landed late may have written over."""

from collections.abc import Sequence
from datetime import datetime

from services.profile_writer.book import Book
from services.profile_writer.rows import Held, Stored
from services.profile_writer.store import Desk
from services.profile_writer.turns.late_rules import uncovered
from services.profile_writer.turns.rules import Sent


async def uncover(desk: Desk, book: Book, late: Sequence[Sent], now: datetime) -> None:
    """`late`: what is `hidden` beneath; all of one account, which the desk holds."""
    if not late:
        return
    held = {sent.row.key: book.held(sent.row.key) for sent in late}
    stored = await desk.stored([one.ref for one in held.values() if one is not None])
    for key, sent in {sent.row.key: sent for sent in late}.items():
        known = held[key]
        deadline_at = None if known is None else _email_at(known, stored.get(known.ref.generation_id))
        book.record(key, uncovered(sent, book.pending(key), known, deadline_at, now))


def _email_at(held: Held, stored: Stored | None) -> datetime | None:
    """Until when the email of what is held may be rendered: the later one, where its webhook was accepted again."""
    return None if stored is None else stored.latest_at + (held.accepted_at - stored.accepted_at)
