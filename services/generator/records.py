"""What the generator remembers of a request. Plain values, no behaviour."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from services.generator.select import Snapshot
from shared.schemas.decisions import PREVIEW, wrote
from shared.schemas.jobs import WriteJob

UNKNOWN_TEMPLATE = "unknown_template"


@dataclass(frozen=True, slots=True)
class Generation:
    """One row of `generations`, columns in their order; `snapshot` stands for three of them.

    `drawn_copy_id`: the variant that was drawn, where it could not be rendered and nothing of it is shown.
    `remembered` is no column: whether its person is not to get this variant of the template again next time."""

    day: date
    generation_id: UUID
    org_id: UUID
    template_id: str
    user_id: str
    tracking_id: str
    accepted_at: datetime
    deadline_at: datetime
    clean_at: datetime
    decision: str
    reason: str
    copy_id: UUID | None
    variant_version: int | None
    property_prefix: str
    written_for: str
    snapshot: Snapshot | None
    cell: str
    probabilities: tuple[float, ...]
    propensity: float | None
    attrs_json: str
    repairs: Sequence[str]
    vars: bytes | None
    drawn_copy_id: UUID | None
    remembered: bool

    @property
    def write(self) -> WriteJob | None:
        """The profile write that it asks for."""
        return write_of(
            org_id=self.org_id,
            generation_id=self.generation_id,
            day=self.day,
            user_id=self.user_id,
            property_prefix=self.property_prefix,
            decision=self.decision,
            reason=self.reason,
            accepted_at=self.accepted_at,
            deadline_at=self.deadline_at,
        )

    @property
    def stored(self) -> "Stored":
        """The same, as a repeated request finds it."""
        return Stored(
            self.generation_id, self.day, self.accepted_at, self.write, self.template_id, self.copy_id,
            self.variant_version,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stored:
    """A generation that is there already, as far as a repeated request needs it."""

    generation_id: UUID
    day: date
    accepted_at: datetime
    write: WriteJob | None
    template_id: str = ""
    copy_id: UUID | None = None
    variant_version: int | None = None

    @property
    def renewed(self) -> bool:
        """Whether its write is due for a later email than the one that it was decided for."""
        return self.write is not None and self.write.accepted_at > self.accepted_at

    def accepted_again(self, at: datetime) -> "Stored":
        """The same generation, its write due for the email that this later webhook leads to; of several, the last.

        A redelivered message carries the first moment and changes nothing. A webhook that Klaviyo repeats, or a person
        who comes back within the window with the same body, leads to a later email: the copy must be there then too.
        """
        if self.write is None or at <= self.write.accepted_at:
            return self
        later = {"accepted_at": at, "deadline_at": self.write.deadline_at + (at - self.write.accepted_at)}
        return replace(self, write=self.write.model_copy(update=later))


class Person(NamedTuple):
    """Somebody who gets a template's email."""

    org_id: UUID
    template_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Found:
    """What is there of a batch: generations by the id that was asked for, and the variant that people got last."""

    stored: dict[UUID, Stored] = field(default_factory=dict)
    last: dict[Person, UUID] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alias:
    """`alias_id` was computed for a request that had become a generation in the window before."""

    alias_id: UUID
    org_id: UUID
    generation_id: UUID
    day: date
    seen_at: datetime


def write_of(
    *,
    org_id: UUID,
    generation_id: UUID,
    day: date,
    user_id: str,
    property_prefix: str,
    decision: str,
    reason: str,
    accepted_at: datetime,
    deadline_at: datetime,
) -> WriteJob | None:
    """The profile write that a generation asks for. None where the template is not known: its prefix is a guess, and
    to clear it would take away what another template has just written there. None for what was only looked at."""
    if reason == UNKNOWN_TEMPLATE or decision == PREVIEW:
        return None
    return WriteJob.model_construct(  # every value was checked when the job was read
        org_id=org_id,
        generation_id=generation_id,
        day=day,
        profile_id=user_id,
        prefix=property_prefix,
        action="write" if wrote(decision, reason) else "clear",
        accepted_at=accepted_at,
        deadline_at=deadline_at,
    )
