"""Whether webhooks come, are let in, and name people that Klaviyo knows. Pure."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from shared.admin.checks.facts import Facts, Place, Seen
from shared.admin.checks.finding import CheckFinding, Tone
from shared.admin.checks.refused_store import SAMPLE, RefusedWebhooks
from shared.admin.checks.strays_store import StrayWebhooks
from shared.refusals import of as refusal_of

_A_WHILE: Final = timedelta(hours=1)  # without a refusal, in which it counts as put right
_BY_ID: Final = frozenset({"missing_user_id", "invalid_user_id", "unrendered_tag"})
"""Refused by the gateway, which keeps nothing of what was sent: there is no example to show."""


def webhook(facts: Facts) -> Iterator[CheckFinding]:
    """By key, by refusal, by flow."""
    if facts.keys == 0:
        yield CheckFinding(
            tone="bad",
            says="There is no API key, so no webhook can be let in.",
            do="Create one and put it into the webhook as X-Api-Key.",
            see="keys.create",
        )
    elif facts.key_used_at is None:
        yield CheckFinding(
            tone="warn",
            says="No request with a key of this org has ever come.",
            do="Confirm that the flow is live and that its webhook sends X-Api-Key with one of your keys.",
            see="keys.list",
        )
    else:
        yield CheckFinding(tone="good", says="A key of this org was last used", at=facts.key_used_at)
    seen = {one.template_id: one for one in facts.seen}
    yield from (_of_refused(one, facts) for one in facts.refused)
    yield from (_of_strays(one, facts) for one in facts.strays)
    for place in facts.places:
        yield _of_place(place, seen.get(place.template_id or ""))
    if facts.more_places:
        yield CheckFinding(
            tone="info",
            says=f"{facts.more_places:,} more are not listed here: trouble comes first.",
            see="templates.list",
        )
    if not facts.places:
        yield CheckFinding(
            tone="warn",
            says="No template is in service, and no flow that was read holds a webhook of ours.",
            do="Set a template active and paste its webhook into the flow.",
            see="templates.list",
        )
    if unknown := sum(one.unknown for one in facts.seen):
        yield CheckFinding(
            tone="bad",
            says=f"Webhooks with a template_id that is none of ours: {unknown:,}.",
            do="Correct template_id in the webhook's JSON body.",
            see="templates.webhook",
            examples=tuple(one.template_id for one in facts.seen if one.unknown)[:5],
        )


def _of_refused(one: RefusedWebhooks, facts: Facts) -> CheckFinding:
    """Bad while none of the flow's was let in after it. Who names no flow of the org may be anybody: a warning."""
    flow = f"Flow {one.flow_name or one.flow_id!r}" if one.flow_id else "Requests that name no flow of this org"
    meant = refusal_of(one.code)
    here = {place.template_id for place in facts.places if place.flow_id == one.flow_id}
    let_in_at = max((seen.last_at for seen in facts.seen if seen.template_id in here), default=None)
    over = let_in_at is not None and let_in_at > one.last_at
    if over:
        tone: Tone = "info" if facts.now - one.last_at > _A_WHILE else "warn"
    else:
        tone = "bad" if one.flow_id else "warn"
    number = f"{one.webhooks:,} webhook{'' if one.webhooks == 1 else 's'}"
    return CheckFinding(
        tone=tone,
        says=f"{flow}: {number} refused, because {meant.means}{'; others were let in since' if over else ''}. The last",
        at=one.last_at,
        do=f"If that was put right, nothing. Else: {meant.do}" if over else meant.do,
        see="keys.list" if meant.by_key else "templates.webhook",
    )


def _of_strays(one: StrayWebhooks, facts: Facts) -> CheckFinding:
    """Bad while they come. A snippet that was cloned with the webhook shows the copy all the same."""
    number = f"{one.webhooks:,} webhook{'' if one.webhooks == 1 else 's'}"
    over = facts.now - one.last_at > _A_WHILE
    do = "In this flow, paste the JSON body and the email snippet of a template of its own."
    return CheckFinding(
        tone="warn" if over else "bad",
        says=f"Flow {one.flow_name or one.flow_id!r}: {number} named flow "
        f"{one.named_flow_name or one.named_flow_id!r} (template {one.template_id}), as a cloned flow's do. They are "
        "timed by that flow's delay, and results of their emails are lost. The last",
        at=one.last_at,
        do=f"If that was put right, nothing. Else: {do}" if over else do,
        see="templates.create",
    )


def _of_place(place: Place, seen: Seen | None) -> CheckFinding:
    flow = f"Flow {place.flow_name or place.flow_id!r}" if place.flow_id else "No flow"
    which = f"{flow}, template {place.template_id}" if place.template_id else flow
    if place.flow_id is None:
        return CheckFinding(
            tone="warn",
            says=f"Template {place.template_id} has no flow yet.",
            do="Choose the Flow and the Treatment Message in the template's Integration Settings.",
            see="templates.set",
        )
    if place.flow_status is None:
        return CheckFinding(
            tone="warn",
            says=f"{which}: the flow was not found in the account when flows were last read.",
            do="Refresh Klaviyo Data.",
            see="flows.sync",
        )
    if place.flow_status != "live":
        return CheckFinding(
            tone="bad",
            says=f"{which}: the flow is {place.flow_status}, not live.",
            do="Set the flow live in Klaviyo, and its webhook step too.",
            at=seen.last_at if seen else None,
        )
    if place.delay_s is None:
        return CheckFinding(
            tone="bad",
            says=f"{which}: the flow is live, but holds no webhook of ours before an email.",
            do="Add the Webhook step, then Refresh Klaviyo Data.",
            see="templates.webhook",
        )
    if place.template_id is None:
        return CheckFinding(
            tone="info",
            says=f"{which} is live and holds a webhook of ours, but no template in service is placed in it.",
            see="templates.list",
        )
    if seen is None:
        return CheckFinding(
            tone="warn",
            says=f"{which}: the flow is live, but no webhook was seen in the last two days "
            f"(of the newest {SAMPLE:,} that were looked at).",
            do="Confirm in Klaviyo that the webhook step is active and that people enter the flow.",
        )
    return CheckFinding(tone="good", says=f"{which}: live, last webhook", at=seen.last_at)


def wrong_ids(facts: Facts) -> Iterator[CheckFinding]:
    """Of profiles, as webhooks bring them."""
    wrong = [one for one in facts.wrong_ids if one.reason == "profile_id_invalid"]
    gone = [one for one in facts.wrong_ids if one.reason == "profile_not_found"]
    if wrong:
        yield CheckFinding(
            tone="bad",
            says="Webhooks brought a user_id that is no id of a profile; the last one came",
            at=wrong[0].last_at,
            do="Use {{ person.KlaviyoID }} in the webhook's JSON body, not {{ person.id }}.",
            see="templates.webhook",
            examples=tuple(f"{one.user_id} (template {one.template_id})" for one in wrong),
            because="profile_id_invalid",
        )
    if gone:
        yield CheckFinding(
            tone="warn",
            says="Klaviyo knows no profile of these ids, as after a merge or a deletion; the last one came",
            at=gone[0].last_at,
            do="If there are many, look whether the webhook belongs to this Klaviyo account.",
            examples=tuple(f"{one.user_id} (template {one.template_id})" for one in gone),
            because="profile_not_found",
        )
    refused = [one for one in facts.refused if one.code in _BY_ID]
    yield from (_of_refused(one, facts) for one in refused)
    if not facts.wrong_ids and not refused:
        looked_at = sum(one.generations for one in facts.ended)
        yield CheckFinding(
            tone="good" if looked_at else "info",
            says=f"None of the newest {looked_at:,} webhooks had a wrong profile ID."
            if looked_at
            else "No webhook came in the last two days.",
        )
