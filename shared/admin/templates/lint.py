"""The set-up linter: what the live flow in Klaviyo does, beside what the template needs."""

from dataclasses import asdict, dataclass, replace
from typing import Literal

from shared.admin.checks.refused_store import read_access
from shared.admin.context import Asking, Context
from shared.admin.errors import Next, Refused
from shared.admin.operation import ResultModel, operation_after
from shared.admin.orgs.klaviyo import client, stored_key
from shared.admin.orgs.sharing import prefixes_elsewhere
from shared.admin.queues import quota
from shared.admin.run import run
from shared.admin.templates.one import OneTemplate, no_template
from shared.admin.templates.pasting import SELECT_ATTRIBUTES
from shared.admin.templates.store import Place, place_of
from shared.admin.variants import preview_grid
from shared.admin.variants.preview_grid import Variant
from shared.admin.variants.previewing import SELECT_VARIANTS
from shared.klaviyo import lint as rules
from shared.klaviyo.client import FlowAction, KlaviyoClient
from shared.klaviyo.lint import Read, webhook_message
from shared.klaviyo.lint_access import api_key_of
from shared.klaviyo.lint_emails import Email, emails_of
from shared.snippet import earlier_snippet, marker
from shared.snippet import snippet as make_snippet

_MEASURED_H = 24
SELECT_SAME_PREFIX = """
    SELECT name FROM templates
    WHERE org_id = $1 AND template_id <> $2 AND property_prefix = $3 AND state <> 'archived' ORDER BY name LIMIT 5
"""


class LintAnswer(ResultModel):
    """One rule: what was found, and how to put it right. `unknown`: the key may not read it."""

    rule: str
    title: str
    outcome: Literal["good", "wrong", "warning", "unknown"]
    found: str
    fix: str


class Linted(ResultModel):
    """In the order of the flow. `passes`: nothing is wrong."""

    answers: list[LintAnswer]
    passes: bool


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was found before the transaction. `elsewhere`: prefixes of other orgs on the same account."""

    read: Read
    p99_s: float | None
    elsewhere: frozenset[str]


async def _read(asking: Asking, asked: OneTemplate) -> _Seen:
    """What Klaviyo says, before any transaction: it may take seconds."""
    async with asking.means.database.transaction(asking.org_id) as connection:
        place = await place_of(connection, asking.org_id, asked.template_id)
    flow_id, action_id = _needed(place, asked.template_id)
    klaviyo = client(asking, *await stored_key(asking))
    flow = await klaviyo.flow(flow_id)
    actions = await klaviyo.flow_actions(flow_id) if flow is not None else []
    treatment = next((one for one in actions if one.action_id == action_id), None)
    sent = await _sent(klaviyo, treatment) if treatment is not None else []
    measured = await run(asking, quota.show, quota.AskedQuota(hours=_MEASURED_H))
    p99_s = next((one.written_p99_s for one in measured.accounts if one.written_p99_s is not None), None)
    return _Seen(Read(flow, actions, sent), p99_s, await prefixes_elsewhere(asking))


async def _sent(klaviyo: KlaviyoClient, treatment: FlowAction) -> list[Email]:
    """Each email of the step with its bodies, where the key may read them."""
    found = emails_of(treatment, await klaviyo.flow_messages(treatment.action_id))
    return [await _with_bodies(klaviyo, one) for one in found]


async def _with_bodies(klaviyo: KlaviyoClient, email: Email) -> Email:
    parts = await klaviyo.message_parts(email.message_id) if email.message_id else None
    return replace(email, body=parts.html, text=parts.text, amp=parts.amp) if parts else email


def _needed(place: Place | None, template_id: str) -> tuple[str, str]:
    if place is None:
        raise no_template(template_id)
    if place.flow_id is None or place.treatment_action_id is None:
        raise Refused(
            "the template has no flow and Treatment Message yet, so there is nothing to check",
            code="no_flow_message", next=Next("templates.set", (template_id,)),
        )  # fmt: skip
    return place.flow_id, place.treatment_action_id


@operation_after(
    _read, "templates.lint", "POST", "/templates/{template_id}/lint", "viewer",
    "Check the live flow in Klaviyo against what the template needs, with a fix for each finding.", changes=False,
)  # fmt: skip
async def lint(context: Context, asked: OneTemplate, seen: _Seen) -> Linted:
    read, p99_s = seen.read, seen.p99_s
    connection, org_id, template_id = context.connection, context.org_id, asked.template_id
    place = await place_of(connection, org_id, template_id)
    flow_id, action_id = _needed(place, template_id)
    if place is None:
        raise no_template(template_id)
    try:
        of_message = place.property_prefix, marker(template_id, flow_id, action_id), place.control
        snippet, earlier = make_snippet(*of_message), earlier_snippet(*of_message)
    except ValueError as error:
        raise Refused(f"No snippet can be made of template {template_id!r}: {error}") from None
    rows = await connection.fetch(SELECT_VARIANTS, org_id, template_id)
    printed = [preview_grid.fields_of(Variant(**dict(row))) for row in rows if row["state"] != "archived"]
    defined = await connection.fetchrow(SELECT_ATTRIBUTES, org_id, template_id)
    presented = api_key_of(webhook_message(read, action_id))
    access = await read_access(
        connection, org_id, context.now, template_id=template_id, flow_id=flow_id,
        digests=context.means.peppers.digests(presented) if presented else [],
    )  # fmt: skip
    same_prefix = await connection.fetch(SELECT_SAME_PREFIX, org_id, template_id, place.property_prefix)
    wanted = rules.Wanted(
        template_id, context.org_slug, action_id, snippet, earlier, frozenset().union(*printed),
        frozenset({**defined["of_org"], **defined["of_template"]} if defined else ()), p99_s,
        None if p99_s is None else quota.recommended_delay_s(p99_s), access,
        rules.Prefix(place.property_prefix, [row["name"] for row in same_prefix],
                     place.property_prefix in seen.elsewhere),
        place.delay_s,
    )  # fmt: skip
    answers = [LintAnswer(**asdict(one)) for one in rules.lint(wanted, read)]
    return Linted(answers=answers, passes=not any(one.outcome == "wrong" for one in answers))
