"""What needs somebody's attention, worst first. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from urllib.parse import quote

from services.console.pages.operations.words import counted
from shared.admin.checks.driven_away_store import DrivenAway
from shared.admin.checks.refused_store import RefusedWebhooks
from shared.admin.exports.exported_hours import Hours
from shared.admin.outcomes.number import Number
from shared.admin.outcomes.outcomes import Writing
from shared.admin.sources.sources import Source
from shared.admin.stops import Stop
from shared.refusals import of as refusal_of

_LATE_AFTER: Final = timedelta(minutes=15)  # a folder whose listings are that much older than they should be
_REFUSED_LATELY: Final = timedelta(hours=1)
_RIGHT_SHARE: Final = 0.99  # of what was meant to show our copy; below it, people should know why

Tone = Literal["bad", "warn"]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing, what it means, and where to look at it: a path and its text."""

    tone: Tone
    title: str
    text: str
    path: str
    link: str


@dataclass(frozen=True, slots=True)
class Observed:
    """How the parts of an org are."""

    org_slug: str
    stops: Sequence[Stop]
    refused: Sequence[RefusedWebhooks]
    writing: Writing
    number: Number
    sources: Sequence[Source]
    exports: Hours
    driven_away: Sequence[DrivenAway] = ()


def attention(org: Observed, now: datetime) -> list[Item]:
    """Nothing where all is well."""
    root = f"/{org.org_slug}/operations"
    found = [
        *_stopped(org.org_slug, org.stops), *_refused(org.org_slug, org.refused, now),
        *_writing(org.org_slug, org.writing), *_emails(root, org.number), *_driven_away(org.org_slug, org.driven_away),
        *_sources(root, org.sources, now), *_exports(root, org.exports),
    ]  # fmt: skip
    return sorted(found, key=lambda one: one.tone != "bad")


def _stopped(org_slug: str, stops: Sequence[Stop]) -> Iterator[Item]:
    """Each leads to where it is resumed."""
    for one in stops:
        what, path, link = "This org is stopped", f"/{org_slug}/operations", "Live view"
        if one.template_id is not None:
            what, link = f"Template {one.template_id} is stopped", "Template"
            path = f"/{org_slug}/templates/{quote(one.template_id, safe='')}"
        why = f" {one.stopped_reason.rstrip('.')}." if one.stopped_reason else ""
        yield Item("bad", what, f"People get the control content until it is resumed.{why}", path, link)


def _refused(org_slug: str, refused: Sequence[RefusedWebhooks], now: datetime) -> Iterator[Item]:
    """Those of the org's own flows: who names none may be anybody. Over, when none came for an hour."""
    for one in refused:
        if one.flow_id and now - one.last_at <= _REFUSED_LATELY:
            yield Item(
                "bad", f"Webhooks of {one.flow_name or one.flow_id} are refused",
                f"{counted(one.webhooks, 'webhook')} within two days, because {refusal_of(one.code).means}. "
                "Klaviyo skips their people.", f"/{org_slug}/troubleshooting", "Troubleshooting",
            )  # fmt: skip


def _writing(org_slug: str, writing: Writing) -> Iterator[Item]:
    if writing.pause is not None:
        yield Item(
            "bad", "Writing is paused: Klaviyo refuses the key",
            f"{writing.pause.message.rstrip('.')}. Store a new private key; writing goes on by itself.",
            f"/{org_slug}/integration", "Org Integration Settings",
        )  # fmt: skip
    elif writing.blocked_until is not None:
        yield Item(
            "warn", "Klaviyo is left alone for a moment",
            f"Reason: {writing.blocked_reason}. What waits is sent after it, as far as its deadline allows.",
            f"/{org_slug}/operations", "Live view",
        )  # fmt: skip


def _emails(root: str, number: Number) -> Iterator[Item]:
    path = f"{root}/number?span=24h"
    if number.stale:
        yield Item(
            "bad", f"{counted(number.stale, 'email')} showed an older copy within 24 hours",
            "Their write did not come in time, and what they held was not taken away before.", path, "Reasons",
        )  # fmt: skip
    share = number.right_share
    if share is not None and share < _RIGHT_SHARE:
        worst = next((one for one in number.rows if one.shown in ("control_missed", "unsure")), None)
        why = f"Most often: {worst.means}." if worst else "They showed an older copy."
        yield Item(
            "warn", f"{100 * share:.1f} % of emails meant to show our copy did, within 24 hours", why, path, "Reasons"
        )  # fmt: skip


def _driven_away(org_slug: str, templates: Sequence[DrivenAway]) -> Iterator[Item]:
    for one in templates:
        yield Item(
            "bad", f"More people leave by {one.name} than by its control",
            f"{one.says}. The guardrail pauses what one variant alone does, and never the last one: look at the copy, "
            "or stop the template.",
            f"/{org_slug}/templates/{one.template_id}", one.name,
        )  # fmt: skip


def _sources(root: str, sources: Sequence[Source], now: datetime) -> Iterator[Item]:
    for one in sources:
        path = f"{root}/sources/{quote(one.name, safe='')}"
        if not one.enabled:
            continue
        if one.refused_at is not None or one.last_error is not None:
            tone: Tone = "bad" if one.refused_at is not None else "warn"
            yield Item(tone, f"Event files of {one.name} are not read", one.last_error or "", path, "Source")
        elif one.last_polled_at is not None and now - one.last_polled_at > _LATE_AFTER + timedelta(seconds=one.poll_s):
            yield Item(
                "warn", f"Nobody has listed {one.name} lately", "Is the ingest service running?", path, "Source"
            )  # fmt: skip
        elif one.silent_since is not None and one.usual_gap_s is not None:
            hours = (now - one.silent_since).total_seconds() / 3600
            usual = one.usual_gap_s / 3600
            yield Item(
                "warn", f"No new file in {one.name} for {hours:.0f} hours",
                f"Its files usually come within {usual:.1f} hours of each other. Does whoever sends them still run?",
                path, "Source",
            )  # fmt: skip
        if one.troubled:
            yield Item(
                "warn",
                f"{counted(one.troubled, 'file')} of {one.name} could not be loaded",
                "Held until retried.",
                path,
                "Source",
            )


def _exports(root: str, exports: Hours) -> Iterator[Item]:
    blocked = [one for one in exports.hours if one.state == "blocked"]
    if exports.target is None or not blocked:
        return
    yield Item(
        "bad",
        f"{counted(len(blocked), 'hour')} cannot be exported",
        blocked[0].error or "",
        f"{root}/exports",
        "Exports",
    )
