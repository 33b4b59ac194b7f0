"""How one generation's story is told to a person."""

import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime

import orjson

from cli.display import moment, printable
from shared.admin.outcomes.meanings import Meaning
from shared.admin.person.read_back import ReadBack
from shared.admin.person.story import Account, Event, Send, Story
from shared.schemas.decisions import wrote

_LABEL, _WIDTH = 10, 110
_FINDINGS = {
    "as_written": "as written",
    "taken_away": "taken away: nothing of ours is there",
    "another_generation": "another generation of ours is there",
    "another_person": "copy of another profile is there, as after a merge into this one",
    "overwritten": "overwritten by someone else",
    "profile_gone": "the profile is not there any more: merged or deleted",
    "not_comparable": "something is there, but the stored copy to compare it with cannot be read",
    "not_read": "not read",
}


def lines(story: Story, now: datetime) -> list[str]:
    """For a person, in lines that fit a window."""
    shown: list[str] = []
    for label, text in _told(story, now):
        wrapped = textwrap.wrap(printable(text), _WIDTH - _LABEL, break_long_words=False, break_on_hyphens=False)
        for number, line in enumerate(wrapped or [""]):
            shown.append(f"{label if number == 0 else '':{_LABEL}}{line}")
    return shown


def _told(story: Story, now: datetime) -> Iterator[tuple[str, str]]:
    yield "what", f"generation {story.generation_id}"
    if story.alias_seen_at is not None:
        yield "", f"{story.asked_id} is an alias of it: the same webhook, seen again at {moment(story.alias_seen_at)}"
    yield "who", f"org {story.org}, template {story.template_id}, profile {story.user_id}"
    yield "accepted", f"{moment(story.accepted_at)}, tracking id {story.tracking_id}"
    yield from _decided(story)
    yield from _content(story)
    yield "email", f"may render from {moment(story.deadline_at)} on ({_from(now, story.deadline_at)})"
    leaves = f"; our copy leaves the profile after {moment(story.clean_at)}"
    hoped_for = wrote(story.decided.decision, story.decided.reason) and (
        story.ended is None or story.ended.outcome == "written"
    )
    yield "", f"shows {story.shows}{leaves if hoped_for else ''}"
    yield from _written(story, now)
    yield "profile", _believed(story)
    yield from _account(story.account, now)
    if story.newer is not None:
        newer = story.newer
        yield (
            "newer",
            f"generation {newer.generation_id} of this person (template {newer.template_id}, "
            + (f"{newer.decision}) was accepted at {moment(newer.accepted_at)} and uses the same properties"),
        )
    if story.read_back is not None:
        yield "read back", _read_back(story.read_back)
    yield from _sent(story.sends)


def _decided(story: Story) -> Iterator[tuple[str, str]]:
    decided, variant = story.decided, ""
    if decided.copy_id is not None:
        variant = f": variant {decided.variant or decided.copy_id}, version {decided.version}"
        variant += "" if decided.propensity is None else f", propensity {decided.propensity:.4g}"
    yield "decided", f"{decided.decision}, because of {decided.reason}{variant}"
    yield from _meaning(story, decided.means)
    if decided.eligible:
        yield (
            "",
            "eligible: " + ", ".join(f"{one.name or one.copy_id} {one.probability:.4g}" for one in decided.eligible),
        )
    if decided.cell:
        yield "", f"cell {decided.cell}"
    if decided.draw is not None:
        yield "", f"drawn number {decided.draw:.6f}, in the shares laid end to end in that order"
    yield "attrs", orjson.dumps(decided.attrs).decode() if decided.attrs else "none"
    if decided.repairs:
        yield "repairs", ", ".join(decided.repairs)


def _content(story: Story) -> Iterator[tuple[str, str]]:
    if story.content is not None:
        yield "subject", story.content.subject
        yield "preview", story.content.preheader or "none"
        for number, line in enumerate(story.content.body.splitlines() or ["none"]):
            yield "" if number else "body", line
    elif story.decided.copy_id is not None:
        yield "content", "the stored copy cannot be read"


def _written(story: Story, now: datetime) -> Iterator[tuple[str, str]]:
    if (ended := story.ended) is not None:
        because = f", because of {ended.reason}" if ended.reason else ""
        yield (
            "write",
            f"{ended.outcome}{because}, at {moment(ended.at)}"
            + (f", {ended.took_s:,.1f} s after it was accepted, {_counted(ended.attempts, 'attempt')}"),
        )
        yield from _meaning(story, ended.means)
    if (waiting := story.waiting) is not None:
        tried = f"; {_counted(waiting.attempts, 'attempt')}, last: {waiting.last_reason}" if waiting.attempts else ""
        if not waiting.attempts and waiting.last_reason:
            tried = f"; given back: {waiting.last_reason}"
        yield (
            "write" if ended is None else "",
            f"waits ({waiting.action}) in lane {waiting.lane}, {waiting.ahead:,} "
            + (
                f"of the account before it{tried}; "
                + (
                    f"in flight, its answer is awaited until {moment(waiting.next_attempt_at)}"
                    if waiting.in_flight
                    else f"next attempt {_from(now, waiting.next_attempt_at)}"
                )
            ),
        )
        if waiting.behind is not None:
            yield "", f"a newer generation waits for its answer: {waiting.behind}"
    if story.not_there is not None:
        yield "write", "none"
        yield from _meaning(story, story.not_there)


def _meaning(story: Story, meaning: Meaning) -> Iterator[tuple[str, str]]:
    """The runbook's words, with a command that can be pasted."""
    yield "", f"means: {meaning.means}"
    if meaning.do != "nothing":
        yield "", f"do: {meaning.do.replace(' ORG', f' {story.org}').replace(' TEMPLATE', f' {story.template_id}')}"


def _believed(story: Story) -> str:
    believed = story.believed
    if believed.generation_id is None:
        return "is believed to hold nothing of ours"
    whose = "this generation's copy" if believed.generation_id == story.generation_id else (
        f"copy of generation {believed.generation_id}"
    )  # fmt: skip
    sure = "is believed to hold" if believed.state == "holding" else "may hold"
    older = f"; perhaps older copy for {', '.join(believed.older_for)}" if believed.older_for else ""
    return f"{sure} {whose} for {believed.written_for}{older}; it is taken away after {moment(believed.clean_at)}"


def _account(account: Account, now: datetime) -> Iterator[tuple[str, str]]:
    if account.account is None:
        yield "account", "the org is not connected to Klaviyo"
    if account.paused_at is not None:
        yield (
            "account",
            (
                f"writing is paused since {moment(account.paused_at)}: {account.paused_message} "
                f"({account.paused_reason}); see docs/runbooks/klaviyo-key-refused.md"
            ),
        )
    if account.blocked_until is not None:
        yield (
            "account",
            (
                f"Klaviyo is left alone until {moment(account.blocked_until)} ({_from(now, account.blocked_until)}, "
                f"{account.blocked_reason})"
            ),
        )


def _read_back(found: ReadBack) -> str:
    which = f" ({', '.join(found.properties)})" if found.properties else ""
    named = f": {found.generation_id}" if found.finding == "another_generation" else ""
    why = f" ({found.reason})" if found.reason else ""
    return f"{_FINDINGS[found.finding]}{named}{which}{why}"


def _sent(sends: Sequence[Send]) -> Iterator[tuple[str, str]]:
    if not sends:
        yield "events", "no email that showed it is known yet; event files bring them"
    for send in sends:
        facts = [f"sent at {moment(send.sent_at)}"]
        facts += ["delivered"] if send.delivered else []
        facts += ["bounced"] if send.bounced else []
        facts += [f"opened at {moment(send.first_open_at)}"] if send.first_open_at else []
        facts += [f"{_counted(send.machine_opens, 'open')} by machines"] if send.machine_opens else []
        facts += [f"clicked at {moment(send.first_click_at)}"] if send.first_click_at else []
        facts += ["unsubscribed"] if send.unsubscribed else []
        facts += ["marked as spam"] if send.spam else []
        yield "events", f"{', '.join(facts)} (found by {send.attribution})"
        for event in send.events:
            yield "", _event(event)


def _event(event: Event) -> str:
    by = " by a machine" if event.by_machine else ""
    url = f" {event.url}" if event.url else ""
    place = f"{event.source or 'a source that is gone'}, {event.file or 'a file that is gone'}, line {event.line}"
    return f"{moment(event.event_at)} {event.metric}{by}{url} ({place})"


def _counted(number: int, name: str) -> str:
    return f"1 {name}" if number == 1 else f"{number:,} {name}s"


def _from(now: datetime, at: datetime) -> str:
    """How far away a moment is."""
    away_s = (at - now).total_seconds()
    return f"in {away_s:,.0f} s" if away_s >= 0 else f"{-away_s:,.0f} s ago"
