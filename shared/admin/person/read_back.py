"""What a profile really holds, beside what a generation wrote there. Pure; says which property, never what is in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from shared.snippet import properties

Finding = Literal[
    "as_written",
    "taken_away",
    "another_generation",
    "another_person",
    "overwritten",
    "profile_gone",
    "not_comparable",
    "not_read",
]


@dataclass(frozen=True, slots=True)
class ReadBack:
    """`properties`: which of the six somebody else has changed or taken; `generation_id`: whose copy it is.
    `another_person`: copy of a profile that was merged into this one."""

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
    person: str,
    wrote: bool = True,
) -> ReadBack:
    """`found` is what the profile of this `person` holds, None where there is no profile; `copies` what generations of
    ours wrote, by id: the one asked for and the one that the profile's marker names, None where the stored copy cannot
    be read. `wrote` is False for a control decision, which writes nothing."""
    if found is None:
        return ReadBack("profile_gone")
    *others, whose = names = properties(prefix)
    there = {name: found[name] for name in names if found.get(name) is not None}
    if there.keys() <= {whose}:  # which is all that a clean-up of the release before leaves
        return ReadBack("taken_away")
    named = marked(prefix, there)
    ours = named in copies
    shown = named if named is not None and ours else asked_id
    wanted = copies.get(shown) if ours or wrote else {}
    if wanted is None:
        return ReadBack("not_comparable", generation_id=named, reason="no_stored_copy")
    written = names if whose in there else others  # the release before did not write it
    changed = [name for name in written if there.get(name) != wanted.get(name)]
    if changed or not ours:
        return ReadBack("overwritten", changed, named)
    if wanted.get(whose) != person:
        return ReadBack("another_person", generation_id=named)
    return ReadBack("as_written" if named == asked_id else "another_generation", generation_id=named)
