"""From a brief and brand rules to the one prompt that asks for one draft. Pure: the same in, the same out.

One request for one draft: an answer that is broken or cut off costs one draft, and each is told what the others say.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256

import orjson

from shared.content.checks import PREHEADER_GOOD, SUBJECT_LONG
from shared.content.rules import OrgRules
from shared.drafting.brief import Brief, Example

VERSION = 1
"""Of the wording below: raise it with every change, so that drafts of one wording can be told from those of another."""

MOST_PHRASES = 100  # of each of the org's lists; the checks know all of them
MOST_SUBJECTS = 40
LEAST_DELIVERED = 200
"""With fewer emails a click rate says nothing about a theme, and might say something about somebody."""

TEXTS = {
    "name": "A name for this draft, two to five words, for the people who choose among drafts.",
    "subject": f"The subject line: plain text, at most {SUBJECT_LONG} characters.",
    "preheader": f"The preview text: plain text, {PREHEADER_GOOD.start} to {PREHEADER_GOOD.stop - 1} characters, more "
    "than the subject says.",
    "body": "The body: simple HTML for an email.",
}


@dataclass(frozen=True, slots=True)
class Learning:
    """How one theme did so far, over everybody who got it: delivered emails, and those that a person clicked in."""

    theme: str
    delivered: int
    clicked: int


@dataclass(frozen=True, slots=True)
class Asked:
    """All that a prompt is made of. There is no place in it for a person, a profile or the value of a field.

    `taken`: subjects that are there already, so that drafts differ; `until`: the last day of the template's offer.
    """

    brief: Brief
    theme: str
    voice: str = ""
    banned_words: tuple[str, ...] = ()
    banned_claims: tuple[str, ...] = ()
    promo_codes: tuple[str, ...] = ()
    until: date | None = None
    taken: tuple[str, ...] = ()
    learnings: tuple[Learning, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is sent; `schema` is the JSON schema of its answer."""

    system: str
    user: str
    schema: Mapping[str, object]

    @property
    def digest(self) -> str:
        """Twelve hex digits that stand for exactly this prompt."""
        whole = orjson.dumps([VERSION, self.system, self.user, self.schema])
        return sha256(whole).hexdigest()[:12]


def asked_of(
    brief: Brief, rules: OrgRules, template_id: str, today: date, *,
    theme: str, taken: Sequence[str] = (), learnings: Sequence[Learning] = (),
) -> Asked:  # fmt: skip
    """What the org's rules and what is there already add to a brief. What has ended is not offered."""
    until = rules.end_dates.get(template_id)
    return Asked(
        brief=brief,
        theme=theme,
        voice=rules.voice,
        banned_words=(*rules.banned_words[:MOST_PHRASES], *brief.must_not_say),
        banned_claims=tuple(rules.banned_claims[:MOST_PHRASES]),
        promo_codes=tuple(
            one.code for one in rules.promo_codes if one.ends is None or one.ends >= today
        )[:MOST_PHRASES],
        until=until if until and until >= today else None,
        taken=tuple(dict.fromkeys(taken))[-MOST_SUBJECTS:],
        learnings=tuple(one for one in learnings if one.delivered >= LEAST_DELIVERED),
    )  # fmt: skip


def make_prompt(asked: Asked) -> Prompt:
    """The prompt for one draft."""
    return Prompt(
        system="\n".join(_rules(asked)),
        user="\n".join(_request(asked)),
        schema={
            "type": "object",
            "properties": {name: {"type": "string", "description": what} for name, what in TEXTS.items()},
            "required": [*TEXTS],
            "additionalProperties": False,
        },
    )


def _rules(asked: Asked) -> Iterator[str]:
    yield "You write email copy for a shop. You answer with one JSON object of the given schema and nothing else."
    yield ""
    yield "Rules that every email keeps:"
    yield f"- subject: {TEXTS['subject']}"
    yield f"- preheader: {TEXTS['preheader']}"
    yield f"- body: {TEXTS['body']} Use h1, p, a, strong, ul and li; no scripts, forms, style sheets or pictures."
    if asked.brief.links:
        yield f"- Link only to: {', '.join(asked.brief.links)}"
    else:
        yield "- Use no links: they are put in later."
    if asked.brief.fields:
        first = asked.brief.fields[0]
        yield f"- You may print these fields of the reader: {', '.join(asked.brief.fields)}. There are no others, and"
        yield f"  you do not know their values. Write each with a fallback: {{{{ {first} | default: 'there' }}}}"
    else:
        yield "- You know nothing about the reader. Use no names and no placeholders."
    yield "- Make up no facts, prices, numbers, reviews or promises that the brief does not give."
    yield "- No capitals or exclamation marks for loudness."
    if asked.until:
        yield f"- The offer ends on {asked.until:%Y-%m-%d}; press for time only by naming this day."
    else:
        yield "- Do not press for time: nothing here ends."
    yield f"- {_listed('Promo codes that exist', asked.promo_codes, 'name no other')}"
    if asked.banned_words:
        yield f"- Never use: {'; '.join(asked.banned_words)}"
    if asked.banned_claims:
        yield f"- Never claim: {'; '.join(asked.banned_claims)}"
    if asked.voice:
        yield f"- The shop's voice: {asked.voice}"


def _listed(what: str, items: Sequence[str], otherwise: str) -> str:
    return f"{what}: {', '.join(items)}; {otherwise}." if items else "There are no promo codes: name none."


def _request(asked: Asked) -> Iterator[str]:
    brief = asked.brief
    yield "Write one email."
    yield f"Goal: {brief.goal}"
    if brief.audience:
        yield f"Audience: {brief.audience}"
    if brief.tone:
        yield f"Tone: {brief.tone}"
    yield f"Theme of this draft: {asked.theme}"
    for words in brief.must_say:
        yield f'It must hold these words: "{words}"'
    if asked.learnings:
        yield "How themes did so far (share of delivered emails that were clicked):"
        for one in asked.learnings:
            yield f"- {one.theme}: {one.clicked / one.delivered:.1%} of {one.delivered}"
    for number, example in enumerate(brief.examples, 1):
        yield f"Example {number} of the right style, not to be repeated:"
        yield from _example(example)
    if asked.taken:
        yield "Subjects that are there already; say something else in another way:"
        yield from (f"- {subject}" for subject in asked.taken)


def _example(example: Example) -> Iterator[str]:
    yield f"  subject: {example.subject}"
    if example.preheader:
        yield f"  preheader: {example.preheader}"
    yield f"  body: {example.body}"
