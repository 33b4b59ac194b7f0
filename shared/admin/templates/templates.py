"""Templates: listed, shown and imported."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import WithJsonSchema

from shared.admin.context import Asking, Context
from shared.admin.errors import Refused
from shared.admin.operation import AskedModel, Nothing, ResultModel, operation, operation_after
from shared.admin.orgs.sharing import prefixes_elsewhere, says_taken
from shared.admin.stops import Stop, read_stops
from shared.admin.templates import store as template_store
from shared.admin.templates.choice import CountedConversions
from shared.admin.templates.one import OneTemplate, no_template
from shared.admin.templates.reading import judge, served_texts
from shared.admin.variants import store as variant_store
from shared.content.faults import Finding
from shared.content.rules import OrgRules
from shared.schemas.copy import Vars
from shared.schemas.template_file import TemplateFile

SELECT_FLOW_READ = """
    SELECT count(*) AS messages, count(*) FILTER (WHERE flow_id = $2 AND action_id = $3) AS fitting
    FROM flow_messages WHERE org_id = $1 AND flow_status <> 'gone'
"""
# A row's text has all of its columns, those too that were added since this was written.
SELECT_SIGN = """
    SELECT md5(concat(t::text, (SELECT string_agg(v::text, ' ' ORDER BY v.copy_id) FROM variants v
                                WHERE v.org_id = t.org_id AND v.template_id = t.template_id)))
    FROM templates t WHERE t.org_id = $1 AND t.template_id = $2
"""

State = Literal["draft", "active", "shipped", "archived"]


class TemplateRow(ResultModel):
    """One template in the list. `approved`: its variants that may be served."""

    template_id: str
    name: str
    state: State
    property_prefix: str
    flow_id: str | None
    treatment_action_id: str | None
    approved: int
    stopped_at: datetime | None
    stopped_reason: str | None


class Templates(ResultModel):
    """By id."""

    templates: list[TemplateRow]


class TemplateVariant(ResultModel):
    """One variant; subject and version are what is served once it is approved."""

    copy_id: UUID
    name: str
    theme: str
    state: str
    version: int
    subject: str


class Template(ResultModel):
    """One template with its variants. `delay_s`: as set by hand; `flow_delay_s`: as the flow was read last.
    `split`: external where Klaviyo's own branches split, else random or persistent, with `control_ratio` of control;
    `control_share`: control for good. `policy`: what is set, the rest has its default. `conversions`: null counts
    none."""

    template_id: str
    name: str
    state: State
    property_prefix: str
    delay_s: int | None
    send_window_s: int
    flow_id: str | None
    treatment_action_id: str | None
    control_action_id: str | None
    flow_delay_s: int | None
    control_subject: str
    control_preheader: str
    control_body: str
    split: str
    control_ratio: float
    control_share: float
    repeat: str
    policy: dict[str, Any]
    conversions: CountedConversions | None
    created_at: datetime
    updated_at: datetime
    variants: list[TemplateVariant]
    stops: list[Stop]


class ImportTemplate(AskedModel):
    """A template as its file says it; variants are known by their names, those that are missing are archived.
    `dry_run`: only tell what would be done."""

    template: Annotated[Any, WithJsonSchema({"type": "object", "description": "As in a template's YAML file."})]
    dry_run: bool = False


class VariantChange(ResultModel):
    """What an import did with one variant: created, new version, unchanged or archived; and where it stands now.
    `touched`: what else it did, in words: a version that waited is withdrawn, another text served, a pause ended."""

    name: str
    copy_id: UUID
    what: str
    standing: str
    touched: list[str]
    serves: bool


class ImportedTemplate(ResultModel):
    """`snippet_changed`: the email's snippet has to be pasted again. `place_unknown`: the flow had no such email step
    when flows were last read. `differs`: it was not so already; `changed`: and now is."""

    template_id: str
    dry_run: bool
    state: State
    flow_id: str | None
    treatment_action_id: str | None
    changes: list[VariantChange]
    warnings: list[str]
    snippet_changed: bool
    place_unknown: bool
    stops: list[Stop]
    differs: bool
    changed: bool


class _Undone(Exception):
    """Ends the savepoint of what was only tried out."""


@dataclass(frozen=True, slots=True)
class _Judged:
    template: TemplateFile
    texts: dict[str, Vars]
    warnings: Sequence[Finding]
    rules: OrgRules
    elsewhere: frozenset[str]


async def _judge(asking: Asking, asked: ImportTemplate) -> _Judged:
    """Rendering all variants once takes a second where there are many: in a thread, and in no transaction."""
    async with asking.means.database.transaction(asking.org_id) as connection:
        rules = await variant_store.read_rules(connection, asking.org_id)
    judged = await asyncio.to_thread(judge, asked.template, rules, asking.means.clock.now().date())
    if judged.template is None:
        raise Refused.of_faults(judged.faults, code="bad_template")
    texts = await asyncio.to_thread(served_texts, judged.template)
    return _Judged(judged.template, texts, judged.warnings, rules, await prefixes_elsewhere(asking))


@operation_after(
    _judge, "templates.import", "POST", "/templates/import", "editor",
    "Create or update a template with its variants; changed texts become new versions.",
)  # fmt: skip
async def import_template(context: Context, asked: ImportTemplate, judged: _Judged) -> ImportedTemplate:
    """A dry run does it all and takes it back, so that it tells exactly what would be done."""
    found: list[ImportedTemplate] = []
    try:
        async with context.connection.transaction():
            found.append(await _import(context, judged, dry_run=asked.dry_run))
            if asked.dry_run:
                raise _Undone
    except _Undone:
        pass
    return found[0]


async def _import(context: Context, judged: _Judged, *, dry_run: bool) -> ImportedTemplate:
    connection, org_id, file = context.connection, context.org_id, judged.template
    before = await connection.fetchval(SELECT_SIGN, org_id, file.template_id)
    done = await template_store.import_template(
        connection, org_id, file, judged.texts, context.actor.name, context.now,
        review_required=judged.rules.review_required,
    )  # fmt: skip
    flow, differs = file.flow, before != await connection.fetchval(SELECT_SIGN, org_id, file.template_id)
    return ImportedTemplate(
        template_id=file.template_id,
        dry_run=dry_run,
        state=file.state,
        flow_id=flow and flow.flow_id,
        treatment_action_id=flow and flow.treatment_action_id,
        changes=[VariantChange.model_validate(one, from_attributes=True) for one in done.changes],
        warnings=[*map(str, judged.warnings), *_taken(file.property_prefix, judged.elsewhere)],
        snippet_changed=done.snippet_changed,
        place_unknown=flow is not None and await is_unknown(context, flow.flow_id, flow.treatment_action_id),
        stops=await read_stops(connection, org_id, file.template_id),
        differs=differs,
        changed=differs and not dry_run,
    )


def _taken(prefix: str, elsewhere: frozenset[str]) -> list[str]:
    """A file that was imported before is taken in again, so it is no fault."""
    return [f"property_prefix: {says_taken(prefix)}"] if prefix in elsewhere else []


async def is_unknown(context: Context, flow_id: str, action_id: str) -> bool:
    """A wrong id is found here, and not by all emails showing control. What was never read says nothing."""
    row = await context.connection.fetchrow(SELECT_FLOW_READ, context.org_id, flow_id, action_id)
    return row is not None and row["messages"] > 0 and not row["fitting"]


@operation("templates.list", "GET", "/templates", "viewer", "List the templates and where each stands.")
async def list_templates(context: Context, _: Nothing) -> Templates:
    rows = await context.connection.fetch(template_store.SELECT_TEMPLATES, context.org_id)
    return Templates(templates=[TemplateRow(**dict(row)) for row in rows])


@operation("templates.show", "GET", "/templates/{template_id}", "viewer", "Show a template with its variants.")
async def show(context: Context, asked: OneTemplate) -> Template:
    return await read_one(context, asked.template_id)


async def read_one(context: Context, template_id: str) -> Template:
    """The template. Raises NotFound."""
    connection, org_id = context.connection, context.org_id
    row = await connection.fetchrow(template_store.SELECT_WHOLE, org_id, template_id)
    if row is None:
        raise no_template(template_id)
    variants = await connection.fetch(template_store.SELECT_VARIANTS, org_id, template_id)
    return Template(
        **dict(row),
        variants=[TemplateVariant(**dict(variant)) for variant in variants],
        stops=await read_stops(connection, org_id, template_id),
    )
