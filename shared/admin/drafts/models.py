"""What is asked of drafting, and what it answers. Times are those of people."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from shared.admin.operation import ResultModel
from shared.admin.templates.one import OneTemplate
from shared.admin.variants.variants import Finding
from shared.drafting.brief import MOST_DRAFTS, Brief

RunState = Literal["queued", "running", "done", "failed", "cancelled"]
Outcome = Literal["in_review", "draft", "not_stored", "no_draft", "cut_off"]


class AskedDrafts(OneTemplate):
    """A brief, and how many drafts of it; its themes take turns."""

    brief: Brief
    number: Annotated[int, Field(ge=1, le=MOST_DRAFTS)] = 3


class OneRun(OneTemplate):
    """A run of a template by its id."""

    run_id: UUID


class AskedRuns(OneTemplate):
    """The newest so many."""

    limit: Annotated[int, Field(ge=1, le=200)] = 20


class Result(ResultModel):
    """What became of one draft. in_review and draft: stored, as a variant with `copy_id`; not_stored: cannot be served,
    see `findings`; no_draft and cut_off: none came, see `fault`."""

    number: int
    theme: str
    outcome: Outcome
    name: str | None = None
    subject: str | None = None
    copy_id: UUID | None = None
    findings: list[Finding] = Field(default_factory=list)
    fault: str | None = None
    made_at: datetime


class RunRow(ResultModel):
    """One run in a list; `stored` and `in_review` of the `number` drafts that were asked for."""

    run_id: UUID
    state: RunState
    number: int
    tried: int
    stored: int
    in_review: int
    goal: str
    asked_by: str
    reason: str | None
    created_at: datetime
    ended_at: datetime | None


class Run(ResultModel):
    """`code` and `reason`: why it failed, or who cancelled it. `spent`: tokens, and money where prices are known, in
    words. `retried_by`: the run that tried it again."""

    run_id: UUID
    template_id: str
    state: RunState
    code: str | None
    reason: str | None
    brief: Brief
    number: int
    asked_by: str
    model: str
    retry_of: UUID | None
    retried_by: UUID | None
    created_at: datetime
    deadline_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    tokens_read: int
    tokens_written: int
    spent: str
    results: list[Result]

    @property
    def going(self) -> bool:
        """Whether more will come of it."""
        return self.state in ("queued", "running")

    @property
    def stored(self) -> int:
        """Drafts that are variants now."""
        return sum(one.copy_id is not None for one in self.results)

    @property
    def in_review(self) -> int:
        """Of those, the ones that went into review."""
        return sum(one.outcome == "in_review" for one in self.results)

    @property
    def missing(self) -> int:
        """Drafts that were asked for and are not stored."""
        return self.number - self.stored


class ModelShown(ResultModel):
    """The model and where it is; how much the org may still have of it."""

    label: str
    host: str
    at_once: int
    under_way: int
    a_day: int
    left_today: int


class Runs(ResultModel):
    """Newest first. `model`: null where none is set up."""

    runs: list[RunRow]
    model: ModelShown | None


class PromptShown(ResultModel):
    """What would be sent for the first draft. `about_usd` and `most_usd` are an estimate for all drafts: as answers
    usually are, and if each of them used its limit; null where no prices are set."""

    digest: str
    system: str
    user: str
    answer_schema: dict[str, Any]
    model: str | None
    about_usd: float | None
    most_usd: float | None


class Cancelled(ResultModel):
    """It is over; what was stored until then stays."""

    run_id: UUID
    stored: int
