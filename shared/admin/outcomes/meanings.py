"""What became of a generation, in words: what each reason means and what to do about it.

The words are those of docs/runbooks/emails-show-control.md, where people read them as tables; a test holds both
together, so a reason is explained in both or in none.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.schemas.decisions import PREVIEWED, TREATMENT, VARIANT_NOT_SERVED, WRITTEN_PREVIEW


@dataclass(frozen=True, slots=True)
class Meaning:
    """Two halves of a row of the runbook."""

    means: str
    do: str


_BY_PLAN = Meaning("by plan", "activate it, in the console or by `justai template state ORG TEMPLATE active`")
_LOOKED_AT = (
    "somebody looked at it; nothing was written, and it counts nowhere",
    "somebody looked at it and had it written; it counts nowhere",
)
_VALUE = Meaning(
    "a person's value would break the email, or is a link that leads nowhere",
    "look at what the webhook puts in `fields`",
)
_VARIANT = Meaning("the variant itself", "its checks look for this: correct it and have it approved again")

DECISIONS: Mapping[str, Meaning] = {
    "control_split": Meaning("control by the template's own split, so that there is a comparison", "nothing"),
    "control_holdout": Meaning("one of the persons whom no variant shall reach (`control_share`)", "nothing"),
    "stopped": Meaning("somebody stopped the template, or all of the org", "docs/runbooks/wrong-copy.md"),
    "template_draft": _BY_PLAN,
    "template_archived": _BY_PLAN,
    "no_approved_variant": Meaning(
        "none to draw", "approve one, in the console or by `justai variant approve ORG TEMPLATE VARIANT`"
    ),
    "unknown_template": Meaning(
        "the webhook's `template_id` is none of ours", "correct the webhook: `justai webhook ORG TEMPLATE`"
    ),
    "field_missing": Meaning(
        "copy prints a field that this person's webhook did not bring",
        "a fallback in the copy, or the field in the webhook",
    ),
    VARIANT_NOT_SERVED: Meaning(
        "a preview forced a variant that the template does not serve", "the `copy_id` of an approved variant"
    ),
    "unsafe_link": _VALUE,
    "unfilled_tag": _VALUE,
    "copy_broken": _VARIANT,
    "unsafe_place": _VARIANT,
    "render_limit": _VARIANT,
    "render_failed": _VARIANT,
    "empty_subject": _VARIANT,
    "empty_body": _VARIANT,
    "body_too_large": _VARIANT,
}
"""Why a generation was decided for control."""

_ANY_OTHER = "any other"
WRITES: Mapping[tuple[str, str | None], Meaning] = {
    ("expired", "quota"): Meaning(
        "Klaviyo's quota (75/s, 750/min) could not carry all in time",
        "`justai quota ORG` shows what waits, how fast it drains and the delay that would do: a longer delay in the "
        "flow, fewer people at once, or `JUSTAI_WRITER_IMPORT_ROAD`, which may double it",
    ),
    ("expired", "outage"): Meaning(
        "Klaviyo did not answer, or no profile writer was running",
        "its `/readyz` and log; `justai quota ORG` says whether the account is left alone because calls fail; "
        "Klaviyo's status page",
    ),
    ("expired", "key_refused"): Meaning("Klaviyo refuses the org's key", "docs/runbooks/klaviyo-key-refused.md"),
    ("expired", "arrived_late"): Meaning(
        "it took longer than the delay to get here", "is a queue long, a service down? a longer delay"
    ),
    ("rejected", "profile_not_found"): Meaning("the profile was merged or deleted", "nothing"),
    ("rejected", "no_integration"): Meaning("not connected", "`justai klaviyo connect ORG`"),
    ("rejected", "profile_id_invalid"): Meaning(
        "the webhook's `user_id` is no id of a profile; nothing was sent",
        "correct the webhook: `justai webhook ORG TEMPLATE`",
    ),
    ("rejected", "body_too_large"): Meaning("the texts together are more than a profile takes", "shorter copy"),
    ("rejected", "no_stored_copy"): Meaning(
        "the stored copy cannot be read; nothing was sent",
        "was the database restored, edited by hand? are the variant's versions there?",
    ),
    ("rejected", _ANY_OTHER): Meaning("Klaviyo's answer", "the profile writer's log"),
    ("written", "answered_late"): Meaning(
        "it was on the profile after the first moment at which the email may render: it shows our copy or control",
        "rarely: nothing; often: a longer delay",
    ),
    ("stopped", None): Meaning("its template or org was stopped while it waited", "docs/runbooks/wrong-copy.md"),
    ("superseded", None): Meaning(
        "a newer generation took the same properties",
        "`property_prefix` of its own for each template whose flows overlap",
    ),
    ("superseded", "unconfirmed"): Meaning(
        "a newer generation came while its answer was lost: whether it was on the profile is not known", "nothing"
    ),
    ("superseded", "account_changed"): Meaning(
        "a newer generation waited under the org's new Klaviyo account", "nothing"
    ),
}
"""Why a generation was not written, or may not have been in time; by outcome and reason."""

_AS_WANTED: Mapping[str, Meaning] = {
    "written": Meaning("our copy was on the profile in time", "nothing"),
    "cleared": Meaning("an older copy was taken off the profile, so that control shows", "nothing"),
    "nothing_to_clear": Meaning("no older copy was there, so control shows", "nothing"),
}


def of_decision(decision: str, reason: str) -> Meaning:
    """What a decision means."""
    if decision == "treatment":
        return Meaning(TREATMENT.get(reason, f"a variant was drawn by the policy `{reason}`"), "nothing")
    if reason == PREVIEWED:
        return Meaning(_LOOKED_AT[decision == WRITTEN_PREVIEW], "nothing")
    return DECISIONS.get(reason, Meaning("control", "docs/runbooks/emails-show-control.md"))


def of_write(outcome: str, reason: str | None) -> Meaning:
    """What the end of a write means."""
    known = WRITES.get((outcome, reason)) or (_AS_WANTED.get(outcome) if reason is None else None)
    return known or WRITES.get((outcome, _ANY_OTHER)) or Meaning(outcome, "docs/runbooks/emails-show-control.md")
