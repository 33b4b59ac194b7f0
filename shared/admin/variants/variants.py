"""Variants: from draft to approved and back, each step by somebody, with its checks and its history."""

import asyncio
import difflib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from shared.admin.context import Context
from shared.admin.errors import Conflict, Fault, Next, NotFound, Refused
from shared.admin.operation import AskedModel, Operation, ResultModel, operation
from shared.admin.templates.one import OneTemplate, no_template
from shared.admin.templates.store import place_of
from shared.admin.variants import store as variant_store
from shared.admin.variants.store import Stored, Version
from shared.content import faults
from shared.content.checks import Asked, blocking, check_copy
from shared.content.lifecycle import Action, NotAllowed, about, act
from shared.content.rules import OrgRules
from shared.people.roles import Role

_PATH = "/templates/{template_id}/variants/{variant}"
Number = Annotated[int, Field(ge=1)]
Comment = Annotated[str, StringConstraints(max_length=2000)]


class OneVariant(AskedModel):
    """A variant by its name or its copy_id."""

    template_id: str
    variant: str


class AskedVersion(OneVariant):
    """`version`: another one than the newest."""

    version: Number | None = None


class AskedDiff(OneVariant):
    """`first`: else the approved one, or the one before; `second`: else the newest."""

    first: Number | None = None
    second: Number | None = None


class Step(OneVariant):
    """`comment` is for the history. With `version` nobody takes a step about a version that they have not seen."""

    comment: Comment = ""
    version: Number | None = Field(
        None,
        description="Only while the step is about this version: the one that waits; to roll back, resume or archive, "
        "the one that is served. Else 409, `changed`. Without it: whichever it is.",
    )


class Finding(ResultModel):
    """What one check says of a place in the copy. A warning stops nothing."""

    check: str
    place: str
    line: int | None
    what: str
    warning: bool
    where: str


class VariantRow(ResultModel):
    """`version` is served once it is approved; `newest` may still be on its way. `state` is in words. `subject`: of
    what is served; of the newest version where nothing of it ever was."""

    copy_id: UUID
    name: str
    theme: str
    state: str
    version: int
    newest: int
    subject: str


class Variants(ResultModel):
    """Oldest first."""

    variants: list[VariantRow]


class VersionRow(ResultModel):
    """One version as it was written; `served_body`: cleaned, inlined, made of MJML."""

    version: int
    author: str
    created_at: datetime
    subject: str
    preheader: str
    body: str
    kind: Literal["html", "mjml"]
    served_body: str


class Paused(ResultModel):
    """Who took a variant out of what is sent, when and why."""

    actor: str
    at: datetime
    comment: str


class Variant(ResultModel):
    """One version of a variant, and which others there are. `pending`: the version that checks, reviews and approvals
    are about; null: there is nothing but what is approved. `paused`: it is kept back until somebody resumes it."""

    copy_id: UUID
    name: str
    theme: str
    state: str
    approved_version: int
    newest: int
    pending: int | None
    shown: VersionRow
    paused: Paused | None


class Checked(ResultModel):
    """`passes`: nothing stops its approval."""

    version: int
    findings: list[Finding]
    passes: bool
    changed: bool


class Stepped(ResultModel):
    """Where the variant is then, in words, and which version the step was about."""

    copy_id: UUID
    name: str
    state: str
    version: int
    findings: list[Finding]


class HistoryRow(ResultModel):
    """Who did what with which version."""

    created_at: datetime
    version: int
    event: str
    actor: str
    comment: str


class History(ResultModel):
    """Oldest first."""

    events: list[HistoryRow]


class Diff(ResultModel):
    """Lines of a unified diff of what was written; none: both say the same."""

    first: int
    second: int
    lines: list[str]


class Blocked(Refused):
    """Its checks stop this step; `findings` has all that they say, warnings too."""

    def __init__(self, message: str, findings: list[Finding]) -> None:
        stopping = [Fault(one.where, one.what) for one in findings if not one.warning]
        super().__init__(message, code="checks_failed", faults=stopping)
        self.findings = findings


@dataclass(frozen=True, slots=True)
class Open:
    """One variant with all that its checks need."""

    context: Context
    template_id: str
    one: Stored
    all: list[Stored]
    rules: OrgRules

    async def check(self, version: Version) -> list[faults.Finding]:
        """What the checks say of a version, beside the template's other variants that are or may be served."""
        others = variant_store.others_of(self.all, without=str(self.one.copy_id))
        today = self.context.now.date()
        asked = Asked(self.template_id, today, self.rules, self.one.required_fields, others)
        reading = await asyncio.to_thread(check_copy, version.copy, asked)  # others of this process go on meanwhile
        return reading.findings

    def version(self, number: int) -> Version:
        """Raises NotFound."""
        found = next((version for version in self.one.versions if version.number == number), None)
        if found is None:
            raise NotFound(f"No version {number}; the newest is {self.one.versions[-1].number}", field="version")
        return found


async def open_variant(context: Context, asked: OneVariant, *, hold: bool) -> Open:
    """Raises NotFound."""
    connection, org_id, template_id = context.connection, context.org_id, asked.template_id
    stored = await variant_store.read_variants(connection, org_id, template_id, hold=hold)
    one = next((one for one in stored if asked.variant in (one.name, str(one.copy_id))), None)
    if one is None:
        raise NotFound(f"No variant {asked.variant!r}", field="variant", next=Next("variants.list", (template_id,)))
    return Open(context, template_id, one, stored, await variant_store.read_rules(connection, org_id))


@operation("variants.list", "GET", "/templates/{template_id}/variants", "viewer", "List variants and where each is.")
async def list_variants(context: Context, asked: OneTemplate) -> Variants:
    stored = await variant_store.read_variants(context.connection, context.org_id, asked.template_id, hold=False)
    if not stored and await place_of(context.connection, context.org_id, asked.template_id) is None:
        raise no_template(asked.template_id)
    return Variants(
        variants=[
            VariantRow(
                copy_id=one.copy_id, name=one.name, theme=one.theme, state=one.state, version=one.standing.version,
                newest=one.versions[-1].number, subject=_subject(one),
            )
            for one in stored
        ]
    )  # fmt: skip


def _subject(one: variant_store.Stored) -> str:
    served = one.standing.state in ("approved", "paused")
    return (one.at(one.standing.version) if served else one.versions[-1]).copy.subject


@operation("variants.show", "GET", _PATH, "viewer", "Show one version of a variant as it was written.")
async def show(context: Context, asked: AskedVersion) -> Variant:
    of = await open_variant(context, asked, hold=False)
    one, newest = of.one, of.one.versions[-1].number
    paused = await _paused(context, one) if one.standing.state == "paused" else None
    version = of.version(asked.version or newest)
    copy = version.copy
    return Variant(
        copy_id=one.copy_id, name=one.name, theme=one.theme, state=one.state, approved_version=one.standing.version,
        newest=newest, pending=one.standing.pending, paused=paused,
        shown=VersionRow(
            version=version.number, author=version.author, created_at=version.created_at, subject=copy.subject,
            preheader=copy.preheader, body=copy.source, kind="mjml" if copy.is_mjml else "html",
            served_body=version.served_body,
        ),
    )  # fmt: skip


async def _paused(context: Context, one: Stored) -> Paused:
    rows = await variant_store.history(context.connection, context.org_id, one.copy_id)
    last = next(row for row in reversed(rows) if row["event"] == "paused")
    return Paused(actor=last["actor"], at=last["created_at"], comment=last["comment"])


@operation("variants.check", "POST", f"{_PATH}/check", "reviewer", "Check the version that is to be approved.")
async def check(context: Context, asked: OneVariant) -> Checked:
    """A draft that passes is `checked`."""
    of = await open_variant(context, asked, hold=True)
    number = of.one.standing.pending
    found = await of.check(of.one.at(number or of.one.standing.version))
    passes = not blocking(found)
    changes = passes and number is not None and of.one.standing.proposed_state in (None, "draft")
    if changes:
        await _act(of, "check", "")
    return Checked(
        version=number or of.one.standing.version, findings=rows_of(found), passes=passes, changed=changes
    )  # fmt: skip


@operation("variants.history", "GET", f"{_PATH}/history", "viewer", "Show who did what with a variant, oldest first.")
async def history(context: Context, asked: OneVariant) -> History:
    of = await open_variant(context, asked, hold=False)
    rows = await variant_store.history(context.connection, context.org_id, of.one.copy_id)
    return History(events=[HistoryRow(**dict(row)) for row in rows])


@operation("variants.diff", "GET", f"{_PATH}/diff", "viewer", "Show what changed between two versions.")
async def diff(context: Context, asked: AskedDiff) -> Diff:
    of = await open_variant(context, asked, hold=False)
    served = of.one.standing.version
    new = of.version(asked.second or of.one.versions[-1].number)
    old = of.version(asked.first or (served if served != new.number else max(new.number - 1, 1)))
    names = f"version {old.number}", f"version {new.number}"
    lines = difflib.unified_diff(_lines(old), _lines(new), *names, lineterm="", n=2)
    return Diff(first=old.number, second=new.number, lines=list(lines))


def _lines(version: Version) -> list[str]:
    copy = version.copy
    return [f"subject: {copy.subject}", f"preheader: {copy.preheader}", *copy.source.splitlines()]


def _step(action: Action, role: Role, summary: str, *, why: bool = False) -> Operation[Step, Stepped]:
    async def work(context: Context, asked: Step) -> Stepped:
        if why and not asked.comment:
            raise Refused("say why, for whoever reads the history", field="comment")
        of = await open_variant(context, asked, hold=True)
        if asked.version is not None:
            _still_about(of.one, action, asked.version)
        return await _act(of, action, asked.comment)

    declared: Callable[[Context, Step], Awaitable[Stepped]] = work
    return operation(f"variants.{action}", "POST", f"{_PATH}/{action}", role, summary)(declared)


submit = _step("submit", "editor", "Send the newest version into review, if its checks let it.")
approve = _step("approve", "reviewer", "Serve the newest version from now on, if its checks let it.")
reject = _step("reject", "reviewer", "Send a version that is in review back to its author.", why=True)
rollback = _step("rollback", "reviewer", "Serve the version again that was served before the approved one.")
resume = _step(
    "resume", "reviewer", "Serve a variant again that the guardrail paused; it is judged anew.", why=True
)  # fmt: skip
archive = _step("archive", "editor", "Take a variant out; what is on profiles stays.")


def _still_about(one: Stored, action: Action, seen: int) -> None:
    """Two people may look at one variant, and the second must not approve or take back what the first has made of it.
    Raises Conflict. Where the step is about nothing any more, `act` says why."""
    if (now := about(action, one.standing)) not in (None, seen):
        raise Conflict(
            f'"{one.name}" has changed since version {seen} was looked at: it is {one.state}, and this would be about '
            f"version {now}. Look at it again",
            code="changed",
        )


async def _act(of: Open, action: Action, comment: str) -> Stepped:
    """Do it. Raises Conflict where it cannot be done now, Blocked where checks stop it."""
    context, one = of.context, of.one
    rows = await variant_store.history(context.connection, context.org_id, one.copy_id)
    required, name = of.rules.review_required, context.actor.name
    try:
        move = act(action, one.standing, variant_store.events(rows), actor=name, review_required=required)
    except NotAllowed as error:
        raise Conflict(f'"{one.name}" is {one.state}. {error}', code="not_allowed") from None
    found: list[Finding] = []
    if action in ("submit", "approve"):
        raw = await of.check(one.at(move.version))
        found = rows_of(raw)
        if count := len(blocking(raw)):
            raise Blocked(f'"{one.name}", version {move.version}: {count} of these stop its approval', found)
    await variant_store.apply(context.connection, context.org_id, one.copy_id, move, name, context.now, comment)
    state = move.standing.shown(served=one.served)
    return Stepped(copy_id=one.copy_id, name=one.name, state=state, version=move.version, findings=found)


def rows_of(found: list[faults.Finding]) -> list[Finding]:
    """As they are answered."""
    return [
        Finding(
            check=one.check, place=one.place, line=one.line, what=one.what, warning=one.warning, where=one.where
        )
        for one in found
    ]  # fmt: skip
