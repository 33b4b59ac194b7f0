"""Which decisions take part in the comparison of treatment with control, by their reason.

Treatment is everything else: also whoever was meant to get our copy and saw control, because it could not be rendered
or was not written in time (intention to treat). Leaving those out would compare lucky people with all people.
"""

PLANNED_CONTROL = frozenset({"control_split", "control_holdout"})
"""Control by the split itself: the group that treatment is measured against."""

OUTSIDE = frozenset({"stopped", "template_draft", "template_archived", "no_approved_variant", "unknown_template"})
"""Nobody's arm: decided before anybody was assigned, whoever the person was."""
