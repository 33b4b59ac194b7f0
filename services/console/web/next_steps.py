"""Where each step of an org's set-up is done: a path below the org, and the words of the link to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from services.console.web.visit import Visit
from shared.admin.operation import Nothing
from shared.admin.orgs.setting_up import SetUp, SetUpStep, StepName, show

_OF_THE_ORG: Final[Mapping[StepName, tuple[str, str]]] = {
    "klaviyo": ("integration", "Open Org Integration Settings"),
    "key": ("keys", "Open API keys"),
    "template": ("templates/_new", "Create a template"),
    "right": ("operations/number", "Open What emails showed"),
    "source": ("integration/sources", "Open Sources"),
    "export": ("integration/export", "Open Export bucket"),
}
_OF_THE_TEMPLATE: Final[Mapping[StepName, tuple[str, str]]] = {
    "flow": ("/settings", "Open Integration Settings"),
    "variants": ("/variants/_new", "Write a variant"),
    "approval": ("", "Open the template"),
    "paste": ("/settings#s-webhook", "Open Integration Settings"),
    "live": ("", "Open the template"),
}


@dataclass(frozen=True, slots=True)
class NextStep:
    """A step that is to be done. `path`: where; None where this person may not do it, or something else comes first."""

    step: SetUpStep
    path: str | None
    link: str


def next_steps(visit: Visit, there: SetUp) -> list[NextStep]:
    """All steps, done or not, in their order."""
    return [_placed(visit, there, one) for one in there.steps]


def _placed(visit: Visit, there: SetUp, step: SetUpStep) -> NextStep:
    if step.name == "approval" and there.in_review:
        path, link = visit.path("review"), "Open Review"
    elif step.name in _OF_THE_TEMPLATE:
        end, link = _OF_THE_TEMPLATE[step.name]
        path = visit.path("templates", there.template_id or "") + end
    else:
        end, link = _OF_THE_ORG[step.name]
        path = f"{visit.path()}/{end}"
    return NextStep(step, None if step.done or step.waits or not visit.may(step.role) else path, link)


async def what_is_next(visit: Visit) -> NextStep | None:
    """The first step that is left, until the first email was right; for who may do it, and elsewhere than here."""
    there = await visit.run(show, Nothing())
    if there.ready and next(one.done for one in there.steps if one.name == "right"):
        return None
    found = next(one for one in next_steps(visit, there) if one.step.name == there.next)
    return found if found.path and found.path.partition("#")[0] != visit.request.path else None
