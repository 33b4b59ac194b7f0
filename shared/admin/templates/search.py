"""Templates found by what is typed and where they stand, a part at a time: orgs have a thousand of them."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from shared.admin.context import Context
from shared.admin.operation import AskedModel, ResultModel, operation
from shared.admin.templates.templates import State

# The part is cut before its variants are counted: the others' need not be looked at.
SELECT_FOUND = """
    WITH found AS (
        SELECT t.* FROM templates t
        WHERE t.org_id = $1 AND ($2::text IS NULL OR t.state = $2) AND ($3 = '' OR t.template_id ILIKE $3
            OR t.name ILIKE $3)
        ORDER BY t.updated_at DESC, t.template_id LIMIT $4 OFFSET $5
    )
    SELECT f.template_id, f.name, f.state, f.flow_id, f.treatment_action_id, f.stopped_at, f.updated_at,
           step.flow_name, step.flow_status, step.message_name, v.approved, v.in_review, v.variants
    FROM found f
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE state = 'approved') AS approved,
               count(*) FILTER (WHERE proposed_state = 'in_review') AS in_review,
               count(*) FILTER (WHERE state <> 'archived') AS variants
        FROM variants WHERE org_id = f.org_id AND template_id = f.template_id
    ) v
    LEFT JOIN LATERAL (
        SELECT flow_name, flow_status, message_name FROM flow_messages
        WHERE org_id = f.org_id AND flow_id = f.flow_id AND action_id = f.treatment_action_id
        ORDER BY message_id LIMIT 1
    ) step ON true
    ORDER BY f.updated_at DESC, f.template_id
"""
SELECT_COUNTS = "SELECT state, count(*) AS templates FROM templates WHERE org_id = $1 GROUP BY state"


class SearchTemplates(AskedModel):
    """`search`: a part of the name or the id. One row more than is wanted tells whether there are more."""

    search: Annotated[str, StringConstraints(max_length=200)] = ""
    state: State | None = None
    limit: int = Field(50, ge=1, le=501)
    offset: int = Field(0, ge=0, le=1_000_000)


class FoundTemplate(ResultModel):
    """One of them. `flow_name`, `flow_status`, `message_name`: as the flow was read last, null where it was not."""

    template_id: str
    name: str
    state: State
    flow_id: str | None
    treatment_action_id: str | None
    flow_name: str | None
    flow_status: str | None
    message_name: str | None
    approved: int
    in_review: int
    variants: int
    stopped_at: datetime | None
    updated_at: datetime


class FoundTemplates(ResultModel):
    """The newest change first. `counts`: all of the org, by state."""

    templates: list[FoundTemplate]
    counts: dict[str, int]


@operation(
    "templates.search", "GET", "/template-search", "viewer", "Find templates by name or id and state, in parts."
)  # fmt: skip
async def search(context: Context, asked: SearchTemplates) -> FoundTemplates:
    connection, org_id = context.connection, context.org_id
    rows = await connection.fetch(
        SELECT_FOUND, org_id, asked.state, _pattern(asked.search), asked.limit, asked.offset
    )  # fmt: skip
    counts = await connection.fetch(SELECT_COUNTS, org_id)
    return FoundTemplates(
        templates=[FoundTemplate(**dict(row)) for row in rows],
        counts={row["state"]: row["templates"] for row in counts},
    )


def _pattern(search: str) -> str:
    """What is typed stands for itself: `%` and `_` too."""
    literal = search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{literal}%" if literal else ""
