"""What a generation was decided for, and which decisions take part in the comparison of treatment with control.

Only `treatment` and `control` are real traffic. A preview is a decision of its own, not a mark beside one: whoever
counts, learns from or exports the decisions it knows by name leaves previews out, also where nobody thought of them.

Treatment is everything that is not control by the split: also whoever was meant to get our copy and saw control,
because it could not be rendered or was not written in time (intention to treat). Leaving those out would compare lucky
people with all people.
"""

from collections.abc import Mapping
from typing import Final

PREVIEW: Final = "preview"
"""Somebody looked at it; nothing is written."""

WRITTEN_PREVIEW: Final = "written_preview"
"""The same, and it goes to the profile, as asked: its emails are not counted either."""

PREVIEWED: Final = "preview"
"""The reason of a preview that has copy; one without says what kept it back."""

VARIANT_NOT_SERVED: Final = "variant_not_served"
"""The reason when the forced variant is none that the template could serve now."""

PLANNED_CONTROL = frozenset({"control_split", "control_holdout"})
"""Control by the split itself: the group that treatment is measured against."""

OUTSIDE = frozenset({"stopped", "template_draft", "template_archived", "no_approved_variant", "unknown_template"})
"""Nobody's arm: decided before anybody was assigned, whoever the person was."""

NOT_RENDERED = frozenset({
    "field_missing", "unsafe_link", "unfilled_tag", "copy_broken", "unsafe_place", "render_limit", "render_failed",
    "empty_subject", "empty_body", "body_too_large",
})  # fmt: skip
"""A variant was drawn, but cannot be shown to this person: control, never another variant."""

TREATMENT: Mapping[str, str] = {
    "explore": "drawn by a policy that learns from what people do",
    "burn_in": "drawn with equal shares: nothing is learned yet, or the template wants it so",
    "fixed": "drawn with the shares that somebody set",
    "fallback": "drawn with equal shares, because the stored policy cannot be drawn from",
}
"""Why a variant was drawn the way it was. A request that is repeated is sticky: it gets what is stored and is no
decision of its own, so it has no reason; its id may be an alias."""

REASONS = PLANNED_CONTROL | OUTSIDE | NOT_RENDERED | TREATMENT.keys() | {PREVIEWED, VARIANT_NOT_SERVED}
"""All that `generations.reason` says. Rows of earlier releases also say `uniform`, which is `burn_in` now."""

_BY_MODEL = {"uniform": "burn_in", "fixed": "fixed"}


def wrote(decision: str, reason: str) -> bool:
    """Whether this decision puts copy on the profile; one that does not takes away what is there, or does nothing."""
    return decision == "treatment" or (decision == WRITTEN_PREVIEW and reason == PREVIEWED)


def treatment_reason(model: str) -> str:
    """The reason of a draw from a snapshot of this model."""
    return _BY_MODEL.get(model, "explore")
