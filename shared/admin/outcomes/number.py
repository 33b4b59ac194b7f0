"""The number above all: what did the emails show? Inferred from what was decided, how its write ended, and when the
email was handed over, for the snippet that is handed out."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field

from shared.admin.context import Context
from shared.admin.operation import AskedModel, ResultModel, operation
from shared.admin.outcomes.meanings import Meaning, of_decision, of_write
from shared.admin.outcomes.shown_store import reading_of

Shown = Literal["right", "control_planned", "control_missed", "stale", "unsure", "replaced", "pending"]

LEFT_FIRST: Final = "email_left_first"
LEFT_LATE: Final = "email_left_late"
OVERWRITTEN: Final = "overwritten"
NOT_SETTLED: Final = "not_settled"
_OWN_MEANINGS: Final = {
    LEFT_FIRST: Meaning(
        "Klaviyo handed the email over before our copy was on the profile", "a longer delay between webhook and email"
    ),
    LEFT_LATE: Meaning(
        "Klaviyo handed the email over after the send window, when our copy is taken off: it shows control, or our "
        "copy where that had not happened yet",
        "the delay of the template as long as the flow's, or a longer send window",
    ),
    OVERWRITTEN: Meaning(
        "a newer generation of the same person, mostly for another template, took the same properties before the email "
        "left",
        "`property_prefix` of its own for each template whose flows overlap",
    ),
    NOT_SETTLED: Meaning(
        "its email may have left, and no end of its write is known yet", "is a profile writer running?"
    ),
}

# Where only some templates are to be named for each reason ({0}), the others are one row. Whole numbers are exact as
# float8 up to 9e15, and sooner added up.
SELECT_SHOWN = """
    , each AS MATERIALIZED (
        SELECT template_id, shown, because, min(decision) AS decision, min(outcome) AS outcome,
            sum(emails::float8) AS emails, sum(seen::float8) AS seen
        FROM found GROUP BY template_id, shown, because
    ), reasons AS (
        SELECT shown, because, min(decision) AS decision, min(outcome) AS outcome, sum(emails) AS emails,
            sum(seen) AS seen, count(*) AS templates
        FROM each GROUP BY shown, because
    ), named AS (
        SELECT n.* FROM reasons r CROSS JOIN LATERAL (
            SELECT * FROM each e WHERE e.shown = r.shown AND e.because = r.because
            ORDER BY emails DESC, template_id LIMIT {0}) n
    )
    SELECT template_id, shown, because, decision, outcome, emails::bigint, seen::bigint, 1::bigint AS templates
    FROM named
    UNION ALL
    SELECT '', shown, because, r.decision, r.outcome, (r.emails - n.emails)::bigint, (r.seen - n.seen)::bigint,
        r.templates - n.templates
    FROM reasons r JOIN (
        SELECT shown, because, sum(emails) AS emails, sum(seen) AS seen, count(*) AS templates
        FROM named GROUP BY shown, because
    ) n USING (shown, because)
    WHERE r.templates > n.templates
    ORDER BY emails DESC, template_id, because
"""
# Where none is to be named, nobody asks which of a thousand templates come first.
SELECT_SHOWN_UNNAMED = """
    SELECT '' AS template_id, shown, because, min(decision) AS decision, min(outcome) AS outcome,
        sum(emails)::bigint AS emails, sum(seen)::bigint AS seen, count(*) AS templates
    FROM (
        SELECT shown, because, min(decision) AS decision, min(outcome) AS outcome,
            sum(emails::float8) AS emails, sum(seen::float8) AS seen
        FROM found GROUP BY template_id, shown, because
    ) each GROUP BY shown, because ORDER BY emails DESC, because
"""
_ALL: Final = 2**31


class AskedNumber(AskedModel):
    """How far back to look: from the quarter hour in which that time began. `most`: how many templates to name for each
    reason; null: all."""

    hours: Annotated[float, Field(gt=0, le=24 * 31)] = 24.0
    most: Annotated[int, Field(ge=0, le=1000)] | None = None


class Shows(ResultModel):
    """Generations of one template whose emails show the same for the same reason. `seen`: of how many a sent email is
    known; `means` and `do`: what the reason means and what helps. Without a `template_id`: of so many `templates` that
    were not to be named."""

    template_id: str
    shown: Shown
    because: str
    emails: int
    seen: int
    templates: int = 1
    means: str
    do: str


class Number(ResultModel):
    """`right`: the newest copy. `control_planned`: by split, draft, stop. `control_missed`: control, because copy did
    not get there. `stale`: an older copy, a fault. `unsure`: the answer came too late to know, or the email left after
    the send window, or long after its write had failed over an older copy, which is taken off meanwhile. `replaced`: a
    newer generation of the same person and message took its place, and is counted. `pending`: its email is still to
    come. `since`: webhooks from then on; `as_of`: all that was known until then is counted, null: all that is known."""

    hours: float
    since: datetime
    as_of: datetime | None
    right: int
    control_planned: int
    control_missed: int
    stale: int
    unsure: int
    replaced: int
    pending: int
    seen: int
    rows: list[Shows]

    @property
    def emails(self) -> int:
        """Those of which it is known, or nearly, what they show."""
        return self.right + self.control_planned + self.control_missed + self.stale + self.unsure

    @property
    def meant(self) -> int:
        """Those that were meant to show our copy."""
        return self.emails - self.control_planned

    @property
    def right_share(self) -> float | None:
        """Of those that were meant to; None without any."""
        return self.right / self.meant if self.meant else None


@operation(
    "outcomes.number", "GET", "/outcomes/number", "viewer",
    "Tell what the emails showed: our copy, control as planned, control for a reason, or a fault.",
)  # fmt: skip
async def number(context: Context, asked: AskedNumber) -> Number:
    reading = await reading_of(context.connection, context.org_id, asked.hours, context.now)
    if asked.most == 0:
        rows = await reading.fetch(context.connection, SELECT_SHOWN_UNNAMED)
    else:
        rows = await reading.fetch(context.connection, SELECT_SHOWN, asked.most or _ALL)
    found = [
        Shows(
            template_id=row["template_id"], shown=row["shown"], because=row["because"], emails=row["emails"],
            seen=row["seen"], templates=row["templates"], means=meaning.means, do=meaning.do,
        )
        for row in rows
        for meaning in (meaning_of(row["shown"], row["because"], row["decision"], row["outcome"]),)
    ]  # fmt: skip
    return Number(
        hours=asked.hours, since=reading.since, as_of=reading.as_of, rows=found, seen=sum(one.seen for one in found),
        **totals(found),
    )  # fmt: skip


def meaning_of(shown: Shown, because: str, decision: str, outcome: str | None) -> Meaning:
    """What a reason means, in the runbook's words."""
    if because in _OWN_MEANINGS:
        return _OWN_MEANINGS[because]
    if shown == "pending":
        return Meaning("its email is still to come", "nothing")
    if decision == "control" or outcome is None:
        return of_decision("control", because)
    return of_write(outcome, None if because in (outcome, "written") else because)


def totals(rows: Iterable[Shows]) -> dict[str, int]:
    """Emails by what they showed."""
    sums = dict.fromkeys(("right", "control_planned", "control_missed", "stale", "unsure", "replaced", "pending"), 0)
    for one in rows:
        sums[one.shown] += one.emails
    return sums
