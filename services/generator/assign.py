"""Who is control by plan: the holdout, and the split. Pure; independent of each other and of the variant's draw."""

from dataclasses import dataclass
from typing import Literal

from shared.draw import fraction
from shared.schemas.jobs import GenerateJob

HOLDOUT = "control_holdout"
SPLIT = "control_split"


@dataclass(frozen=True, slots=True)
class Split:
    """How a template parts its people.

    `external`: Klaviyo's branches do, and the control branch never calls us. `random`: each generation anew.
    `persistent`: each person for good, until `salt` changes. `control_ratio` of them are control while the template is
    active. `control_share` is the holdout: of persons, for good, also once the template is shipped.
    """

    method: Literal["external", "random", "persistent"] = "external"
    control_ratio: float = 0.0
    control_share: float = 0.0
    salt: str = ""

    def planned_control(self, job: GenerateJob, state: str) -> str | None:
        """The reason if this request is control by plan. The same for every delivery of it."""
        if not (self.control_share or self.control_ratio):
            return None
        if self.control_share and fraction(_person(job), b"holdout") < self.control_share:
            return HOLDOUT
        if state != "active" or self.method == "external":
            return None
        if self.method == "random":
            drawn = fraction(job.generation_id.bytes, b"split")
        else:
            drawn = fraction(_person(job, self.salt), b"split")
        return SPLIT if drawn < self.control_ratio else None


EXTERNAL = Split()
"""Nobody is control by our plan."""


def _person(job: GenerateJob, salt: str = "") -> bytes:
    """One person of one template; ids hold no NUL, so different triples are different texts."""
    return job.org_id.bytes + f"{job.template_id}\x00{salt}\x00{job.user_id}".encode()
