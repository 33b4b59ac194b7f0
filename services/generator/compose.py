"""One accepted webhook and what may be said now → the generation. Pure: no I/O, no clock, no randomness."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import orjson

from services.generator.catalog import OrgConfig, Template
from services.generator.cells import PLAIN
from services.generator.records import UNKNOWN_TEMPLATE, Generation, Stored
from services.generator.render import Renderer
from services.generator.select import Snapshot, choose
from shared.rendering.copy import RenderError
from shared.schemas.copy import VariantSource, Vars
from shared.schemas.decisions import PREVIEW, PREVIEWED, VARIANT_NOT_SERVED, WRITTEN_PREVIEW
from shared.schemas.ids import generation_day
from shared.schemas.jobs import Attrs, GenerateJob, Preview, WriteJob
from shared.snippet import written_for
from shared.vars_codec import encode_vars

_SERVED = ("active", "shipped")
_DEFAULT_PREFIX = "jai"
_DEFAULT_SEND_WINDOW_S = 900
_ID_CHARS = 512  # an index entry holds at most 2,704 bytes, and one insert carries the whole batch


@dataclass(frozen=True, slots=True)
class _Decision:
    """What to show. `reason` says why (shared/schemas/decisions.py). `unrendered`: the variant that was drawn, where
    its copy could not be rendered for this person."""

    reason: str
    copy: Vars | None = None
    source: VariantSource | None = None
    snapshot: Snapshot | None = None
    probabilities: tuple[float, ...] = ()
    propensity: float | None = None
    unrendered: UUID | None = None


def fault_of(job: GenerateJob) -> str | None:
    """Why this job can never be stored, if so. The gateway lets none of these through; a batch must not die of one."""
    for name in ("template_id", "user_id", "tracking_id"):
        text = getattr(job, name)
        if "\x00" in text or len(text) > _ID_CHARS:
            return f"unusable_{name}"
    if abs(job.day - generation_day(job.accepted_at)) > timedelta(days=1):
        return "wrong_day"
    return None


def compose(job: GenerateJob, config: OrgConfig, renderer: Renderer, last: UUID | None = None) -> Generation:
    """Choose, render, and say everything that is to be remembered of it. `last` is the variant that this person got
    from this template before."""
    template = config.templates.get(job.template_id)
    cell = (template.cells if template else PLAIN).of(job.attrs, job.accepted_at)
    decision = _decide(job, cell, template, renderer, last)
    least, most = config.wait(template, job.tracking_id)
    send_window_s = template.send_window_s if template else _DEFAULT_SEND_WINDOW_S
    treated = decision.copy is not None and decision.source is not None
    return Generation(
        day=job.day,
        generation_id=job.generation_id,
        org_id=job.org_id,
        template_id=job.template_id,
        user_id=job.user_id,
        tracking_id=job.tracking_id,
        accepted_at=job.accepted_at,
        deadline_at=job.accepted_at + least,
        clean_at=job.accepted_at + most + timedelta(seconds=send_window_s),
        decision=_kind(job.preview) if job.preview else "treatment" if treated else "control",
        reason=decision.reason,
        copy_id=decision.source.copy_id if decision.source else None,
        variant_version=decision.source.version if decision.source else None,
        property_prefix=template.property_prefix if template else _DEFAULT_PREFIX,
        written_for=written_for(job.template_id, job.user_id, job.tracking_id),
        snapshot=decision.snapshot,
        cell=cell,
        probabilities=decision.probabilities,
        propensity=decision.propensity,
        attrs_json=_json(job.attrs),
        repairs=job.repairs,
        vars=encode_vars(decision.copy, decision.source) if decision.copy and decision.source else None,
        drawn_copy_id=decision.unrendered,
        remembered=treated and job.preview is None and template is not None and template.asks_for_last,
    )


def asked_again(stored: Stored, config: OrgConfig) -> WriteJob | None:
    """The write of a request that was stored before. Where it leads to a later email, that one shows only what could be
    drawn now: copy that somebody has withdrawn or replaced since is a clear, as for anybody who gets control. A stop is
    left to the profile writer, which knows of it sooner."""
    write = stored.write
    if write is None or write.action == "clear" or not stored.renewed or _still_served(stored, config):
        return write
    return write.model_copy(update={"action": "clear"})


def _still_served(stored: Stored, config: OrgConfig) -> bool:
    template = config.templates.get(stored.template_id)
    if template is None or template.state not in _SERVED or stored.copy_id is None:
        return False
    source = template.variants.get(stored.copy_id)
    return source is not None and source.version == stored.variant_version


def _decide(job: GenerateJob, cell: str, template: Template | None, renderer: Renderer, last: UUID | None) -> _Decision:
    if template is None:
        return _Decision(UNKNOWN_TEMPLATE)
    if template.stopped:
        return _Decision("stopped")  # on a profile that holds copy, a control decision is a clear in the first lane
    if template.state not in _SERVED:
        return _Decision(f"template_{template.state}")
    if template.snapshot is None:
        return _Decision("no_approved_variant")
    if job.preview is not None:
        return _previewed(job, job.preview, cell, template, template.snapshot, renderer)
    if (planned := template.split.planned_control(job, template.state)) is not None:
        return _Decision(planned)
    choice = choose(template.snapshot, cell, job.generation_id, last if template.avoids_repeats else None)
    source = template.variants[choice.copy_id]
    try:
        copy = renderer.render(source, job.fields)
    except RenderError as error:
        return _Decision(
            error.reason, snapshot=template.snapshot, probabilities=choice.probabilities, unrendered=choice.copy_id
        )
    return _Decision(template.snapshot.reason, copy, source, template.snapshot, choice.probabilities, choice.propensity)


def _kind(preview: Preview) -> str:
    return WRITTEN_PREVIEW if preview.write else PREVIEW


def _previewed(
    job: GenerateJob, preview: Preview, cell: str, template: Template, snapshot: Snapshot, renderer: Renderer
) -> _Decision:
    """The variant that somebody wants to look at, or the one that would be drawn. Nothing of it says with which
    probability: estimates could make no use of it, and must not."""
    source = template.variants.get(preview.copy_id or choose(snapshot, cell, job.generation_id).copy_id)
    if source is None:
        return _Decision(VARIANT_NOT_SERVED)
    try:
        return _Decision(PREVIEWED, renderer.render(source, job.fields), source)
    except RenderError as error:
        return _Decision(error.reason)


def _json(attrs: Attrs) -> str:
    """As given, but for NUL, which PostgreSQL cannot store."""
    text = orjson.dumps(attrs).decode()
    if "\\u0000" not in text:
        return text
    kept = {
        name.replace("\x00", ""): [one.replace("\x00", "") for one in value]
        if isinstance(value, list)
        else value.replace("\x00", "")
        for name, value in attrs.items()
    }
    return orjson.dumps(kept).decode()
