"""What applying a configuration would do, step by step and field by field. Pure."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
from pydantic import Field

from shared.admin.config.fields import ConfigField, different, row_settings, settings_of
from shared.admin.config.file import ExportConfig, OrgConfig, SourceConfig
from shared.admin.config.now import Now, StoredTemplate
from shared.admin.config.reading import Wanted
from shared.admin.operation import ResultModel
from shared.admin.variants.store import Stored
from shared.content.rules import OrgRules
from shared.people.roles import Role
from shared.schemas.attributes import stored as stored_attributes
from shared.schemas.template_file import TemplateFile, VariantCopy

What = Literal["create", "change", "archive"]
VariantMove = Literal["create", "write", "approve", "submit", "withdraw", "restore", "theme"]

_IN_THE_SNIPPET: Final = frozenset({
    "property_prefix", "flow.flow_id", "flow.treatment_action_id", "control.subject", "control.preheader",
    "control.body",
})  # fmt: skip


class ConfigChange(ResultModel):
    """One thing that is made, changed or archived. `needs`: the least role that may do it. `notes`: what comes of
    it."""

    kind: Literal["org", "rules", "attributes", "template", "variant", "source", "export"]
    name: str
    what: What
    needs: Role
    fields: list[ConfigField]
    notes: list[str] = Field([])


@dataclass(frozen=True, slots=True)
class PutTemplate:
    """All but its variants."""

    file: TemplateFile


@dataclass(frozen=True, slots=True)
class PutVariant:
    """`one`: as it is stored."""

    template_id: str
    variant: VariantCopy
    one: Stored | None
    move: VariantMove


@dataclass(frozen=True, slots=True)
class PutSource:
    """`is_new`: it comes without its key."""

    source: SourceConfig
    is_new: bool


@dataclass(frozen=True, slots=True)
class PutExport:
    """`keeps_secret`: it is that of the same access key."""

    export: ExportConfig
    is_new: bool
    keeps_secret: bool


@dataclass(frozen=True, slots=True)
class PutAttributes:
    """All definitions: those of the files beside those that are there."""

    definitions: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ArchiveTemplate:
    template_id: str


@dataclass(frozen=True, slots=True)
class ArchiveVariant:
    template_id: str
    name: str


Doing = (
    OrgConfig | OrgRules | PutAttributes | PutTemplate | PutVariant | PutSource | PutExport | ArchiveTemplate
    | ArchiveVariant
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """A change, and what is done for it."""

    change: ConfigChange
    doing: Doing


@dataclass(frozen=True, slots=True)
class Plan:
    """`same`: how many things of the files are as they should be. `to_do`: what is left for people, now or then."""

    steps: Sequence[Step]
    same: int
    to_do: Sequence[str]

    def plan_id(self, files: Sequence[tuple[str, str]]) -> str:
        """The same for the same files and the same changes: what was looked at is what is done."""
        changes = [step.change.model_dump(mode="json") for step in self.steps]
        stood = [
            repr(step.doing.one.standing)
            for step in self.steps
            if isinstance(step.doing, PutVariant) and step.doing.one
        ]
        return hashlib.sha256(orjson.dumps([changes, stood, files])).hexdigest()[:16]


def plan(wanted: Wanted, now: Now, *, prune: bool) -> Plan:
    """The steps in the order in which they are done: rules before the copy that they are about."""
    rules = wanted.rules or now.rules
    steps = [*_org(wanted, now), *_rules(wanted, now), *_attributes(wanted, now)]
    things = sum(one is not None for one in (wanted.org, wanted.rules, wanted.export)) + len(wanted.sources)
    things += 1 if wanted.attributes else 0
    for named in wanted.templates:
        stored = now.templates.get(named.file.template_id)
        steps += _template(named.file, stored, review_required=rules.review_required)
        things += 1 + len(named.file.variants)
    for source in wanted.sources:
        steps += _source(source, now.sources.get(source.name))
    if wanted.export is not None:
        steps += _export(wanted.export, now.target)
    done = len(steps)
    if prune:
        steps += _prune(wanted, now)
    return Plan(steps, things - done, _to_do(wanted, now))


def settled(wanted: Wanted, now: Now, rules: OrgRules) -> dict[str, frozenset[str]]:
    """By template, the variants of the files that nothing is to be done with."""
    found = {}
    for named in wanted.templates:
        stored = now.templates.get(named.file.template_id)
        if stored is not None:
            found[named.file.template_id] = frozenset(
                one.name
                for one in named.file.variants
                if move_of(one, stored.variants.get(one.name), review_required=rules.review_required) is None
            )
    return found


# --- the org ---------------------------------------------------------------------------------------------------------


def _org(wanted: Wanted, now: Now) -> Iterator[Step]:
    if wanted.org is None:
        return
    given = {"name": wanted.org.name or now.name, "time_zone": wanted.org.time_zone or now.time_zone}
    fields = different({"name": now.name, "time_zone": now.time_zone}, given)
    if fields:
        needs: Role = "owner" if given["name"] != now.name else "editor"
        yield Step(_change("org", now.slug, "change", needs, fields), wanted.org)


def _rules(wanted: Wanted, now: Now) -> Iterator[Step]:
    if wanted.rules is not None and wanted.rules != now.rules:
        fields = different(now.rules.model_dump(mode="json"), wanted.rules.model_dump(mode="json"))
        yield Step(_change("rules", now.slug, "change", "owner", fields), wanted.rules)


def _attributes(wanted: Wanted, now: Now) -> Iterator[Step]:
    given = stored_attributes(wanted.attributes)
    if fields := different({name: now.attributes.get(name) for name in given}, given, ordered=given):
        what: What = "change" if now.attributes else "create"
        change = _change("attributes", now.slug, what, "editor", fields)
        yield Step(change, PutAttributes({**now.attributes, **given}))


# --- templates and variants ------------------------------------------------------------------------------------------


def _template(file: TemplateFile, stored: StoredTemplate | None, *, review_required: bool) -> Iterator[Step]:
    before = {} if stored is None else row_settings(stored.row)
    fields = different(before, settings_of(file), ordered=("attributes",))
    if stored is None or fields:
        what: What = "create" if stored is None else "change"
        notes = []
        if stored is not None and any(one.field in _IN_THE_SNIPPET for one in fields):
            notes.append("its email snippet changes: paste it into Klaviyo again")
        yield Step(_change("template", file.template_id, what, "editor", fields, notes), PutTemplate(file))
    for variant in file.variants:
        one = None if stored is None else stored.variants.get(variant.name)
        if (move := move_of(variant, one, review_required=review_required)) is not None:
            yield _variant(file, variant, one, move, review_required=review_required)


def move_of(variant: VariantCopy, one: Stored | None, *, review_required: bool) -> VariantMove | None:
    """What is to be done so that a variant is as the file has it; None: nothing.

    A file that says `approved: true` of it wants these texts served, and one that does not say wants them at least
    written; only `approved: false` takes away what is served. What the guardrail has paused stays so.
    """
    if one is None:
        return "create"
    now, texts = one.standing, (variant.subject, variant.preheader, variant.source)
    approved = variant.approved if "approved" in variant.model_fields_set else None
    served = now.state in ("approved", "paused") and one.at(now.version).texts == texts
    pending = now.pending is not None and one.at(now.pending).texts == texts
    if now.state == "archived":
        return "restore"
    if approved:
        if served or (pending and review_required and now.proposed_state == "in_review"):
            return _theme(variant, one)
        return "write" if not pending else "submit" if review_required else "approve"
    if approved is None:
        return _theme(variant, one) if served or pending else "write"
    if now.state in ("approved", "paused"):
        return "withdraw"
    return _theme(variant, one) if pending else "write"


def _theme(variant: VariantCopy, one: Stored) -> VariantMove | None:
    return "theme" if variant.theme != one.theme else None


def _variant(
    file: TemplateFile, variant: VariantCopy, one: Stored | None, move: VariantMove, *, review_required: bool
) -> Step:
    before: dict[str, Any] = {}
    if one is not None:
        number = one.standing.version if one.standing.state in ("approved", "paused") else one.standing.pending
        copy = one.at(number or one.standing.version).copy
        before = {"theme": one.theme, "subject": copy.subject, "preheader": copy.preheader, "body": copy.source}
    after = {"theme": variant.theme, "subject": variant.subject, "preheader": variant.preheader, "body": variant.source}
    what: What = "create" if one is None else "change"
    name = f"{file.template_id} / {variant.name}"
    notes = [_comes(variant, one, move, review_required=review_required)]
    change = _change("variant", name, what, "editor", different(before, after), [note for note in notes if note])
    return Step(change, PutVariant(file.template_id, variant, one, move))


def _comes(variant: VariantCopy, one: Stored | None, move: VariantMove, *, review_required: bool) -> str:
    served = one is not None and one.standing.state == "approved"
    if move == "theme":
        return ""
    if move == "withdraw":
        return "is not served any more"
    if variant.approved and review_required:
        return "goes into review: somebody else has to approve it" + (
            "; what is approved stays served" if served else ""
        )  # fmt: skip
    if variant.approved:
        return "is approved"
    return "is a draft until it is approved" + ("; what is approved stays served" if served else "")


# --- connections -----------------------------------------------------------------------------------------------------


def _source(source: SourceConfig, row: Mapping[str, Any] | None) -> Iterator[Step]:
    after = source.told()
    before = {} if row is None else {name: row[name] for name in after if name != "mapping"}
    if row is not None:
        before["mapping"] = row["mapping"] or {}
    fields = different(before, after)
    if row is None or fields:
        what: What = "create" if row is None else "change"
        secret = _secret_of(source)
        notes = [f"comes without {secret}, which is to be set"] if row is None and secret else []
        yield Step(_change("source", source.name, what, "owner", fields, notes), PutSource(source, row is None))


def _secret_of(source: SourceConfig) -> str | None:
    """What it is read with and no file says."""
    if source.kind == "sftp":
        return "our private key"
    return "the secret of its access key" if source.access_key else None


def _export(export: ExportConfig, row: Mapping[str, Any] | None) -> Iterator[Step]:
    after = export.model_dump()
    fields = different({} if row is None else {name: row[name] for name in after}, after)
    if row is None or fields:
        keeps = row is not None and row["access_key"] == export.access_key
        notes = [] if keeps or export.access_key is None else ["the secret of its access key is to be set"]
        if row is not None and {"bucket", "prefix", "endpoint_url"} & {one.field for one in fields}:
            notes.append("all hours that we still have are exported to the new place; what lies in the old one stays")
        change = _change("export", export.bucket, "create" if row is None else "change", "owner", fields, notes)
        yield Step(change, PutExport(export, row is None, keeps))


def _to_do(wanted: Wanted, now: Now) -> list[str]:
    """Secrets that are missing once all is done."""
    said = [
        f"set {secret} of the source {one.name}"
        for one in wanted.sources
        if (secret := _secret_of(one)) and not (one.name in now.sources and now.sources[one.name]["has_key"])
    ]
    if (export := wanted.export) is not None and export.access_key is not None:
        known = now.target is not None and now.target["access_key"] == export.access_key and now.target["has_secret"]
        if not known:
            said.append(f"set the secret of the access key {export.access_key} of the export bucket")
    return said


# --- what no file names ----------------------------------------------------------------------------------------------


def _prune(wanted: Wanted, now: Now) -> Iterator[Step]:
    named = {one.file.template_id: {variant.name for variant in one.file.variants} for one in wanted.templates}
    for template_id, stored in now.templates.items():
        if template_id not in named:
            if stored.row["state"] != "archived":
                fields = different({"state": stored.row["state"]}, {"state": "archived"})
                notes = ["people get the control content"]
                change = _change("template", template_id, "archive", "editor", fields, notes)
                yield Step(change, ArchiveTemplate(template_id))
            continue
        for name, one in stored.variants.items():
            if name not in named[template_id] and one.standing.state != "archived":
                change = _change("variant", f"{template_id} / {name}", "archive", "editor", [])
                yield Step(change, ArchiveVariant(template_id, name))


def _change(
    kind: Any, name: str, what: What, needs: Role, fields: list[ConfigField], notes: Sequence[str] = ()
) -> ConfigChange:
    return ConfigChange(kind=kind, name=name, what=what, needs=needs, fields=fields, notes=list(notes))
