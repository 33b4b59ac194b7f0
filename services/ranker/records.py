"""What the ranker holds of a template while it fits it."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Claim:
    """One template, ours as long as nobody raised its epoch. `sign` is of what there was to fit when we claimed it."""

    org_id: UUID
    template_id: str
    epoch: int
    sign: str


@dataclass(frozen=True, slots=True)
class Paused:
    """A variant that the guardrail took out, and why."""

    copy_id: UUID
    why: str
