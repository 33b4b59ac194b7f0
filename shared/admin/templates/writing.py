"""A new template, its control content, and all of it as the file that an import reads."""

from typing import Any

from pydantic import ValidationError

from shared.admin.context import Asking, Context
from shared.admin.errors import Conflict, Refused
from shared.admin.operation import AskedModel, ResultModel, operation, operation_after
from shared.admin.orgs.sharing import prefixes_elsewhere, refuse_taken
from shared.admin.templates.one import OneTemplate, no_template
from shared.admin.templates.reading import faults_of
from shared.admin.templates.store import place_of
from shared.admin.templates.templates import Template, read_one
from shared.admin.variants import store as variant_store
from shared.admin.variants.store import Stored
from shared.admin.yaml_text import written
from shared.schemas.template_file import ControlCopy, TemplateFile

INSERT_TEMPLATE = """
    INSERT INTO templates (org_id, template_id, name, state, property_prefix, send_window_s, control_subject,
                           control_preheader, control_body, policy, created_at, updated_at)
    VALUES ($1, $2, $3, 'draft', $4, 900, $5, $6, $7, '{}', $8, $8)
    ON CONFLICT (org_id, template_id) DO NOTHING
"""
UPDATE_CONTROL = """
    UPDATE templates SET control_subject = $3, control_preheader = $4, control_body = $5, updated_at = $6
    WHERE org_id = $1 AND template_id = $2
      AND (control_subject, control_preheader, control_body) IS DISTINCT FROM ($3, $4, $5)
"""
SELECT_FILE = """
    SELECT template_id, name, state, property_prefix, delay_s, send_window_s, flow_id, treatment_action_id,
           control_action_id, required_fields, policy, conversions, attributes, other_attrs, split, control_ratio,
           split_salt, control_share, repeats, control_subject, control_preheader, control_body
    FROM templates WHERE org_id = $1 AND template_id = $2
"""


class ControlGiven(AskedModel):
    """What the email shows when our copy must not. Klaviyo's tags are welcome in it."""

    subject: str
    preheader: str = ""
    body: str


class CreateTemplate(ControlGiven):
    """A draft without variants. The id stands in the webhook's body and never changes."""

    template_id: str
    name: str
    property_prefix: str = "jai"


class SetControl(ControlGiven):
    """All three texts."""

    template_id: str


class SavedControl(ResultModel):
    """`snippet_changed`: the email's snippet has to be pasted again."""

    template_id: str
    snippet_changed: bool
    changed: bool


class TemplateYaml(ResultModel):
    """What `templates.import` reads, as YAML."""

    template_id: str
    yaml: str


async def _elsewhere(asking: Asking, _: CreateTemplate) -> frozenset[str]:
    return await prefixes_elsewhere(asking)


@operation_after(
    _elsewhere, "templates.create", "POST", "/templates", "editor", "Create a template: a draft without variants."
)
async def create(context: Context, asked: CreateTemplate, elsewhere: frozenset[str]) -> Template:
    """Refused with a prefix that another org has on the same Klaviyo account."""
    refuse_taken(asked.property_prefix, elsewhere)
    control = {"subject": asked.subject, "preheader": asked.preheader, "body": asked.body}
    raw = {
        "template_id": asked.template_id, "name": asked.name, "property_prefix": asked.property_prefix,
        "control": control,
    }  # fmt: skip
    try:
        file = TemplateFile.model_validate(raw)
    except ValidationError as error:
        raise _refused(raw, error) from None
    done = await context.connection.execute(
        INSERT_TEMPLATE, context.org_id, file.template_id, file.name, file.property_prefix, file.control.subject,
        file.control.preheader, file.control.body, context.now,
    )  # fmt: skip
    if done == "INSERT 0 0":
        raise Conflict(f"There is a template {file.template_id!r} already", field="template_id")
    return await read_one(context, file.template_id)


@operation(
    "templates.control", "PUT", "/templates/{template_id}/control", "editor",
    "Set the control content of a template; the email's snippet holds it.",
)  # fmt: skip
async def set_control(context: Context, asked: SetControl) -> SavedControl:
    raw = {"control": asked.model_dump(include={"subject", "preheader", "body"})}
    try:
        control = ControlCopy.model_validate(raw["control"])
    except ValidationError as error:
        raise _refused(raw["control"], error) from None
    if await place_of(context.connection, context.org_id, asked.template_id) is None:
        raise no_template(asked.template_id)
    done = await context.connection.execute(
        UPDATE_CONTROL, context.org_id, asked.template_id, control.subject, control.preheader, control.body,
        context.now,
    )  # fmt: skip
    changed = done != "UPDATE 0"
    return SavedControl(template_id=asked.template_id, snippet_changed=changed, changed=changed)


@operation(
    "templates.export", "GET", "/templates/{template_id}/export", "viewer",
    "Show a template with its variants as the file that an import reads.",
)  # fmt: skip
async def export(context: Context, asked: OneTemplate) -> TemplateYaml:
    row = await context.connection.fetchrow(SELECT_FILE, context.org_id, asked.template_id)
    if row is None:
        raise no_template(asked.template_id)
    stored = await variant_store.read_variants(context.connection, context.org_id, asked.template_id, hold=False)
    content = file_of(dict(row), [one for one in stored if one.standing.state != "archived"])
    return TemplateYaml(template_id=asked.template_id, yaml=written(content))


def file_of(row: dict[str, Any], variants: list[Stored]) -> dict[str, Any]:
    """The file's content, without what has its default. Of a variant that is served the served version is given, and
    of another one the newest."""
    file: dict[str, Any] = {name: row[name] for name in ("template_id", "name", "state", "property_prefix")}
    file |= {"delay_s": row["delay_s"], "send_window_s": row["send_window_s"]}
    if row["flow_id"] is not None:
        flow = {name: row[name] for name in ("flow_id", "treatment_action_id", "control_action_id")}
        file["flow"] = {name: value for name, value in flow.items() if value is not None}
    file |= {"required_fields": row["required_fields"], "policy": row["policy"], "conversions": row["conversions"]}
    file |= {"attributes": row["attributes"], "other_attrs": row["other_attrs"]}
    file["split"] = {"method": row["split"], "control_ratio": row["control_ratio"], "salt": row["split_salt"]}
    file |= {"control_share": row["control_share"], "repeat": row["repeats"]}
    defaults: dict[str, Any] = {
        "delay_s": None, "send_window_s": 900, "property_prefix": "jai", "required_fields": [], "policy": {},
        "conversions": None, "attributes": {}, "other_attrs": "pass", "control_share": 0, "repeat": "avoid",
        "split": {"method": "external", "control_ratio": 0, "salt": ""},
    }  # fmt: skip
    file = {name: value for name, value in file.items() if name not in defaults or value != defaults[name]}
    control = {name: row[f"control_{name}"] for name in ("subject", "preheader", "body")}
    file["control"] = {name: text for name, text in control.items() if text}
    file["variants"] = [_variant(one) for one in variants]
    return file


def _variant(one: Stored) -> dict[str, Any]:
    approved = one.standing.state == "approved"
    copy = one.at(one.standing.version if approved else one.standing.pending or one.standing.version).copy
    said = {"name": one.name, "theme": one.theme, "approved": approved, "subject": copy.subject}
    said |= {"preheader": copy.preheader, "mjml" if copy.is_mjml else "body": copy.source}
    return {name: value for name, value in said.items() if value not in ("", False)}


def _refused(raw: object, error: ValidationError) -> Refused:
    """By the names of what was asked: the control's texts stand alone there."""
    faults = [type(one)(one.field.removeprefix("control."), one.message) for one in faults_of(raw, error)]
    return Refused.of_faults(faults)
