"""The number above all: what did the emails show? Inferred from what was decided, how its write ended, and when the
email was handed over, for the snippet that is handed out."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import Field

from shared.admin.context import Context
from shared.admin.meanings import Meaning, of_decision, of_write
from shared.admin.operation import AskedModel, ResultModel, operation
from shared.schemas.decisions import NOT_RENDERED
from shared.schemas.ids import generation_day

Shown = Literal["right", "control_planned", "control_missed", "stale", "unsure", "replaced", "pending"]

LEFT_FIRST: Final = "email_left_first"
NOT_SETTLED: Final = "not_settled"
_MISSED_BY_DECISION: Final = (*sorted(NOT_RENDERED), "unknown_template")
_OWN_MEANINGS: Final = {
    LEFT_FIRST: Meaning(
        "Klaviyo handed the email over before our copy was on the profile", "a longer delay between webhook and email"
    ),
    NOT_SETTLED: Meaning(
        "its email may have left, and no end of its write is known yet", "is a profile writer running?"
    ),
}

# Older copy shows where a generation did not get through (`expired`, `rejected`) and the last that had got through for
# the same message was written and not yet due to be taken away. Few rows are asked so, each by the person's index.
SELECT_SHOWN = """
    WITH told AS (
        SELECT g.template_id, g.day, g.decision, g.reason AS decided, g.user_id, g.property_prefix, g.written_for,
               g.accepted_at, g.deadline_at, w.outcome, w.reason, w.at, s.sent_at
        FROM generations g
        LEFT JOIN write_outcomes w ON w.day = g.day AND w.generation_id = g.generation_id AND w.day >= $3
        LEFT JOIN (SELECT generation_id, min(sent_at) AS sent_at FROM sends
                   WHERE org_id = $1 AND day >= $3 AND generation_id IS NOT NULL GROUP BY generation_id) s
          ON s.generation_id = g.generation_id
        WHERE g.org_id = $1 AND g.accepted_at >= $2 AND g.day >= $3 AND g.decision IN ('treatment', 'control')
    ), judged AS (
        SELECT template_id, sent_at, decided, outcome, reason, decision, CASE
            WHEN outcome IN ('expired', 'rejected') AND reason IS DISTINCT FROM 'profile_not_found' AND (
                SELECT o.outcome = 'written' AND p.clean_at > told.deadline_at
                FROM generations p JOIN write_outcomes o ON o.day = p.day AND o.generation_id = p.generation_id
                WHERE p.org_id = $1 AND p.user_id = told.user_id AND p.accepted_at < told.accepted_at
                  AND p.day >= told.day - 31 AND p.property_prefix = told.property_prefix
                  AND p.written_for = told.written_for AND o.outcome IN ('written', 'cleared', 'nothing_to_clear')
                ORDER BY p.accepted_at DESC LIMIT 1) THEN 'stale'
            WHEN decision = 'control' AND decided = ANY($5::text[]) THEN 'control_missed'
            WHEN decision = 'control' OR outcome = 'stopped' THEN 'control_planned'
            WHEN outcome = 'superseded' THEN 'replaced'
            WHEN outcome = 'written' AND sent_at < at THEN 'control_missed'
            WHEN outcome = 'written' AND reason = 'answered_late' THEN 'unsure'
            WHEN outcome = 'written' THEN 'right'
            WHEN outcome IS NULL AND deadline_at > $4 THEN 'pending'
            ELSE 'control_missed' END AS shown,
            CASE
                WHEN decision = 'control' THEN decided
                WHEN outcome = 'written' AND sent_at < at THEN 'email_left_first'
                WHEN outcome IS NULL AND deadline_at <= $4 THEN 'not_settled'
                WHEN outcome = 'written' AND reason IS NULL THEN 'written'
                ELSE coalesce(reason, outcome, '') END AS because
        FROM told
    )
    SELECT template_id, shown, because, min(decision) AS decision, min(outcome) AS outcome, count(*) AS emails,
           count(sent_at) AS seen
    FROM judged GROUP BY template_id, shown, because ORDER BY emails DESC, template_id, because
"""


class AskedNumber(AskedModel):
    """How far back to look."""

    hours: Annotated[float, Field(gt=0, le=24 * 31)] = 24.0


class Shows(ResultModel):
    """Generations of one template whose emails show the same for the same reason. `seen`: of how many a sent email is
    known; `means` and `do`: what the reason means and what helps."""

    template_id: str
    shown: Shown
    because: str
    emails: int
    seen: int
    means: str
    do: str


class Number(ResultModel):
    """`right`: the newest copy. `control_planned`: by split, draft, stop. `control_missed`: control, because copy did
    not get there. `stale`: an older copy, a fault. `unsure`: the answer came too late to know. `replaced`: a newer
    generation of the same person took its place, and is counted. `pending`: its email is still to come."""

    hours: float
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
    since = context.now - timedelta(hours=asked.hours)
    rows = await context.connection.fetch(
        SELECT_SHOWN, context.org_id, since, generation_day(since), context.now, list(_MISSED_BY_DECISION)
    )
    found = [
        Shows(
            template_id=row["template_id"], shown=row["shown"], because=row["because"], emails=row["emails"],
            seen=row["seen"], means=meaning.means, do=meaning.do,
        )
        for row in rows
        for meaning in (meaning_of(row["shown"], row["because"], row["decision"], row["outcome"]),)
    ]  # fmt: skip
    return Number(hours=asked.hours, rows=found, seen=sum(one.seen for one in found), **totals(found))


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
