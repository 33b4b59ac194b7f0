"""Which version of a variant a fact speaks of. Pure.

A copy id stays when its copy is rewritten, but what people did with the old text says nothing of the new one. So a fit
knows a text that was replaced as a variant of its own, that gets no share: it still tells about attrs and themes, as an
archived one does. A version that only corrects another one is the same text, and what is rolled back to finds the facts
of its own text again.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from uuid import UUID, uuid5

from services.ranker.facts import Variant
from shared.content.wording import corrects
from shared.schemas.copy import VariantSource


class Replaced(NamedTuple):
    """A version whose text is served no more. `known_as`: whose its facts are, in place of the copy id."""

    copy_id: UUID
    version: int
    known_as: UUID


def replaced(served: Iterable[VariantSource]) -> list[Replaced]:
    """Of all versions that were ever served, of any variants, those that say something else than the one that is: of
    each variant the one that comes first."""
    present: dict[UUID, VariantSource] = {}
    return [
        Replaced(one.copy_id, one.version, uuid5(one.copy_id, f"version {one.version}"))
        for one in served
        if (now := present.setdefault(one.copy_id, one)) is not one and not corrects(now, one)
    ]


def as_variants(texts: Iterable[Replaced], variants: Iterable[Variant]) -> list[Variant]:
    """Texts that were replaced, as a fit knows them beside these variants."""
    of: Mapping[UUID, Variant] = {one.copy_id: one for one in variants}
    return [
        Variant(text.known_as, f"{of[text.copy_id].name}, version {text.version}", of[text.copy_id].theme, False)
        for text in texts
    ]
