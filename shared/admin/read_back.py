"""What a profile really holds, beside what a generation wrote there. Pure; says which property, never what is in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from shared.snippet import properties

Finding = Literal[
    "as_written", "taken_away", "another_generation", "overwritten", "profile_gone", "not_comparable", "not_read"
]


@dataclass(frozen=True, slots=True)
class ReadBack:
    """`properties`: which of the five somebody else has changed or taken; `generation_id`: whose copy it is."""

    finding: Finding
    properties: Sequence[str] = ()
    generation_id: UUID | None = None
    reason: str | None = None


def marked(prefix: str, found: Mapping[str, Any]) -> UUID | None:
    """The generation that the marker on the profile names."""
    try:
        return UUID(found.get(f"{prefix}_generation"))
    except (TypeError, ValueError, AttributeError):
        return None


def compare(
    prefix: str,
    asked_id: UUID,
    found: Mapping[str, Any] | None,
    copies: Mapping[UUID, Mapping[str, str] | None],
    *,
    wrote: bool = True,
) -> ReadBack:
    """`found` is what the profile holds, None where there is no profile; `copies` what generations of ours wrote, by
    id: the one asked for and the one that the profile's marker names, None where the stored copy cannot be read.
    `wrote` is False for a control decision, which writes nothing."""
    if found is None:
        return ReadBack("profile_gone")
    there = {name: found[name] for name in properties(prefix) if found.get(name) is not None}
    if not there:
        return ReadBack("taken_away")
    named = marked(prefix, there)
    ours = named in copies
    whose = named if named is not None and ours else asked_id
    wanted = copies.get(whose) if ours or wrote else {}
    if wanted is None:
        return ReadBack("not_comparable", generation_id=named, reason="no_stored_copy")
    changed = [name for name in properties(prefix) if there.get(name) != wanted.get(name)]
    if changed or not ours:
        return ReadBack("overwritten", changed, named)
    return ReadBack("as_written" if named == asked_id else "another_generation", generation_id=named)
