"""Examples of what emails showed for one reason: the newest generations of it, each with its person and its story."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from shared.admin.context import Context
from shared.admin.operation import AskedModel, ResultModel, operation
from shared.admin.outcomes.number import Shown, meaning_of
from shared.admin.outcomes.shown_newest import Wanted, newest
from shared.admin.outcomes.shown_store import reading_of


class AskedExamples(AskedModel):
    """`because`: a reason as `outcomes.number` names it, empty for emails that are to come; `shown`: what those emails
    showed, null: anything; of one template, or of all. How far back to look: from the quarter hour in which that time
    began."""

    because: Annotated[str, Field(max_length=200)]
    shown: Shown | None = None
    template_id: str | None = None
    hours: Annotated[float, Field(gt=0, le=24 * 31)] = 24.0
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class ShownExample(ResultModel):
    """One generation. `at`: when its write ended; `sent_at`: when Klaviyo handed its email over, where it is known."""

    generation_id: UUID
    accepted_at: datetime
    template_id: str
    user_id: str
    decision: str
    decided: str
    outcome: str | None
    reason: str | None
    at: datetime | None
    sent_at: datetime | None
    shown: Shown


class ShownExamples(ResultModel):
    """Newest first. `means` and `do`: what the reason means and what helps; empty without examples. `as_of`: all that
    was known until then is counted; null: all that is known."""

    since: datetime
    as_of: datetime | None
    means: str
    do: str
    examples: list[ShownExample]


# What one person got is theirs: not for whoever only looks at results.
@operation(
    "outcomes.examples", "GET", "/outcomes/examples", "editor",
    "Show the newest generations whose emails showed the same for one reason, to look into each.",
)  # fmt: skip
async def examples(context: Context, asked: AskedExamples) -> ShownExamples:
    reading = await reading_of(context.connection, context.org_id, asked.hours, context.now)
    wanted = Wanted(asked.because, asked.shown, asked.template_id, asked.limit)
    found = [ShownExample(**dict(row)) for row in await newest(context.connection, reading, wanted)]
    means = do = ""
    if found:
        first = found[0]
        meaning = meaning_of(first.shown, asked.because, first.decision, first.outcome)
        means, do = meaning.means, meaning.do
    return ShownExamples(since=reading.since, as_of=reading.as_of, means=means, do=do, examples=found)
