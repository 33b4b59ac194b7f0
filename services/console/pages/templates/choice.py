"""Test and learning: a template's split, holdout, policy, repeats and conversions, on its Integration Settings."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field

from services.console.web.forms import Form
from shared.admin.errors import Refused
from shared.admin.templates.choice import locked
from shared.admin.templates.templates import Template
from shared.schemas.policy import Model, Policy, Reward

SPLITS: Final = (
    ("external", "Klaviyo splits", "the flow's own branches say who is control"),
    ("random", "Random", "each webhook is drawn anew, so a person may be control once and not the next time"),
    ("persistent", "Persistent", "the same persons are control each time, while it is active"),
)
MODELS: Final = (
    ("logistic", "Learned, by attributes", "variants that work for people like this one get more of them"),
    ("thompson", "Learned, the same for everybody", "variants that work get more people"),
    ("uniform", "All alike", "nothing is learned: a plain test"),
    ("fixed", "Fixed shares", "as written below"),
)
REWARDS: Final = (
    ("click", "Clicks", "a person's click on content; a machine's never counts"),
    ("conversion", "Conversions", "what is counted below, within its window"),
    ("revenue", "Revenue", "the value of conversions, up to the cap"),
)
REPEATS: Final = (
    ("avoid", "Not the same twice running", "where there is another variant"),
    ("allow", "May come again", "each email is drawn for itself"),
)
_Percent = Annotated[float, Field(ge=0, le=90)]
_Lines = Annotated[str, Field(max_length=5_000)]


class GivenChoice(BaseModel):
    """The form; shares are typed in percent, lists have one entry a line. What is locked is not sent."""

    split: Literal["external", "random", "persistent"] = "external"
    control_ratio: _Percent = 0
    control_share: _Percent = 0
    repeat: Literal["avoid", "allow"] = "avoid"
    model: Model = "logistic"
    shares: _Lines = ""
    reward: Reward = "click"
    revenue_cap: Annotated[float, Field(gt=0, le=1e9)] | None = None
    metrics: _Lines = ""
    refunds: _Lines = ""
    window_h: Annotated[int, Field(ge=1, le=720)] = 72
    currency: Annotated[str, Field(max_length=3)] | None = None


def form_of(template: Template) -> Form:
    """As it is stored."""
    policy, counted = Policy.model_validate(template.policy), template.conversions
    return Form({
        "split": template.split, "control_ratio": f"{100 * template.control_ratio:g}",
        "control_share": f"{100 * template.control_share:g}", "repeat": template.repeat, "model": policy.model,
        "shares": "\n".join(f"{name}: {share:g}" for name, share in policy.shares.items()), "reward": policy.reward,
        "revenue_cap": "" if policy.revenue_cap is None else f"{policy.revenue_cap:g}",
        "metrics": "\n".join(counted.metrics) if counted else "",
        "refunds": "\n".join(counted.refunds) if counted else "",
        "window_h": str(counted.window_h if counted else 72), "currency": (counted and counted.currency) or "",
    })  # fmt: skip


def asked_of(template: Template, given: GivenChoice) -> dict[str, Any]:
    """As the operation is asked. Raises Refused for a line of shares that is none, and for a share of control that
    does not fit who splits."""
    policy: dict[str, Any] = {"model": given.model, "reward": given.reward, "revenue_cap": given.revenue_cap}
    if given.model == "fixed":
        policy["shares"] = dict(_share(line, number) for number, line in enumerate(_lines(given.shares), start=1))
    conversions: dict[str, Any] | None = None
    if metrics := _lines(given.metrics):
        conversions = {
            "metrics": metrics, "refunds": _lines(given.refunds), "window_h": given.window_h,
            "currency": given.currency,
        }  # fmt: skip
    asked = {
        "split": given.split, "control_ratio": round(given.control_ratio / 100, 6),
        "control_share": round(given.control_share / 100, 6), "repeat": given.repeat, "policy": policy,
        "conversions": conversions,
    }  # fmt: skip
    if "split" not in locked(template.state):
        _check_ratio(template, given)
    if given.split == "external":
        asked["control_ratio"] = 0.0
    left = {name: value for name, value in asked.items() if name not in locked(template.state)}
    return {"template_id": template.template_id, **left}


def _check_ratio(template: Template, given: GivenChoice) -> None:
    """In percent, as the form has it; the operation speaks of ratios. Who leaves a split of ours gives its share up;
    who types one beside Klaviyo's split means something that would not happen."""
    if given.split == template.split == "external" and given.control_ratio:
        raise Refused("is only for a split of ours: choose Random or Persistent above", field="control_ratio")
    if given.split != "external" and not given.control_ratio:
        raise Refused(f"is missing: a {given.split} split needs one, like 10", field="control_ratio")


def nobody_is_control(template: Template) -> bool:
    """As it is set; then no lift will ever be told, however long somebody waits."""
    ours = template.control_ratio if template.split != "external" else 0
    return not (ours or template.control_share or (template.split == "external" and template.control_action_id))


def in_words(template: Template) -> str:
    """Who is control, and how the others are shared, in a line."""
    policy = Policy.model_validate(template.policy)
    return " · ".join([*_control(template), next(title for key, title, _ in MODELS if key == policy.model)])


def touched(template: Template, asked: Mapping[str, Any]) -> list[str]:
    """What `asked` does to the control of a template that people get copy of; nothing, where it stays."""
    wanted = template.model_copy(
        update={name: asked[name] for name in ("split", "control_ratio", "control_share") if name in asked}
    )
    before, after = _control(template), _control(wanted)
    if before == after:
        return []
    told = [
        f"{template.name} is {template.state}, and others are control from the next webhook on. Until now: "
        f"{' · '.join(before)}. Then: {' · '.join(after)}."
    ]
    if template.state == "active" and wanted.split != "external":
        told.append(
            "Results compare the control of the last 90 days with the new plan: as long as some of them are of the old "
            "one, they may say that the split is not what was planned."
        )
    return told


def _control(template: Template) -> list[str]:
    split = next(title for key, title, _ in SPLITS if key == template.split)
    said = [split if template.split == "external" else f"{split}, {100 * template.control_ratio:g} % control"]
    said += [f"{100 * template.control_share:g} % holdout"] if template.control_share else []
    return [*said, "nobody is control"] if nobody_is_control(template) else said


def _share(line: str, number: int) -> tuple[str, float]:
    name, found, share = line.rpartition(":")
    try:
        if not found:
            raise ValueError
        return name.strip(), float(share)
    except ValueError:
        raise Refused(f"line {number} is not like `Warm: 3`", field="shares") from None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def shown(template: Template) -> Mapping[str, Any]:
    """What the section needs beside its form."""
    return {
        "locked": locked(template.state), "splits": SPLITS, "models": MODELS, "rewards": REWARDS, "repeats": REPEATS,
    }  # fmt: skip
