"""Saving one variant, as an editor does: always a proposal, whatever is served goes on."""

import asyncio
from typing import Annotated
from uuid import UUID

from pydantic import StringConstraints, ValidationError

from shared.admin.context import Context
from shared.admin.errors import Fault, Refused
from shared.admin.operation import ResultModel, operation
from shared.admin.templates import store as template_store
from shared.admin.templates.one import no_template
from shared.admin.variants import store as variant_store
from shared.admin.variants.store import Stored
from shared.admin.variants.variants import Finding, OneVariant, rows_of
from shared.content.checks import Asked, check_copy
from shared.schemas.template_file import VariantCopy

SELECT_TEMPLATE = """
    SELECT required_fields, state IN ('active', 'shipped') AS served FROM templates
    WHERE org_id = $1 AND template_id = $2
"""


# Blanks around a body belong to it: without them an imported one that is saved again would be a new version.
AsWritten = Annotated[str, StringConstraints(strip_whitespace=False)]


class SaveVariant(OneVariant):
    """`variant`: the name or copy_id of one that is there, or the name of a new one. The body is HTML in `body`, or
    MJML in `mjml`."""

    subject: str = ""
    preheader: str = ""
    body: AsWritten = ""
    mjml: AsWritten | None = None
    theme: str = ""


class SavedVariant(ResultModel):
    """`what`: created, new version or unchanged. `warnings` stop nothing now; some would stop the approval."""

    copy_id: UUID
    name: str
    what: str
    state: str
    warnings: list[Finding]
    changed: bool


@operation(
    "variants.save", "PUT", "/templates/{template_id}/variants/{variant}", "editor",
    "Save a variant's texts as a new version, a draft until it is approved.",
)  # fmt: skip
async def save(context: Context, asked: SaveVariant) -> SavedVariant:
    return await save_one(context, asked)


async def save_one(context: Context, asked: SaveVariant) -> SavedVariant:
    """The same, for who saves several. Raises NotFound, Refused by field."""
    connection, org_id, template_id = context.connection, context.org_id, asked.template_id
    template = await connection.fetchrow(SELECT_TEMPLATE, org_id, template_id)
    if template is None:
        raise no_template(template_id)
    stored = await variant_store.read_variants(connection, org_id, template_id)
    one = next((one for one in stored if asked.variant in (one.name, str(one.copy_id))), None)
    variant = _copy(asked, one)
    rules = await variant_store.read_rules(connection, org_id)
    others = variant_store.others_of(stored, without=asked.variant)
    looked_at = Asked(template_id, context.now.date(), rules, tuple(template["required_fields"]), others)
    reading = await asyncio.to_thread(check_copy, variant, looked_at)  # others of this process go on meanwhile
    findings = reading.findings
    if stopping := [found for found in findings if not found.warning and not found.approval]:
        raise Refused.of_faults([Fault(found.place, found.what) for found in stopping], code="cannot_be_served")
    if reading.served is None:
        raise AssertionError("what nothing stops was served")
    what, copy_id, now = await template_store.store_variant(
        connection,
        org_id,
        template_id,
        variant,
        one,
        reading.served,
        context.actor.name,
        context.now,
        review_required=True,
    )  # what is approved is never withdrawn by saving something else
    changed = one is None or what != "unchanged" or now != one.standing or one.theme != variant.theme
    return SavedVariant(
        copy_id=copy_id, name=variant.name, what=what, state=now.shown(served=template["served"]),
        warnings=rows_of(findings), changed=changed,
    )  # fmt: skip


def _copy(asked: SaveVariant, one: Stored | None) -> VariantCopy:
    """Raises Refused by field."""
    given = asked.model_dump(include={"subject", "preheader", "body", "mjml", "theme"}, exclude_none=True)
    try:
        return VariantCopy.model_validate({"name": one.name if one else asked.variant, **_without_blanks(given)})
    except ValidationError as error:
        raise Refused.of(error) from None


def _without_blanks(given: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in given.items() if text or name == "subject"}
