"""Ways to make the box misbehave, as rules: pure choice here, the misbehaving itself is in `api.gate`."""

import random
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FaultKind = Literal["slow", "status", "reset_after_apply", "reset", "cloudflare", "unauthorized"]


class Fault(BaseModel):
    """One rule. It strikes requests of `operation` (any when None) in `account_id` (any when None).

    | kind | what happens |
    |---|---|
    | slow | the answer comes `delay_s` real seconds late |
    | status | `status` (500, 502, 503, 504, 524 …) instead of an answer; the write did not happen |
    | reset | the connection is cut before the write |
    | reset_after_apply | the write happened, the answer is lost |
    | cloudflare | a 403 with an HTML page, as seen in front of the API |
    | unauthorized | 401, as with a revoked key |
    """

    model_config = ConfigDict(extra="forbid")

    kind: FaultKind
    operation: str | None = None
    account_id: str | None = None
    probability: float = Field(1.0, ge=0, le=1)
    count: int | None = Field(None, ge=0, description="Strikes left; None is for ever.")
    status: int = Field(503, ge=400, le=599)
    delay_s: float = Field(1.0, ge=0, le=600)
    id: int = 0

    def fits(self, account_id: str, operation: str) -> bool:
        return self.count != 0 and self.operation in (None, operation) and self.account_id in (None, account_id)


def strike(faults: Sequence[Fault], account_id: str, operation: str, chance: random.Random) -> Fault | None:
    """The first rule that strikes this request; it spends one of its strikes."""
    for fault in faults:
        if fault.fits(account_id, operation) and chance.random() < fault.probability:
            if fault.count is not None:
                fault.count -= 1
            return fault
    return None
