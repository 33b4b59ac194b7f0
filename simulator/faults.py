"""Ways to make the box misbehave, as rules: pure choice here, the misbehaving itself is in `api.gate` and, for what
strikes inside a bulk import, in `api.bulk_runs`."""

import random
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FaultKind = Literal[
    "slow", "slow_body", "late", "status", "status_after_apply", "reset", "reset_after_apply", "cloudflare",
    "unauthorized", "row_error", "cancel_job",
]  # fmt: skip

IMPORT = "bulk_import_profiles"
IMPORT_KINDS: frozenset[FaultKind] = frozenset({"row_error", "cancel_job"})


class Fault(BaseModel):
    """One rule. It strikes requests of `operation` (any when None) in `account_id` (any when None).

    | kind | what happens |
    |---|---|
    | slow | the answer comes `delay_s` real seconds late; the write happened at once |
    | slow_body | the same of the last byte of the answer alone; its status and all else come at once |
    | late | the write happens, and is answered, `delay_s` real seconds late |
    | status | `status` (429, 500, 502, 503, 504, 524 …) instead of an answer; the write did not happen |
    | status_after_apply | the write happened, `status` comes instead of its answer |
    | reset | the connection is cut before the write |
    | reset_after_apply | the write happened, the answer is lost |
    | cloudflare | a 403 with an HTML page, as seen in front of the API |
    | unauthorized | 401, as with a revoked key |
    | row_error | a sound row of a bulk import ends as an import error of `code`; drawn and counted by the row |
    | cancel_job | a bulk import ends cancelled after its first rows (`applied_share`); drawn when it runs |
    """

    model_config = ConfigDict(extra="forbid")

    kind: FaultKind
    operation: str | None = None
    account_id: str | None = None
    probability: float = Field(1.0, ge=0, le=1)
    count: int | None = Field(None, ge=0, description="Strikes left; None is for ever.")
    status: int = Field(503, ge=400, le=599)
    retry_after_s: int | None = Field(None, ge=0, description="Retry-After beside `status`; None leaves it out.")
    delay_s: float = Field(1.0, ge=0, le=600)
    code: str = Field("invalid", description="Of a row_error.")
    applied_share: float = Field(0.0, ge=0, le=1, description="Of a cancel_job.")
    id: int = 0

    @model_validator(mode="after")
    def _strikes_where_it_can(self) -> Self:
        if self.kind in IMPORT_KINDS and self.operation not in (None, IMPORT):
            raise ValueError(f"a {self.kind} strikes {IMPORT} only, not {self.operation}")
        return self

    def fits(self, account_id: str, operation: str) -> bool:
        return self.count != 0 and self.operation in (None, operation) and self.account_id in (None, account_id)


def strike(
    faults: Sequence[Fault], account_id: str, operation: str, chance: random.Random, kind: FaultKind | None = None
) -> Fault | None:
    """The first rule that strikes this request (with `kind`: this row or job); it spends one of its strikes."""
    for fault in faults:
        meant = fault.kind not in IMPORT_KINDS if kind is None else fault.kind == kind
        if meant and fault.fits(account_id, operation) and chance.random() < fault.probability:
            if fault.count is not None:
                fault.count -= 1
            return fault
    return None
