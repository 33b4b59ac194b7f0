"""Whether copy reaches the profile, and in time. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

from shared.admin.checks.facts import ADVISED_S, Ended, Facts, Place
from shared.admin.checks.finding import NOT_CONNECTED, CheckFinding
from shared.admin.checks.refused_store import LATELY
from shared.admin.orgs.klaviyo import WRITE
from shared.admin.outcomes.meanings import of_decision, of_write
from shared.spans import said

_BY_PLAN: Final = frozenset({"control_split", "control_holdout"})
_MISSED: Final = {
    "quota": "Make the Time Delay longer, or let fewer people into the flow at once.",
    "outage": "Look at Klaviyo's status page, and whether a profile writer is running.",
    "key_refused": "Save a key that works.",
    "arrived_late": "Make the Time Delay longer.",
}
"""What helps against each reason, in the words of who looks after the flow."""


def properties(facts: Facts) -> Iterator[CheckFinding]:
    """What stands between a webhook and the profile."""
    if facts.scopes is None:
        yield NOT_CONNECTED
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
    yield from _shared(facts)
    yield from _ended(facts.ended)
    yield from _delays(facts.places)
    for one in facts.places:
        if one.delay_s is not None and one.delay_changed_at and facts.now - one.delay_changed_at <= LATELY:
            yield CheckFinding(
                tone="info",
                says=f"Flow {one.flow_name or one.flow_id}: another Time Delay than before was read, and counts since",
                at=one.delay_changed_at,
            )


def _shared(facts: Facts) -> Iterator[CheckFinding]:
    """Orgs on one account: what one of them writes the other takes off. The other is nobody's to name."""
    if facts.same_prefix:
        yield CheckFinding(
            tone="warn",
            says="Another org of the same Klaviyo account writes to the same properties: people who are in flows of "
            "both may see the control content.",
            do="Give these templates a property prefix of their own, and paste their snippets again.",
            see="templates.set",
            examples=tuple(facts.same_prefix)[:5],
        )
    if facts.shared.may_be:
        yield CheckFinding(
            tone="warn",
            says="Another org here read the same flows, so the two may be on one Klaviyo account. The key does not "
            "tell its account, so neither knows of the other's quota and copy.",
            do="Make a key that has Accounts: Read too and save it; and have the other org do so.",
            see="klaviyo.rotate",
        )


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
    unsaid = [one for one in places if one.unsaid]
    for one in unsaid:
        yield CheckFinding(
            tone="warn",
            says=f"Flow {one.flow_name or one.flow_id} waits for a date or for goods before the email, and template "
            f"{one.template_id} does not say how long that may take: copy may be taken off the profile too early.",
            do="Set the template's Time Delay to the longest that the email may take.",
            see="templates.set",
        )
    if not short and not unsaid and any(one.delay_s is not None for one in places):
        yield CheckFinding(tone="good", says=f"Every flow with our webhook waits {least // 60} minutes or more.")


def _sentence(do: str) -> str:
    """What to do, where it is nothing that only a command line does."""
    if do == "nothing" or "`" in do or "docs/" in do:
        return ""
    return f"{do[:1].upper()}{do[1:].rstrip('.')}."
