"""What the treatment step sends: the snippet in each of its emails, and what stands around it. Pure, as `lint` is.

A step that runs a test of Klaviyo's own sends more than one, and what any of them brings counts for the template.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from shared.klaviyo.client import FlowAction, Message
from shared.klaviyo.lint_answer import Answer
from shared.snippet import Snippet

_TESTS: Final = frozenset({"ab-test", "content-experiment"})
_WORST_FIRST: Final = ("wrong", "warning", "unknown", "good")
_OPT_OUT: Final = re.compile(r"\{%-?\s*(?:unsubscribe|manage_preferences)|\{\{[^{}]*\bunsubscribe_(?:url|link)\b")
_IF: Final = re.compile(r"\{%-?\s*(?P<end>end)?if\b(?P<asked>[^{}]*)%\}")


@dataclass(frozen=True, slots=True)
class Email:
    """One message of the step. `body`: its HTML, None where the key may not read it; `text`, `amp`: what a mail program
    may show in its place, empty where there is none or it may not be read."""

    message_id: str
    name: str
    subject: str
    preview: str
    body: str | None = None
    text: str = ""
    amp: str = ""


def emails_of(action: FlowAction, listed: Sequence[Message]) -> list[Email]:
    """Each email that the step can send, once: those in its definition, and those that Klaviyo lists beside it. Their
    bodies are read apart. One without texts where Klaviyo says nothing of any."""
    defined = {str(one.get("id") or ""): one for one in _defined(action)}
    nameless = defined.pop("", {}) if listed else {}
    for one in listed:
        if one.channel in ("email", ""):
            defined.setdefault(one.message_id, one.definition or nameless)
    return [
        Email(message_id, *(str(one.get(name) or "") for name in ("name", "subject_line", "preview_text")))
        for message_id, one in (defined or {"": nameless}).items()
    ]


def emails(
    action: FlowAction, sent: Sequence[Email], newest: Snippet, earlier: Snippet, prefix: str
) -> Iterator[Answer]:
    """Whether all that is sent holds the snippet, and what a variant needs around it. `earlier`: as releases before
    handed it out; `prefix`: of the profile properties."""
    if len(sent) > 1 or action.definition.get("type") in _TESTS:
        yield _tested(len(sent))
    for name, label in (("subject", "Subject Line"), ("preheader", "Preview Text"), ("body", "Body")):
        guarded = getattr(newest, name), getattr(earlier, name)
        yield _of_all([(one, _pasted(name, label, one, guarded)) for one in sent], len(sent))
    for each in (
        [(one, _opt_out(one.body, newest.body, prefix)) for one in sent],
        [(one, _plain_text(one.text, prefix)) for one in sent],
        [(one, _amp(one.amp)) for one in sent],
    ):
        if told := [(one, answer) for one, answer in each if answer is not None]:
            yield _of_all(told, len(sent))
    if old := _of_earlier(sent, earlier):
        yield Answer(
            "snippet_person", "Snippet asks whose copy it is", "warning",
            f"{', '.join(old)}: of an earlier release, which does not ask. Where Klaviyo merges two profiles, one "
            "could be shown the other's copy.",
            "Paste all three parts of the email snippet from Integration Settings again.",
        )  # fmt: skip


def _defined(action: FlowAction) -> Iterator[Mapping[str, Any]]:
    """A step's message, or those that a test draws from."""
    data = action.definition.get("data") or {}
    drawn_from = (data.get("current_experiment") or {}).get("variations") or ()
    for step in (action.definition, data.get("main_action"), *drawn_from):
        message = ((step or {}).get("data") or {}).get("message")
        if message:
            yield message


def _tested(emails: int) -> Answer:
    return Answer(
        "one_message", "Treatment Message is one email", "warning",
        f"The step runs a test of Klaviyo's own ({emails:,} email{'' if emails == 1 else 's'}). Which of them a person "
        "gets is Klaviyo's draw; clicks on each count for the variant that the webhook chose.",
        "End the test and keep one email with the snippet: what is to be compared belongs into variants.",
    )  # fmt: skip


def _of_all(each: Sequence[tuple[Email, Answer]], sent: int) -> Answer:
    """The worst answer of all emails; it names those that it is about where several are `sent`, answered or not."""
    worst = min((answer for _, answer in each), key=lambda one: _WORST_FIRST.index(one.outcome))
    if sent == 1 or worst.outcome == "good":
        return worst
    such = [email.name or email.message_id for email, answer in each if answer.outcome == worst.outcome]
    return replace(worst, found=f"In {', '.join(f'“{name}”' for name in such)}: {worst.found}")


def _pasted(name: str, label: str, email: Email, guarded: Sequence[str]) -> Answer:
    """`guarded`: the snippets that keep other messages' copy out, of this release and of those before."""
    rule, title, there = f"snippet_{name}", f"Snippet is in the {label}", _part(email, name)
    if there is None:
        return Answer(
            rule, title, "unknown", "The key may not read email templates.",
            f"Give the key the scope Templates: Read, or look yourself that the {label} holds the snippet.",
        )  # fmt: skip
    fix = f"Paste the {label} of the email snippet from Integration Settings."
    if any(_holds(there, snippet) for snippet in guarded):
        return Answer(rule, title, "good", f"The {label} holds the snippet.")
    if "person|lookup" in _plain(there):
        return Answer(
            rule, title, "warning", f"The {label} reads a profile property, but without the guard or by an older one: "
            "it can show old or foreign copy.", fix,
        )  # fmt: skip
    return Answer(rule, title, "wrong", f"The {label} does not hold the snippet.", fix)


def _opt_out(html: str | None, snippet: str, prefix: str) -> Answer | None:
    """Whether who is shown a variant can unsubscribe too; None where nothing speaks against it and nobody can look.

    Klaviyo adds a link of its own only to an email in which it finds none, and one in the snippet's control content it
    does find.
    """
    rule, title = "unsubscribe", "Variants have the unsubscribe link"
    fix = (
        "In Klaviyo, put the unsubscribe tag into the email's footer, below the snippet; then take it out of the "
        "control content and paste the Body again."
    )
    if html is None:
        if not _OPT_OUT.search(snippet):
            return None
        return Answer(
            rule, title, "warning", "The control content holds an unsubscribe tag, which no variant has. The key may "
            "not read whether the email has another one around the snippet.", fix,
        )  # fmt: skip
    if _OPT_OUT.search(_around(html, prefix)):
        return Answer(rule, title, "good", "The unsubscribe tag stands outside the snippet.")
    if _OPT_OUT.search(html):
        return Answer(
            rule, title, "wrong", "The email's only unsubscribe tag stands in the snippet's control content: who is "
            "shown a variant has none.", fix,
        )  # fmt: skip
    return Answer(rule, title, "good", "The email has no unsubscribe tag, so Klaviyo adds a link to it.")


def _plain_text(text: str, prefix: str) -> Answer | None:
    """Klaviyo makes the plain-text version of the template's own text, so the snippet is pasted there as well. To ask
    for our copy prints nothing: an author may keep the condition and write a text of their own."""
    rule, title = "plain_text", "Plain-text version is readable"
    if not text.strip():
        return None
    if re.search(rf"\{{\{{[^{{}}]*\b{re.escape(prefix)}_body\b", text):
        return Answer(
            rule, title, "wrong", f"The email's plain-text version prints {prefix}_body: who reads mail as plain text "
            "is shown the source of its HTML.",
            "In Klaviyo, edit the plain-text version: put the control's text there, in the place of the snippet.",
        )  # fmt: skip
    return Answer(rule, title, "good", f"The email's plain-text version does not print {prefix}_body.")


def _amp(amp: str) -> Answer | None:
    if not amp.strip():
        return None
    return Answer(
        "amp", "No AMP version hides the copy", "warning", "The email has an AMP version. Mail programs that know AMP "
        "show it in the place of our copy, and clicks on it count for the variant.",
        "In Klaviyo, take the AMP version out of this email.",
    )  # fmt: skip


def _around(html: str, prefix: str) -> str:
    """The email without any `if` that asks for our properties: also without a snippet that was changed, or is older."""
    ours = re.compile(rf"\b{re.escape(prefix)}_")
    kept, at, depth = [], 0, 0
    for tag in _IF.finditer(html):
        if depth:
            depth += -1 if tag["end"] else 1
            at = tag.end()
        elif not tag["end"] and ours.search(tag["asked"]):
            kept.append(html[at : tag.start()])
            depth = 1
    return "".join(kept) if depth else "".join([*kept, html[at:]])


def _of_earlier(sent: Sequence[Email], earlier: Snippet) -> list[str]:
    labels = {"subject": "Subject Line", "preheader": "Preview Text", "body": "Body"}
    parts = {name: [there for one in sent if (there := _part(one, name)) is not None] for name in labels}
    return [label for name, label in labels.items() if any(_holds(one, getattr(earlier, name)) for one in parts[name])]


def _part(email: Email, name: str) -> str | None:
    return {"subject": email.subject, "preheader": email.preview, "body": email.body}[name]


def _holds(there: str, snippet: str) -> bool:
    return _plain(snippet) in _plain(there)


def _plain(text: str) -> str:
    """Editors change blanks, line ends and quotes."""
    return re.sub(r"\s+", "", text.replace("&#39;", "'").replace("&quot;", '"').replace("&amp;", "&"))
