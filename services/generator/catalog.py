"""What may be said, in memory: templates, approved copy, policies and flow delays of the orgs that are seen.

An org is loaded when its first job comes, and again after any change to it: PostgreSQL notifies, the listener calls
`forget`. While nobody listens, nothing is kept from one batch to the next, so a change is never missed.
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from services.generator.assign import EXTERNAL, Split
from services.generator.cells import PLAIN, Cells
from services.generator.select import Snapshot
from shared import logs, metrics
from shared.clock import Clock
from shared.schemas.copy import VariantSource

log = logs.get(__name__)

MAX_AGE_S = 60.0
"""Virtual. Only a net, for a proxy that swallows notifications; a notified change is served with the next batch."""

_DEFAULT_DELAY_S = 120
_ROW_BYTES = 1_000  # what an org, a template or a variant weighs beside its texts, roughly


@dataclass(frozen=True, slots=True)
class Template:
    """One email step as it is served now. `snapshot` is None when there is nothing to choose from; `stopped` when it or
    its whole org is."""

    template_id: str
    state: str
    property_prefix: str
    delay_s: int | None
    send_window_s: int
    variants: Mapping[UUID, VariantSource]
    snapshot: Snapshot | None
    stopped: bool = False
    cells: Cells = PLAIN
    split: Split = EXTERNAL
    avoids_repeats: bool = True

    @property
    def asks_for_last(self) -> bool:
        """Whether it matters which variant a person got last."""
        return self.avoids_repeats and self.snapshot is not None and len(self.snapshot.eligible) > 1


@dataclass(frozen=True, slots=True)
class FlowWait:
    """How long the flow takes from webhook to email: at least, and at most; `most_s` None: nobody knows."""

    least_s: int
    most_s: int | None


@dataclass(frozen=True, slots=True)
class OrgConfig:
    """One org's templates by id, and the wait before each email by its flow action."""

    templates: Mapping[str, Template] = field(default_factory=dict)
    waits: Mapping[str, FlowWait] = field(default_factory=dict)

    def wait(self, template: Template | None, tracking_id: str) -> tuple[timedelta, timedelta]:
        """How long after acceptance the email may leave, and how long it may take: as flow sync knows it, else as the
        template says, else 2 min.

        Where nothing of the wait is certain (until a date, until a time of day) it is not 0 for all that: a deadline at
        once would leave everybody without copy for the sake of the few whose email leaves at once. But 2 min at most:
        there the template says the longest that the email may take, and who is due by that comes last in every backlog.
        """
        own_s = template.delay_s if template is not None else None
        flow = self.waits.get(tracking_id.rpartition(".")[2])
        if flow is None:
            flow = FlowWait(own_s or _DEFAULT_DELAY_S, own_s or _DEFAULT_DELAY_S)
        least_s = flow.least_s
        if not least_s and flow.most_s != 0:
            least_s = min(own_s or _DEFAULT_DELAY_S, _DEFAULT_DELAY_S)
            least_s = least_s if flow.most_s is None else min(least_s, flow.most_s)
        most_s = (own_s or 0) if flow.most_s is None else flow.most_s
        return timedelta(seconds=least_s), timedelta(seconds=max(least_s, most_s))


class ConfigSource(Protocol):
    async def load_orgs(self, org_ids: Sequence[UUID]) -> Mapping[UUID, OrgConfig]:
        """What is stored of these orgs now, in one round trip; an org that is not known may be left out."""


@dataclass(frozen=True, slots=True)
class _Kept:
    config: OrgConfig
    weight_bytes: int
    loaded_at_s: float


class Catalog:
    """Serves configurations; keeps the orgs used last, up to `max_bytes` of copy."""

    def __init__(self, source: ConfigSource, clock: Clock, *, max_bytes: int) -> None:
        self._source, self._clock, self._max_bytes = source, clock, max_bytes
        self._kept: OrderedDict[UUID, _Kept] = OrderedDict()
        self._kept_bytes = 0
        self._listening = False
        self._changes = 0  # of all orgs: a load during which anything changed is used once and not kept

    async def orgs(self, org_ids: Collection[UUID]) -> Mapping[UUID, OrgConfig]:
        """The configurations of these orgs, for one batch. Raises Outage."""
        oldest_s = self._clock.monotonic() - MAX_AGE_S
        known = {
            org_id: kept.config
            for org_id in org_ids
            if (kept := self._kept.get(org_id)) is not None and kept.loaded_at_s > oldest_s
        }
        for org_id in known:
            self._kept.move_to_end(org_id)
        if missing := [org_id for org_id in org_ids if org_id not in known]:
            known |= await self._load(missing)
        return known

    def forget(self, org_id: UUID | None = None) -> None:
        """This org's configuration has changed; None: any may have."""
        self._changes += 1
        for gone in [*self._kept] if org_id is None else [org_id]:
            self._drop(gone)

    def listen(self, *, listening: bool) -> None:
        """Whether changes reach us. What was kept before cannot be trusted after a gap."""
        self._listening = listening
        self.forget()

    async def _load(self, org_ids: Sequence[UUID]) -> dict[UUID, OrgConfig]:
        changes = self._changes
        at_s = self._clock.monotonic()
        stored = await self._source.load_orgs(org_ids)
        loaded = {org_id: stored.get(org_id) or OrgConfig() for org_id in org_ids}
        if self._listening and changes == self._changes:
            for org_id, config in loaded.items():
                self._keep(org_id, _Kept(config, _weight(config), at_s))
        return loaded

    def _keep(self, org_id: UUID, kept: _Kept) -> None:
        self._drop(org_id)
        self._kept[org_id] = kept
        self._kept_bytes += kept.weight_bytes
        while self._kept_bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))
        metrics.gauge("policy_templates", sum(len(one.config.templates) for one in self._kept.values()))

    def _drop(self, org_id: UUID) -> None:
        if (kept := self._kept.pop(org_id, None)) is not None:
            self._kept_bytes -= kept.weight_bytes


def _weight(config: OrgConfig) -> int:
    texts = [
        text
        for template in config.templates.values()
        for source in template.variants.values()
        for text in (source.subject, source.preheader, source.body)
    ]
    cells = sum(len(template.snapshot.cells) for template in config.templates.values() if template.snapshot)
    return sum(map(len, texts)) + _ROW_BYTES * (1 + len(config.templates) + len(texts) // 3 + cells)
