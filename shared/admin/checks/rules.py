"""What the facts of an org say about each item of the troubleshooting list. Pure: facts in, findings out."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

from shared.admin.checks.facts import Facts
from shared.admin.checks.finding import NOT_CONNECTED, CheckFinding, Tone
from shared.admin.checks.webhook import webhook, wrong_ids
from shared.admin.checks.writing import properties
from shared.admin.operation import ResultModel
from shared.admin.orgs.klaviyo import SCOPE_COSTS

ItemName = Literal["webhook_not_firing", "properties_empty", "wrong_profile_id", "not_showing"]

_TONES: Final[Sequence[Tone]] = ("good", "info", "warn", "bad")
_OLD_SYNC: Final = timedelta(days=7)


class Item(ResultModel):
    """One line of the list, in its words, with this org's answers; the worst tone of them is its own."""

    name: ItemName
    title: str
    tone: Tone
    findings: list[CheckFinding]


def judge(facts: Facts) -> list[Item]:
    """All items, in the list's order."""
    return [
        _item("webhook_not_firing", "Webhook not firing", webhook(facts)),
        _item("properties_empty", "Profile properties empty", properties(facts)),
        _item("wrong_profile_id", "Wrong profile ID", wrong_ids(facts)),
        _item("not_showing", "Flows/campaigns not showing in JustAI", _showing(facts)),
    ]


def _item(name: ItemName, title: str, found: Iterator[CheckFinding]) -> Item:
    findings = list(found)
    worst = max(findings, key=lambda one: _TONES.index(one.tone))
    return Item(name=name, title=title, tone=worst.tone, findings=findings)


def _showing(facts: Facts) -> Iterator[CheckFinding]:
    if facts.scopes is None:
        yield NOT_CONNECTED
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
    yield _read_from_klaviyo(facts, "flow", facts.synced_at, facts.flows, facts.flows_problem)
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
