"""Suggestions as this command line says them, with its commands."""

from shared.admin.results.advice import IN_REWARD, RATE, Suggestion


def sentence(one: Suggestion) -> str:
    """One suggestion in words."""
    first, in_reward = one.names[0] if one.names else "", IN_REWARD[one.reward]
    match one.kind:
        case "paused":
            return f"{first!r} is paused; `justai variant history` says why, `justai variant resume` serves it again."
        case "pause":
            return (
                f"Pause {first!r}: {one.why}. The ranker does it by itself, unless it is the last one; "
                "`approved: false` in the template's file takes it out, `justai template stop` takes everything out."
            )
        case "explain_alarm":
            return "Do not ship or archive by these numbers before the alarm is explained (docs/results.md)."
        case "archive_template":
            return f"Treatment does worse than control{in_reward}: archive the template, or give it other copy."
        case "ship":
            return (
                f"Treatment does better than control{in_reward}: it may be shipped (`state: shipped`). "
                "Ship & Iterate keeps all variants and the ranker at work"
                + (
                    f"; Ship & Lock keeps {first!r} alone, whose {RATE[one.reward]} is above all others'."
                    if first
                    else "."
                )
            )
        case "refresh_copy":
            return "The newest week shows less than half of the lift that was shipped: it is time for other copy."
        case "archive_variants":
            names = ", ".join(repr(name) for name in one.names)
            return f"To archive: {names}, whose interval{in_reward} lies below that of the best."
