"""Where a template lives in Klaviyo, and its life: draft, active, shipped, archived."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from shared.admin.context import Asking, Context
from shared.admin.errors import Next, Refused
from shared.admin.operation import AskedModel, ResultModel, operation, operation_after
from shared.admin.orgs.sharing import prefixes_elsewhere, refuse_taken
from shared.admin.templates.choice import CountedConversions, chosen
from shared.admin.templates.one import no_template
from shared.admin.templates.store import place_of
from shared.admin.templates.templates import State, Template, is_unknown, read_one
from shared.schemas.conversions import stored as stored_conversions
from shared.schemas.template_file import Identifier, Line, Share
from shared.snippet import PREFIX

LOCK_TEMPLATE = """
    SELECT name, flow_id, treatment_action_id, control_action_id, property_prefix, delay_s, send_window_s, state,
        split, control_ratio, split_salt AS salt, control_share, repeats AS repeat, policy, conversions
    FROM templates WHERE org_id = $1 AND template_id = $2 FOR UPDATE
"""
UPDATE_SETTINGS = """
    UPDATE templates SET name = $3, flow_id = $4, treatment_action_id = $5, control_action_id = $6,
        property_prefix = $7, delay_s = $8, send_window_s = $9, updated_at = $10, split = $11, control_ratio = $12,
        control_share = $13, repeats = $14, policy = $15, conversions = $16
    WHERE org_id = $1 AND template_id = $2
"""
UPDATE_STATE = "UPDATE templates SET state = $3, updated_at = $4 WHERE org_id = $1 AND template_id = $2"
COUNT_APPROVED = "SELECT count(*) FROM variants WHERE org_id = $1 AND template_id = $2 AND state = 'approved'"

SELECT_NAMES = "SELECT name FROM variants WHERE org_id = $1 AND template_id = $2"

_SERVED = ("active", "shipped")
_Seconds = Annotated[int, Field(ge=1, le=2_592_000)]


class SetTemplate(AskedModel):
    """Integration settings, and how the template tests and learns; what is not given stays. `treatment_action_id` is
    the email step that shows our copy, `control_action_id` the one of the other branch, where Klaviyo itself splits.

    `split`: who is control while the template is active: as Klaviyo's branches say, drawn anew each time, or the same
    persons always; `control_ratio` of them. `control_share` of the persons are control for good. `policy`: fields as
    under `policy` in a template's file, of which those that are not given stay. `conversions`: null counts none."""

    template_id: str
    name: Annotated[Line, StringConstraints(min_length=1)] = ""
    flow_id: Identifier | None = None
    treatment_action_id: Identifier | None = None
    control_action_id: Identifier | None = None
    property_prefix: Annotated[str, StringConstraints(pattern=f"^{PREFIX}$")] = "jai"
    delay_s: _Seconds | None = Field(None, description="From webhook to email, where the flow does not tell.")
    send_window_s: _Seconds = Field(900, description="After the email was due, until our copy is taken away.")
    split: Literal["external", "random", "persistent"] = "external"
    control_ratio: Share = 0.0
    control_share: Share = 0.0
    repeat: Literal["avoid", "allow"] = "avoid"
    policy: Annotated[dict[str, Any], Field(default_factory=dict)]
    conversions: CountedConversions | None = None


class ChangedTemplate(ResultModel):
    """`snippet_changed`: the email's snippet has to be pasted again."""

    template: Template
    snippet_changed: bool
    changed: bool


class SetState(AskedModel):
    """Active: variants are chosen. Shipped: the split has ended, the holdout stays, variants and the
    ranker go on. Archived: all get control."""

    template_id: str
    state: State


async def _elsewhere(asking: Asking, asked: SetTemplate) -> frozenset[str]:
    return await prefixes_elsewhere(asking) if "property_prefix" in asked.model_fields_set else frozenset()


@operation_after(
    _elsewhere, "templates.set", "PATCH", "/templates/{template_id}", "editor",
    "Set where a template lives in Klaviyo, and how it tests and learns.",
)  # fmt: skip
async def set_template(context: Context, asked: SetTemplate, elsewhere: frozenset[str]) -> ChangedTemplate:
    """A prefix that another org has on the same Klaviyo account may stay, and is not taken anew."""
    connection, org_id, template_id = context.connection, context.org_id, asked.template_id
    stored = await _lock(context, template_id)
    given = asked.model_dump(include=asked.model_fields_set - {"template_id"})
    if given.get("conversions") is not None:
        given["conversions"] = stored_conversions(asked.conversions)
    names = [row["name"] for row in await connection.fetch(SELECT_NAMES, org_id, template_id)]
    wanted = {**stored, **given, **chosen(stored, given, names)}
    await _check_place(context, wanted)
    if wanted["property_prefix"] != stored["property_prefix"]:
        refuse_taken(wanted["property_prefix"], elsewhere)
    before = await place_of(connection, org_id, template_id)
    if wanted != stored:
        await connection.execute(
            UPDATE_SETTINGS, org_id, template_id, wanted["name"], wanted["flow_id"], wanted["treatment_action_id"],
            wanted["control_action_id"], wanted["property_prefix"], wanted["delay_s"], wanted["send_window_s"],
            context.now, wanted["split"], wanted["control_ratio"], wanted["control_share"], wanted["repeat"],
            wanted["policy"], wanted["conversions"],
        )  # fmt: skip
    return ChangedTemplate(
        template=await read_one(context, template_id),
        snippet_changed=before != await place_of(connection, org_id, template_id),
        changed=wanted != stored,
    )


@operation(
    "templates.state", "PUT", "/templates/{template_id}/state", "editor",
    "Lead a template through its life: draft, active, shipped, archived.",
)  # fmt: skip
async def set_state(context: Context, asked: SetState) -> ChangedTemplate:
    stored = await _lock(context, asked.template_id)
    if asked.state in _SERVED and stored["state"] not in _SERVED:
        await _check_ready(context, asked.template_id, stored)
    if asked.state != stored["state"]:
        await context.connection.execute(
            UPDATE_STATE, context.org_id, asked.template_id, asked.state, context.now
        )  # fmt: skip
    return ChangedTemplate(
        template=await read_one(context, asked.template_id), snippet_changed=False,
        changed=asked.state != stored["state"],
    )  # fmt: skip


async def _lock(context: Context, template_id: str) -> dict[str, Any]:
    row = await context.connection.fetchrow(LOCK_TEMPLATE, context.org_id, template_id)
    if row is None:
        raise no_template(template_id)
    return dict(row)


async def _check_place(context: Context, wanted: dict[str, Any]) -> None:
    """Emails of a template whose flow or message is not there would all show control, without anybody noticing."""
    flow_id, treatment, control = wanted["flow_id"], wanted["treatment_action_id"], wanted["control_action_id"]
    if (flow_id is None) != (treatment is None):
        field = "flow_id" if flow_id is None else "treatment_action_id"
        raise Refused("flow and treatment message belong together; give both", field=field)
    if control is not None and flow_id is None:
        raise Refused("belongs to a flow; give it and its treatment message too", field="control_action_id")
    if control is not None and control == treatment:
        raise Refused("must be another message than the treatment's", field="control_action_id")
    for field, action_id in (("treatment_action_id", treatment), ("control_action_id", control)):
        if action_id is not None and await is_unknown(context, flow_id, action_id):
            raise Refused(
                f"flow {flow_id} had no email step {action_id} when flows were last read", field=field,
                next=Next("flows.list"),
            )  # fmt: skip


async def _check_ready(context: Context, template_id: str, stored: dict[str, Any]) -> None:
    """Activated with nothing to serve, a template would look alive and show control to everybody."""
    if stored["flow_id"] is None:
        raise Refused("the template has no flow message yet", field="state", next=Next("templates.set", (template_id,)))
    if not await context.connection.fetchval(COUNT_APPROVED, context.org_id, template_id):
        raise Refused("the template has no approved variant yet", field="state")
