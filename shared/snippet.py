"""The email snippet that we hand out: it shows our copy only when the markers on the profile fit this flow message and
this person.

Klaviyo's template language has no clock and knows no generation, so the snippet can tell *for which message* and *for
whom* the copy on the profile is (that keeps foreign copy out), but not *how old* it is: that it is not an older
generation's is kept by clean-up after the send window and by serving people who come back first. Pure.
"""

import re
from dataclasses import dataclass

IDENTIFIER = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
"""Template, flow and action ids as markers take them: no dot, which parts a marker, no quote, which would end it."""

PREFIX = r"[a-z][a-z0-9_]{0,31}"
"""Of the six profile properties."""

_FITS = re.compile(rf"{IDENTIFIER}\.{IDENTIFIER}\.{IDENTIFIER}")
_PLACE = re.compile(rf"{IDENTIFIER}\.{IDENTIFIER}")
_OPENED = re.compile(r"\{[{%#]")
_CLOSES = {"{%": "%}", "{{": "}}", "{#": "#}"}
_BLOCKS = {"if", "for", "comment"}
_BRANCHES = {"else": {"if"}, "elif": {"if"}, "elseif": {"if"}, "empty": {"for"}}


@dataclass(frozen=True, slots=True)
class Control:
    """What the email shows when our copy must not: the customer's own content; Klaviyo tags are allowed in it. Header
    and footer are none of it: an unsubscribe tag in here is shown to nobody who is shown a variant."""

    subject: str
    preheader: str
    body: str


@dataclass(frozen=True, slots=True)
class Snippet:
    """What to paste into the treatment message's three places."""

    subject: str
    preheader: str
    body: str


def written_for(template_id: str, user_id: str, tracking_id: str) -> str:
    """The value of `<prefix>_for`: which flow message a generation's copy is for.

    `tracking_id` is `<user_id>.<flow_id>.<action_id>`; without exactly such a tail the marker is the bare template id,
    which no handed-out snippet accepts, so the email shows the control content.
    """
    place = tracking_id.removeprefix(f"{user_id}.")
    if place == tracking_id or not _PLACE.fullmatch(place):
        return template_id
    return f"{template_id}.{place}"


def marker(template_id: str, flow_id: str, action_id: str) -> str:
    """The literal that the snippet of one flow message compares with. Raises ValueError for what is no id."""
    for name, value in (("template_id", template_id), ("flow_id", flow_id), ("action_id", action_id)):
        if not re.fullmatch(IDENTIFIER, value):
            raise ValueError(f"{name} {value!r} is no id: letters, digits, - and _, at most 64")
    return f"{template_id}.{flow_id}.{action_id}"


def properties(prefix: str) -> tuple[str, str, str, str, str, str]:
    """The six profile properties of one prefix: subject, preheader, body, generation, for, person."""
    names = ("subject", "preheader", "body", "generation", "for", "person")
    return tuple(f"{prefix}_{name}" for name in names)  # type: ignore[return-value]  # six names


def snippet(prefix: str, fits: str, control: Control) -> Snippet:
    """The guarded snippet. Raises ValueError where prefix, marker or control content would break it.

    Klaviyo renders the three places one by one, so each asks the same question and all give the same answer: a
    subject of ours never stands over the control's body. The texts are written together with the marker; subject and
    body are asked for as well, because something else may have taken them away, and a blank email is the worst of all.
    A preheader of ours may be empty.

    Whose copy it is, is asked too, because a merge of two profiles may carry one's properties to the other. A release
    before did not write it, and some flows may not fill `person.KlaviyoID`: where either is missing, the message alone
    decides. There are no brackets in the language, hence three times the same question, and not its negation with the
    contents swapped, which is shorter: what Klaviyo cannot evaluate is false, and then the email shows control.

    The subject is a header, never HTML, so `|safe` is right whether or not Klaviyo escapes there. Preview text ends up
    inside the HTML: there Klaviyo's own rule stands.
    """
    return _guarded(prefix, fits, control, asks_person=True)


def earlier_snippet(prefix: str, fits: str, control: Control) -> Snippet:
    """What releases before handed out: guarded by the message, it does not ask whose copy it is. Many are pasted."""
    return _guarded(prefix, fits, control, asks_person=False)


def _guarded(prefix: str, fits: str, control: Control, *, asks_person: bool) -> Snippet:
    if not re.fullmatch(PREFIX, prefix):
        raise ValueError(f"{prefix!r} is no property prefix: lower-case letters, digits and _, at most 32")
    if not _FITS.fullmatch(fits):
        raise ValueError(f"{fits!r} is no marker: <template_id>.<flow_id>.<action_id>")
    subject, preheader, body, _, written, person = properties(prefix)
    fitting = f"person|lookup:'{written}' == '{fits}' and person|lookup:'{subject}' and person|lookup:'{body}'"
    if asks_person:
        whose = f"person|lookup:'{person}'"
        theirs = (f"{whose} == person.KlaviyoID", f"not {whose}", "not person.KlaviyoID")
        fitting = " or ".join(f"{fitting} and {one}" for one in theirs)

    def guarded(ours: str, filters: str, otherwise: str) -> str:
        if fault := control_fault(otherwise):
            raise ValueError(f"control content in place of {ours}: {fault}")
        return f"{{% if {fitting} %}}{{{{ person|lookup:'{ours}'{filters} }}}}{{% else %}}{otherwise}{{% endif %}}"

    return Snippet(
        subject=guarded(subject, "|safe", control.subject),
        preheader=guarded(preheader, "|default:''", control.preheader),
        body=guarded(body, "|safe", control.body),
    )


def control_fault(text: str) -> str | None:
    """Why this control text cannot stand inside the snippet's `{% else %}`; None when it can.

    A tag that is cut off, or an `{% else %}` or `{% endif %}` too many, would join with the snippet's own tags: then a
    person would see half of each content, or the email would not render.
    """
    cut = [_tags(line) for line in text.split("\n")]
    if None in cut or text.endswith("{"):
        return "a tag is opened and not closed on the same line"
    names: list[str] = []
    for tag in (tag for line in cut for tag in line or ()):
        inside = tag[2:-2]
        if tag.startswith("{#"):
            continue
        if not inside.strip() or _OPENED.search(inside):
            return f"{tag} is no tag"
        if tag.startswith("{%"):
            names.append(inside.split(maxsplit=1)[0])
    return _nesting_fault(names)


def _tags(line: str) -> list[str] | None:
    """A line's tags, as Django cuts a text: none goes over a line's end. None: one is opened and not closed."""
    tags: list[str] = []
    at, left, endless = 0, -2, set[str]()  # what nothing closes is not looked for again: 200 KB of `{{` took minutes
    while found := _OPENED.search(line, at):
        start, kind = found.start(), found[0]
        end = -1 if kind in endless else line.find(_CLOSES[kind], start + 2)
        if end >= 0:
            tags.append(line[start : end + 2])
            at = end + 2
        elif start != left + 1 and line[start + 1 : start + 3] in _CLOSES:  # one brace may be left: `{{% if x %}`
            endless.add(kind)
            left, at = start, start + 1
        else:
            return None
    return tags


def _nesting_fault(names: list[str]) -> str | None:
    blocks = _BLOCKS | {name.removeprefix("end") for name in names if name.startswith("end")}
    opened: list[str] = []
    for name in names:
        inside = opened[-1] if opened else ""
        if inside == "comment" and name != "endcomment":
            continue
        if name.startswith("end") and name != "end":
            if inside != name.removeprefix("end"):
                return f"{{% {name} %}} closes nothing that this text has opened"
            opened.pop()
        elif name in _BRANCHES and inside not in _BRANCHES[name]:
            return f"{{% {name} %}} belongs to nothing that this text has opened"
        elif name in blocks:
            opened.append(name)
    return f"{{% {opened[-1]} %}} is never closed" if opened else None


def page_snippet() -> Snippet:
    """The literal snippet of the public integration page: the contract keeps it valid, but it cannot be safe."""
    return Snippet(
        subject="{{ person|lookup:'jai_subject'|default:\"Your weekly update\" }}",
        preheader="{{ person|lookup:'jai_preheader'|default:\"\" }}",
        body="{{ person|lookup:'jai_body'|safe }}",
    )
