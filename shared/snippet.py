"""The email snippet that we hand out: it shows our copy only when the marker on the profile fits this flow message.

Klaviyo's template language has no clock and knows no generation, so the snippet can tell *for which message* the
copy on the profile is (that keeps foreign copy out), but not *how old* it is: that it is not an older generation's
is kept by clean-up after the send window and by serving people who come back first. Pure.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Control:
    """What the email shows when our copy must not: the customer's own content; Klaviyo tags are allowed in it."""

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

    `tracking_id` is `<user_id>.<flow_id>.<action_id>`; without such a tail the marker is the bare template id, which
    no handed-out snippet accepts, so the email shows the control content.
    """
    head, _, tail = tracking_id.partition(".")
    flow_id, _, action_id = tail.partition(".")
    if head != user_id or not flow_id or not action_id:
        return template_id
    return marker(template_id, flow_id, action_id)


def marker(template_id: str, flow_id: str, action_id: str) -> str:
    """The literal that the snippet of one flow message compares with."""
    return f"{template_id}.{flow_id}.{action_id}"


def properties(prefix: str) -> tuple[str, str, str, str, str]:
    """The five profile properties of one prefix: subject, preheader, body, generation, for."""
    return tuple(f"{prefix}_{name}" for name in ("subject", "preheader", "body", "generation", "for"))  # type: ignore[return-value]  # five names


def snippet(prefix: str, fits: str, control: Control) -> Snippet:
    """The guarded snippet. Each place checks the marker itself: Klaviyo renders them one by one.

    The three texts and both markers are written in one call, so when the marker fits, all of them are there; the
    body is asked for as well, because a blank body is the worst of all outcomes.
    """
    if "'" in fits:
        raise ValueError("a marker with a quote would end the comparison early")
    fitting = f"person|lookup:'{prefix}_for' == '{fits}' and person|lookup:'{prefix}_body'"

    def guarded(name: str, filters: str, otherwise: str) -> str:
        ours = f"{{{{ person|lookup:'{prefix}_{name}'{filters} }}}}"
        return f"{{% if {fitting} %}}{ours}{{% else %}}{otherwise}{{% endif %}}"

    return Snippet(
        subject=guarded("subject", "", control.subject),
        preheader=guarded("preheader", "|default:''", control.preheader),
        body=guarded("body", "|safe", control.body),
    )


def page_snippet() -> Snippet:
    """The literal snippet of the public integration page: the contract keeps it valid, but it cannot be safe."""
    return Snippet(
        subject="{{ person|lookup:'jai_subject'|default:\"Your weekly update\" }}",
        preheader="{{ person|lookup:'jai_preheader'|default:\"\" }}",
        body="{{ person|lookup:'jai_body'|safe }}",
    )
