"""What people set up of an org, as files: written out, compared, and applied in one transaction."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from shared.admin.config import doing as config_doing
from shared.admin.config import reading as config_reading
from shared.admin.config.now import documents_of, read_now
from shared.admin.config.plan import ConfigChange, Plan, PutTemplate, Step, plan, settled
from shared.admin.config.reading import Wanted
from shared.admin.context import Asking, Context
from shared.admin.errors import Conflict, Forbidden, Refused
from shared.admin.operation import AskedModel, Nothing, ResultModel, operation, operation_after
from shared.admin.templates.templates import is_unknown
from shared.admin.yaml_text import joined
from shared.people.roles import ROLES
from shared.schemas.copy import Vars

MOST_FILES: Final = 2_000


class ConfigText(ResultModel):
    """All of it as YAML; `config.apply` reads it. No people, keys or other secrets."""

    yaml: str


class GivenFile(AskedModel):
    """A file by its name, which faults are told by."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    # Blanks at the end belong to the last text of a file.
    text: Annotated[str, StringConstraints(strip_whitespace=False)]


class ApplyConfig(AskedModel):
    """All files together are one configuration. `dry_run`: only tell what would be done. `prune`: archive templates and
    variants that no file names. `expected`: the `plan_id` that was looked at; another plan is refused."""

    files: Annotated[list[GivenFile], Field(min_length=1, max_length=MOST_FILES)]
    dry_run: bool = False
    prune: bool = False
    expected: str | None = None


class AppliedConfig(ResultModel):
    """`changes`: what was done, or would be; without any there is nothing to do. `same`: how many things are as the
    files have them. `to_do`: secrets that are to be set by hand. `allowed`: whoever asks may do all of it."""

    plan_id: str
    dry_run: bool
    changes: list[ConfigChange]
    same: int
    warnings: list[str]
    to_do: list[str]
    allowed: bool
    changed: bool


@operation("config.show", "GET", "/config", "viewer", "Show what is set up of the org as a file, without secrets.")
async def show(context: Context, _: Nothing) -> ConfigText:
    now = await read_now(context.connection, context.org_id)
    return ConfigText(yaml=await asyncio.to_thread(joined, list(documents_of(now))))


@dataclass(frozen=True, slots=True)
class _Read:
    wanted: Wanted
    warnings: Sequence[str]
    texts: Mapping[tuple[str, str], Vars]


async def _read(asking: Asking, asked: ApplyConfig) -> _Read:
    """Reading and rendering takes seconds where there is much: in threads, and in no transaction."""
    wanted, faults = await asyncio.to_thread(config_reading.read, [(one.name, one.text) for one in asked.files])
    async with asking.means.database.transaction(asking.org_id) as connection:
        now = await read_now(connection, asking.org_id)
    if wanted.org is not None and wanted.org.slug not in (None, now.slug):
        raise Refused(
            f"the files are for the org {wanted.org.slug}, and this is {now.slug}; without `slug` they are for any org",
            field="org.slug",
        )
    rules = wanted.rules or now.rules
    today = asking.means.clock.now().date()
    judged = await asyncio.to_thread(config_reading.judge, wanted, rules, today, settled(wanted, now, rules))
    if faults := [*faults, *judged.faults]:
        raise Refused.of_faults(faults, code="bad_config")
    if asked.prune and not wanted.templates:
        raise Refused("the files name no template: all of them would be archived", field="prune")
    return _Read(wanted, judged.warnings, judged.texts)


@operation_after(
    _read, "config.apply", "POST", "/config", "editor",
    "Make the org what its configuration files say, or only tell what that would change.",
)  # fmt: skip
async def apply(context: Context, asked: ApplyConfig, read: _Read) -> AppliedConfig:
    named = [one.file.template_id for one in read.wanted.templates]
    now = await read_now(context.connection, context.org_id, hold=None if asked.dry_run else named)
    found = plan(read.wanted, now, prune=asked.prune)
    plan_id = found.plan_id([(one.name, one.text) for one in asked.files])
    missing = sorted({step.change.needs for step in found.steps if not context.actor.may(step.change.needs)})
    if not asked.dry_run:
        if asked.expected not in (None, plan_id):
            raise Conflict("What is set up has changed since you looked at the plan; look at it again", code="new_plan")
        if missing:
            _forbid(context, found, max(missing, key=ROLES.index))
        rules = read.wanted.rules or now.rules
        for step in found.steps:
            await config_doing.do(context, step, read.texts, review_required=rules.review_required)
    return AppliedConfig(
        plan_id=plan_id, dry_run=asked.dry_run, changes=[step.change for step in found.steps], same=found.same,
        warnings=[*read.warnings, *await _unknown_places(context, found.steps)], to_do=list(found.to_do),
        allowed=not missing, changed=bool(found.steps) and not asked.dry_run,
    )  # fmt: skip


def _forbid(context: Context, found: Plan, needed: str) -> None:
    what = sorted({step.change.kind for step in found.steps if not context.actor.may(step.change.needs)})
    raise Forbidden(
        f"Changing {', '.join(what)} needs the role {needed}; yours is {context.actor.role}. Nothing was changed."
    )


async def _unknown_places(context: Context, steps: Sequence[Step]) -> list[str]:
    """A wrong id is found here, and not by all emails showing control."""
    said = []
    for step in steps:
        flow = step.doing.file.flow if isinstance(step.doing, PutTemplate) else None
        if flow is not None and await is_unknown(context, flow.flow_id, flow.treatment_action_id):
            said.append(
                f"template {step.change.name}: flow {flow.flow_id} had no email step {flow.treatment_action_id} when "
                "flows were last read"
            )
    return said
