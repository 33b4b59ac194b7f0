"""Requests, templates and variants for the generator's tests; say only what matters."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.generator.catalog import FlowWait, OrgConfig, Template
from services.generator.select import uniform
from shared.schemas.copy import VariantSource
from shared.schemas.ids import generation_day, generation_ids, window_start
from shared.schemas.jobs import GenerateJob

ORG = UUID("0b5e7d5c-0000-4000-8000-000000000001")
TEN = datetime(2026, 11, 23, 10, 30, tzinfo=UTC)
COPIES = tuple(UUID(int=number) for number in range(1, 5))


def job(at: datetime = TEN, body: bytes = b"{}", **given: Any) -> GenerateJob:
    """An accepted webhook; its ids are computed as the gateway computes them."""
    values = {"org_id": ORG, "template_id": "welcome", "user_id": "ABC123", **given}
    tracking_id = values.setdefault("tracking_id", f"{values['user_id']}.FLOW1.77")
    the_id, earlier_id = generation_ids(
        values["org_id"], values["template_id"], values["user_id"], tracking_id, body, int(window_start(at).timestamp())
    )
    return GenerateJob(
        generation_id=UUID(the_id),
        earlier_id=UUID(earlier_id),
        day=generation_day(at),
        accepted_at=at,
        **values,
    )


def source(
    copy_id: UUID = COPIES[0], *, subject: str = "Hello", preheader: str = "News", body: str = "<p>Hello</p>"
) -> VariantSource:
    """One variant version."""
    return VariantSource(copy_id, 1, subject, preheader, body)


def template(*variants: VariantSource, **given: Any) -> Template:
    """An active template with these variants, chosen uniformly."""
    copy_ids = [variant.copy_id for variant in variants]
    values: dict[str, Any] = {
        "template_id": "welcome",
        "state": "active",
        "property_prefix": "jai",
        "delay_s": None,
        "send_window_s": 900,
        "variants": {variant.copy_id: variant for variant in variants},
        "snapshot": uniform(ORG, "welcome", copy_ids) if copy_ids else None,
        **given,
    }
    return Template(**values)


def config(*templates: Template, waits: Mapping[str, tuple[int, int | None]] | None = None) -> OrgConfig:
    """An org that serves these templates; of its flows, how long each email waits at least and at most."""
    known = {action_id: FlowWait(*wait) for action_id, wait in (waits or {}).items()}
    return OrgConfig({one.template_id: one for one in templates}, known)
