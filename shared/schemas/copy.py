"""Copy: what a variant says, and what one person's rendered copy says."""

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID


class Vars(NamedTuple):
    """The three texts of one email, exactly as they go to the profile and into the export."""

    subject: str
    preheader: str
    body: str


@dataclass(frozen=True, slots=True)
class VariantSource:
    """One immutable version of a variant's texts in Liquid; the dictionary that its rendered copies are stored with."""

    copy_id: UUID
    version: int
    subject: str
    preheader: str
    body: str
