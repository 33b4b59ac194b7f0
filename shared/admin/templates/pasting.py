"""What is pasted into Klaviyo: the email's snippet, and the webhook step's URL, headers and body."""

import json
from typing import Any, Final

from shared.admin.context import Context
from shared.admin.errors import Next, Refused
from shared.admin.operation import AskedModel, ResultModel, operation
from shared.admin.templates.one import OneTemplate, no_template
from shared.admin.templates.store import Place, place_of
from shared.admin.templates.webhook_attrs import attrs_to_paste, fields_to_paste
from shared.admin.variants.preview_grid import Variant, fields_of
from shared.admin.variants.previewing import SELECT_VARIANTS
from shared.snippet import marker
from shared.snippet import snippet as make_snippet

KEY_HEADER: Final = "X-Api-Key"
SELECT_ATTRIBUTES = """
    SELECT o.attributes AS of_org, t.attributes AS of_template FROM templates t JOIN orgs o USING (org_id)
    WHERE t.org_id = $1 AND t.template_id = $2
"""


class AskedWebhook(AskedModel):
    """`base_url`: where the gateway is reached from outside."""

    template_id: str
    base_url: str = "https://<your host>"


class EmailSnippet(ResultModel):
    """Paste each where it belongs. The email shows our copy only where the profile holds copy for exactly this flow
    message and person, else the control content."""

    subject: str
    preheader: str
    body: str


class Webhook(ResultModel):
    """`body` is the text to paste; the value of X-Api-Key is a key of the org. `reads_attrs`: it holds attributes or
    fields with a tag that reads the profile property of their name; `unreadable_attrs`: names that no tag can hold."""

    url: str
    headers: dict[str, str]
    body: str
    reads_attrs: bool
    unreadable_attrs: list[str]


@operation(
    "templates.snippet", "GET", "/templates/{template_id}/snippet", "viewer",
    "What to paste into the treatment email: subject line, preview text, body.",
)  # fmt: skip
async def snippet(context: Context, asked: OneTemplate) -> EmailSnippet:
    template_id = asked.template_id
    place = await _place(context, template_id)
    if place.flow_id is None or place.treatment_action_id is None:
        raise Refused(
            f"Template {template_id!r} has no flow message yet, so no snippet can fit it: set `flow.flow_id` and "
            "`flow.treatment_action_id` in its file and import it again",
            code="no_flow_message", next=Next("templates.set", (template_id,)),
        )  # fmt: skip
    try:
        fits = marker(template_id, place.flow_id, place.treatment_action_id)
        made = make_snippet(place.property_prefix, fits, place.control)
    except ValueError as error:
        raise Refused(f"No snippet can be made of template {template_id!r}: {error}") from None
    return EmailSnippet(subject=made.subject, preheader=made.preheader, body=made.body)


@operation(
    "templates.webhook", "GET", "/templates/{template_id}/webhook", "viewer",
    "What to enter in the flow's webhook step: URL, headers, JSON body.",
)  # fmt: skip
async def webhook(context: Context, asked: AskedWebhook) -> Webhook:
    place = await _place(context, asked.template_id)
    defined = await context.connection.fetchrow(SELECT_ATTRIBUTES, context.org_id, asked.template_id)
    attrs, unreadable = attrs_to_paste({**defined["of_org"], **defined["of_template"]} if defined else {})
    rows = await context.connection.fetch(SELECT_VARIANTS, context.org_id, asked.template_id)
    printed = [fields_of(Variant(**dict(row))) for row in rows if row["state"] != "archived"]
    fields, unprintable = fields_to_paste(frozenset().union(*printed))
    tail = f"{place.flow_id or '<flow_id>'}.{place.treatment_action_id or '<treatment_action_id>'}"
    body: dict[str, Any] = {
        "template_id": asked.template_id,
        "user_id": "{{ person.KlaviyoID }}",
        "tracking_id": "{{ person.KlaviyoID }}." + tail,
        "attrs": attrs,
        "fields": fields,
    }
    return Webhook(
        url=f"{asked.base_url.rstrip('/')}/api/generate/{context.org_slug}",
        headers={"Content-Type": "application/json", KEY_HEADER: "<JUSTAI_API_KEY>"},
        body=json.dumps(body, indent=2, ensure_ascii=False),
        reads_attrs=any("|lookup:" in tag for tag in (*attrs.values(), *fields.values())),
        unreadable_attrs=sorted({*unreadable, *unprintable}),
    )


async def _place(context: Context, template_id: str) -> Place:
    place = await place_of(context.connection, context.org_id, template_id)
    if place is None:
        raise no_template(template_id)
    return place
