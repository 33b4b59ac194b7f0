"""What a profile may hold that a restored database does not know of. Pure.

Copy that was written after the dump and before the restore lies on profiles, and no row tells of it. It shows in its
message's next email unless that email's own generation is written, or takes it away: so whoever is decided anew counts
as somebody who has older copy.
"""

from dataclasses import replace
from uuid import UUID

from services.profile_writer.rows import Held, Ref, Wanted
from shared.db.losses import Loss

NOT_KNOWN = UUID(int=0)
"""In place of the generation whose copy may be there."""


def suspected(wanted: Wanted, held: Held | None, loss: Loss | None) -> Held | None:
    """What the profile may hold, as this job has to take it: older copy of its very message, as long as nothing that
    was accepted since the restore is known to have taken its place. What is in doubt for another reason stays so."""
    if loss is None or _known(held, loss):
        return held
    if held is not None and held.dirty:
        state = "unknown" if held.state == "holding" else held.state
        return replace(held, state=state, older_for=tuple(sorted({*held.older_for, wanted.written_for})))
    at = min(loss.since, wanted.accepted_at)  # a job from before the dump has to be decided, too
    return Held(
        wanted.key, Ref(at.date(), NOT_KNOWN, wanted.ref.org_id), "unknown", wanted.written_for, (), at,
        wanted.clean_at, held.decided_at if held else at, held.decided_until if held else wanted.clean_at,
        unanswered=held.unanswered if held else None,
    )  # fmt: skip


def _known(held: Held | None, loss: Loss) -> bool:
    """Whether all six properties were written, or taken off, for something that was accepted since."""
    return held is not None and held.state in ("holding", "clean") and held.accepted_at >= loss.until
