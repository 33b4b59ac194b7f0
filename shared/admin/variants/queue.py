"""The review queue: what waits for somebody's approval, in all templates of an org."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from shared.admin.context import Context
from shared.admin.operation import AskedModel, ResultModel, operation

# Whoever wrote or submitted a version may not approve it where reviews are required.
SELECT_WAITING = """
    SELECT v.template_id, t.name AS template_name, v.copy_id, v.name, v.theme, v.state = 'approved' AS replaces,
           w.version, w.subject, w.preheader, w.author, e.actor AS submitted_by, e.created_at AS submitted_at,
           array(SELECT DISTINCT actor FROM variant_events i WHERE i.org_id = v.org_id AND i.copy_id = v.copy_id
                 AND i.version = w.version AND i.event IN ('written', 'submitted')) AS involved,
           o.review_required
    FROM variants v
    JOIN templates t USING (org_id, template_id)
    JOIN orgs o USING (org_id)
    JOIN variant_versions w ON w.copy_id = v.copy_id AND w.version = coalesce(v.proposed_version, v.version)
    JOIN LATERAL (
        SELECT actor, created_at FROM variant_events
        WHERE org_id = v.org_id AND copy_id = v.copy_id AND event = 'submitted' ORDER BY event_id DESC LIMIT 1
    ) e ON true
    WHERE v.org_id = $1 AND v.proposed_state = 'in_review'
    ORDER BY e.created_at, v.copy_id LIMIT $2 OFFSET $3
"""


class AskedQueue(AskedModel):
    """So many, after so many that wait longer."""

    limit: int = Field(500, ge=1, le=500)
    offset: int = Field(0, ge=0, le=1_000_000)


class WaitingReview(ResultModel):
    """One version in review. `replaces`: another version of it is served meanwhile. `yours`: whoever asks wrote or
    submitted it, so somebody else has to approve it."""

    template_id: str
    template_name: str
    copy_id: UUID
    name: str
    theme: str
    replaces: bool
    version: int
    subject: str
    preheader: str
    author: str
    submitted_by: str
    submitted_at: datetime
    yours: bool


class Queue(ResultModel):
    """Whoever waits longest first."""

    waiting: list[WaitingReview]


@operation("variants.queue", "GET", "/review", "viewer", "List the versions that wait for somebody's approval.")
async def queue(context: Context, asked: AskedQueue) -> Queue:
    me, waiting = context.actor.name.casefold(), []
    for row in await context.connection.fetch(SELECT_WAITING, context.org_id, asked.limit, asked.offset):
        known = dict(row)
        involved = {str(actor).casefold() for actor in known.pop("involved")}
        required = known.pop("review_required")
        waiting.append(WaitingReview(**known, yours=required and me in involved))
    return Queue(waiting=waiting)
