"""Whether the gateway lets a flow's webhook in: its headers, whose key they hold, and what became of the last ones.

The API's document calls headers an object and says nothing of their values; Klaviyo's own screen hides a part of them.
So a value is read where it is one, and where it is hidden, the webhooks that came tell what can be known.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from shared import refusals
from shared.api_keys import well_formed
from shared.klaviyo.lint_answer import Answer
from shared.spans import said

_HIDDEN: Final = re.compile(r"[*•●…·]{4,}|\.{3,}|redact|hidden|mask", re.IGNORECASE)
_HASH: Final = re.compile(r"(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})", re.IGNORECASE)
_SOON: Final = timedelta(days=7)
_NEW_KEY: Final = "Create a key under API keys and put it into X-Api-Key of the Webhook step."

_LET_ONE_IN: Final = "Let one person enter the flow, then check again; or paste the key again."


@dataclass(frozen=True, slots=True)
class OrgKey:
    """A key of the org, as lists show it."""

    name: str
    shown: str
    may_generate: bool
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Access:
    """What is known on our side. `key`: the one that the webhook's header holds, None where it is none of the org's.
    `let_in_at`: when the template's last webhook was accepted; `refused_at`, `code`: the flow's last that was not."""

    now: datetime
    key: OrgKey | None = None
    let_in_at: datetime | None = None
    refused_at: datetime | None = None
    code: str = ""
    refused: int = 0

    @property
    def refused_last(self) -> bool:
        """Whether nothing was let in since the last refusal."""
        return self.refused_at is not None and (self.let_in_at is None or self.let_in_at < self.refused_at)


def api_key_of(message: Mapping[str, Any]) -> str | None:
    """The API key of a webhook's message, None where it holds none or the place of one. X-Api-Key as the page says, or
    `Authorization: Bearer`, which the gateway takes as well."""
    given = _given(message)
    scheme, _, bearer = given.get("authorization", "").strip().partition(" ")
    key = given.get("x-api-key", "").strip() or (bearer.strip() if scheme.lower() == "bearer" else "")
    return None if not key or "<" in key else key


def hidden(key: str) -> bool:
    """Whether this stands for a key that Klaviyo does not tell."""
    return not well_formed(key) and bool(_HIDDEN.search(key) or _HASH.fullmatch(key))


def let_in(message: Mapping[str, Any], access: Access, changed_at: datetime | None = None) -> Iterator[Answer]:
    """Headers, key, and what became of the webhooks. `changed_at`: when the Webhook step was changed last."""
    key = api_key_of(message)
    yield _headers(_given(message), key)
    if key is not None:
        yield _key(key, access, changed_at)
    yield from _webhooks(access, changed_at)


def _given(message: Mapping[str, Any]) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in (message.get("headers") or {}).items()}


def _headers(given: Mapping[str, str], key: str | None) -> Answer:
    rule, title = "webhook_headers", "Headers are right"
    wrong = []
    if "application/json" not in given.get("content-type", ""):
        wrong.append("Content-Type: application/json")
    if key is None:
        wrong.append("X-Api-Key: a JustAI API key")
    if wrong:
        return Answer(rule, title, "wrong", f"Missing: {' and '.join(wrong)}.", "Add them in the Webhook step.")
    return Answer(rule, title, "good", "Content-Type and the API key are there.")


def _key(text: str, access: Access, changed_at: datetime | None) -> Answer:
    """The key's text is nobody's to see: it is named as lists name it."""
    rule, title, key, now = "webhook_api_key", "API key is accepted", access.key, access.now
    if key is None and hidden(text):
        return _hidden_key(access, changed_at)
    if key is None:
        what = "no key of this org" if well_formed(text) else "no JustAI key: cut short, mistyped or another one's"
        found = f"X-Api-Key is {what}. Each webhook is refused, and Klaviyo skips its person."
        return Answer(rule, title, "wrong", found, _NEW_KEY)
    name = f"The key “{key.name}” ({key.shown})"
    if key.revoked_at is not None:
        return Answer(rule, title, "wrong", f"{name} was revoked {_ago(now, key.revoked_at)}.", _NEW_KEY)
    if key.expires_at is not None and key.expires_at <= now:
        return Answer(rule, title, "wrong", f"{name} expired {_ago(now, key.expires_at)}.", _NEW_KEY)
    if not key.may_generate:
        fix = "Create a key for webhooks under API keys: a key that manages the org does not belong into a flow."
        return Answer(rule, title, "wrong", f"{name} may not generate, so each webhook is refused.", fix)
    if key.expires_at is not None and key.expires_at - now <= _SOON:
        found = f"{name} ends in {_rough(key.expires_at - now)}; from then on each webhook is refused."
        return Answer(rule, title, "warning", found, "Put the new key into X-Api-Key of the Webhook step before that.")
    return Answer(rule, title, "good", f"{name} is this org's, and may generate.")


def _hidden_key(access: Access, changed_at: datetime | None) -> Answer:
    """What came before the step was changed came with whatever it held then."""
    rule, title = "webhook_api_key", "API key is accepted"
    says = "Klaviyo does not show it"
    of_now = max(filter(None, (access.let_in_at, access.refused_at)), default=None)
    if changed_at is not None and of_now is not None and of_now < changed_at:
        return Answer(
            rule, title, "unknown", f"{says}, and no webhook has come since the step was changed.", _LET_ONE_IN
        )
    if access.refused_last:
        meant = refusals.of(access.code)
        if meant.by_key:
            return Answer(rule, title, "wrong", f"{says}, but webhooks were refused because {meant.means}.", meant.do)
        return Answer(rule, title, "good", f"{says}; it was accepted, and the webhook refused for another reason.")
    if access.let_in_at is not None:
        return Answer(rule, title, "good", f"{says}; a webhook was let in {_ago(access.now, access.let_in_at)}.")
    return Answer(rule, title, "unknown", f"{says}, and no webhook has come that would tell.", _LET_ONE_IN)


def _webhooks(access: Access, changed_at: datetime | None) -> Iterator[Answer]:
    """Silent where nothing came yet: Troubleshooting says so."""
    rule, title, now = "webhooks_let_in", "Webhooks are let in", access.now
    if access.refused_at is not None:
        meant = refusals.of(access.code)
        number = f"{access.refused:,} webhook{'' if access.refused == 1 else 's'} of this flow"
        found = f"{number} refused within two days, the last {_ago(now, access.refused_at)}, because {meant.means}"
        if access.refused_last and changed_at is not None and access.refused_at < changed_at:
            yield Answer(
                rule, title, "unknown", f"{found}; the step was changed since, and none came yet.", _LET_ONE_IN
            )
        elif access.refused_last or access.let_in_at is None:
            yield Answer(rule, title, "wrong", f"{found}. Klaviyo skipped these people.", meant.do)
        else:
            since = f"{found}; since then one was let in, {_ago(now, access.let_in_at)}."
            fix = f"If that was put right, nothing. Else: {meant.do}"
            yield Answer(rule, title, "warning", since, fix)
    elif access.let_in_at is not None:
        yield Answer(rule, title, "good", f"The last one came {_ago(now, access.let_in_at)}.")


def _ago(now: datetime, at: datetime) -> str:
    return f"{_rough(now - at)} ago" if now - at >= timedelta(minutes=1) else "within the last minute"


def _rough(length: timedelta) -> str:
    """In its largest unit alone: `3 days`."""
    seconds = max(int(length.total_seconds()), 1)
    unit_s = next((one for one in (86_400, 3_600, 60) if seconds >= one), 1)
    return said(seconds - seconds % unit_s)
