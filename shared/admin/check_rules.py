"""What the facts of an org say about each item of the troubleshooting list. Pure: facts in, findings out."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

from shared.admin.check_facts import ADVISED_S, Ended, Facts, Place, Seen
from shared.admin.klaviyo import SCOPE_COSTS, WRITE
from shared.admin.meanings import of_decision, of_write
from shared.admin.operation import ResultModel
from shared.admin.refused_store import SAMPLE, RefusedWebhooks
from shared.refusals import of as refusal_of
from shared.spans import said

Tone = Literal["good", "info", "warn", "bad"]
ItemName = Literal["webhook_not_firing", "properties_empty", "wrong_profile_id", "not_showing"]

_OLD_SYNC: Final = timedelta(days=7)
_A_WHILE: Final = timedelta(hours=1)  # without a refusal, in which it counts as put right
_BY_PLAN: Final = frozenset({"control_split", "control_holdout"})


class CheckFinding(ResultModel):
    """One answer. `do`: what to do about it, empty where nothing is; `see`: the operation that helps. `at`: the moment
    that the text speaks of, told apart so that each surface shows it in its zone. `because`: the reason whose examples
    can be looked at with `outcomes.examples`."""

    tone: Tone
    says: str
    do: str = ""
    see: str | None = None
    at: datetime | None = None
    examples: tuple[str, ...] = ()
    because: str | None = None


class Item(ResultModel):
    """One line of the list, in its words, with this org's answers; the worst tone of them is its own."""

    name: ItemName
    title: str
    tone: Tone
    findings: list[CheckFinding]


def judge(facts: Facts) -> list[Item]:
    """All items, in the list's order."""
    return [
        _item("webhook_not_firing", "Webhook not firing", _webhook(facts)),
        _item("properties_empty", "Profile properties empty", _properties(facts)),
        _item("wrong_profile_id", "Wrong profile ID", _wrong_ids(facts)),
        _item("not_showing", "Flows/campaigns not showing in JustAI", _showing(facts)),
    ]


def _item(name: ItemName, title: str, found: Iterator[CheckFinding]) -> Item:
    findings = list(found)
    worst = max(findings, key=lambda one: _TONES.index(one.tone))
    return Item(name=name, title=title, tone=worst.tone, findings=findings)


_TONES: Final[Sequence[Tone]] = ("good", "info", "warn", "bad")


# --- the webhook -----------------------------------------------------------------------------------------------------


def _webhook(facts: Facts) -> Iterator[CheckFinding]:
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


# --- what reaches the profile ----------------------------------------------------------------------------------------


def _properties(facts: Facts) -> Iterator[CheckFinding]:
    if facts.scopes is None:
        yield _not_connected()
    elif WRITE not in facts.scopes:
        yield CheckFinding(
            tone="bad",
            says="The Klaviyo API key lacks the scope Profiles: Write.",
            do="Make a key that has it and save it.",
            see="klaviyo.rotate",
        )
    else:
        yield CheckFinding(
            tone="good",
            says=f"The key ending in {facts.last4} has the scope Profiles: Write; verified",
            at=facts.verified_at,
        )
    if facts.pause is not None:
        yield CheckFinding(
            tone="bad",
            says=f"Writing is paused: {facts.pause.rstrip('.')}.",
            do="Save a key that works.",
            see="klaviyo.rotate",
        )
    if facts.stopped_at is not None:
        yield CheckFinding(
            tone="bad",
            says="The org is stopped: nothing is written since",
            at=facts.stopped_at,
            do="Resume it once the cause is mended.",
            see="orgs.resume",
        )
    yield from _ended(facts.ended)
    yield from _delays(facts.places)


def _ended(ended: Sequence[Ended]) -> Iterator[CheckFinding]:
    total = sum(one.generations for one in ended)
    if not total:
        yield CheckFinding(tone="info", says="No webhook came in the last two days, so nothing was written.")
        return
    written = sum(one.generations for one in ended if one.outcome == "written" and one.reason is None)
    yield CheckFinding(
        tone="good" if written else "warn",
        says=f"Written to the profile in time: {written:,} of the newest {total:,} webhooks.",
        see="outcomes.list",
    )
    missed = [one for one in ended if one.outcome == "expired"]
    if missed:
        late = sum(one.generations for one in missed)
        worst = max(missed, key=lambda one: one.generations)
        meant = of_write("expired", worst.reason)
        yield CheckFinding(
            tone="bad",
            says=f"Missed their deadline: {late:,}, most because {meant.means}.",
            do=_MISSED.get(worst.reason or "", ""),
            see="quota.show",
            because=worst.reason or "expired",
        )
    for one in sorted(ended, key=lambda one: -one.generations):
        if one.outcome in ("rejected", "stopped") and one.reason not in ("profile_id_invalid", "profile_not_found"):
            meant = of_write(one.outcome, one.reason)
            yield CheckFinding(
                tone="bad",
                says=f"Not written: {one.generations:,}, because {meant.means}.",
                do=_sentence(meant.do),
                because=one.reason or one.outcome,
            )
        elif one.decision == "control" and one.decided not in _BY_PLAN:
            meant = of_decision("control", one.decided)
            yield CheckFinding(
                tone="warn",
                says=f"Got the control content: {one.generations:,} ({meant.means}).",
                do=_sentence(meant.do),
                because=one.decided,
            )


def _delays(places: Sequence[Place]) -> Iterator[CheckFinding]:
    least, most = ADVISED_S
    short = [one for one in places if one.delay_s is not None and one.delay_s < least]
    for one in short:
        waits = f"only {said(one.delay_s)}" if one.delay_s else "no Time Delay"
        yield CheckFinding(
            tone="bad" if one.delay_s == 0 else "warn",
            says=f"Flow {one.flow_name or one.flow_id}: {waits} between the webhook and the email.",
            do=f"Make the Time Delay {least // 60}–{most // 60} minutes, then Refresh Klaviyo Data.",
            see="flows.sync",
        )
    if not short and any(one.delay_s is not None for one in places):
        yield CheckFinding(tone="good", says=f"Every flow with our webhook waits {least // 60} minutes or more.")


_MISSED: Final = {
    "quota": "Make the Time Delay longer, or let fewer people into the flow at once.",
    "outage": "Look at Klaviyo's status page, and whether a profile writer is running.",
    "key_refused": "Save a key that works.",
    "arrived_late": "Make the Time Delay longer.",
}
"""What helps against each reason, in the words of who looks after the flow."""


def _sentence(do: str) -> str:
    """What to do, where it is nothing that only a command line does."""
    if do == "nothing" or "`" in do or "docs/" in do:
        return ""
    return f"{do[:1].upper()}{do[1:].rstrip('.')}."


# --- ids -------------------------------------------------------------------------------------------------------------


_BY_ID: Final = frozenset({"missing_user_id", "invalid_user_id", "unrendered_tag"})
"""Refused by the gateway, which keeps nothing of what was sent: there is no example to show."""


def _wrong_ids(facts: Facts) -> Iterator[CheckFinding]:
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


# --- what was read from the account ----------------------------------------------------------------------------------


def _showing(facts: Facts) -> Iterator[CheckFinding]:
    if facts.scopes is None:
        yield _not_connected()
        return
    for scope, name in (("flows:read", "Flows: Read"), ("campaigns:read", "Campaigns: Read")):
        if scope in facts.scopes:
            yield CheckFinding(tone="good", says=f"The key has the scope {name}.")
        else:
            yield CheckFinding(
                tone="bad" if scope == "flows:read" else "warn",
                says=f"The key lacks the scope {name}. {SCOPE_COSTS[scope]}",
                do="Make a key that has it and save it.",
                see="klaviyo.rotate",
            )
    yield _read_from_klaviyo(facts, "flow", facts.synced_at, facts.flows, None)
    if "campaigns:read" in facts.scopes:
        problem = facts.campaigns_problem
        yield _read_from_klaviyo(facts, "campaign", facts.campaigns_synced_at, facts.campaigns, problem)


def _read_from_klaviyo(
    facts: Facts, kind: str, read_at: datetime | None, found: int, problem: str | None
) -> CheckFinding:
    """When one kind was last read, and how many there were. No flow is worse than no campaign: templates need flows."""
    kinds = f"{kind.capitalize()}s"
    if problem is not None:
        says = f"{kinds} could not be read when that was tried last: {problem}."
        return CheckFinding(tone="warn", says=says, at=read_at, do="Refresh Klaviyo Data.", see="flows.sync")
    if read_at is None:
        tone: Tone = "bad" if kind == "flow" else "warn"
        says = f"{kinds} were never read from the account."
        return CheckFinding(tone=tone, says=says, do="Refresh Klaviyo Data.", see="flows.sync")
    if not found and kind == "flow":
        says = "The account has no flow with an email, as read"
        return CheckFinding(
            tone="bad", says=says, at=read_at, do="Build the flow in Klaviyo, then Refresh Klaviyo Data.",
            see="flows.sync",
        )  # fmt: skip
    old = facts.now - read_at > _OLD_SYNC
    return CheckFinding(
        tone="warn" if old else "good",
        says=f"{found} {kind}{'' if found == 1 else 's'} with an email known, read",
        at=read_at,
        do="Refresh Klaviyo Data: what was changed since is not seen." if old else "",
        see="flows.sync" if old else None,
    )


def _not_connected() -> CheckFinding:
    return CheckFinding(
        tone="bad",
        says="Klaviyo is not connected.",
        do="Save a private key.",
        see="klaviyo.connect",
    )
