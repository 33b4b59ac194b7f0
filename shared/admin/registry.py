"""All operations there are. Whoever adds an area adds its module here; surfaces follow by themselves."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any, Final

from shared.admin import audit, stops
from shared.admin.access import keys, people, people_reset
from shared.admin.checks import checks
from shared.admin.config import config
from shared.admin.drafts import drafts
from shared.admin.exports import exported_hours, exports, loading
from shared.admin.exports import policies as export_policies
from shared.admin.exports import removal as export_removal
from shared.admin.exports import switch as export_switch
from shared.admin.operation import Operation, Registry
from shared.admin.orgs import content_rules, flows, klaviyo, orgs, recounting, setting_up
from shared.admin.outcomes import examples as operations_examples
from shared.admin.outcomes import number as operations_number
from shared.admin.outcomes import outcomes
from shared.admin.person import person as operations_person
from shared.admin.person import why
from shared.admin.queues import dead, quota
from shared.admin.results import policies, results, sends, what_if
from shared.admin.sources import accepting as source_accepting
from shared.admin.sources import backfilling, hooks, reconciliation, sources, tracing, unmatched
from shared.admin.sources import files as source_files
from shared.admin.sources import trying as source_trying
from shared.admin.templates import lint as template_lint
from shared.admin.templates import pasting, prefixes, templates
from shared.admin.templates import search as template_search
from shared.admin.templates import settings as template_settings
from shared.admin.templates import writing as template_writing
from shared.admin.variants import as_csv as variant_csv
from shared.admin.variants import previewing, variants
from shared.admin.variants import queue as variant_queue
from shared.admin.variants import saving as variant_saving

AREAS: Final[tuple[ModuleType, ...]] = (
    orgs, setting_up, recounting, keys, klaviyo, flows, templates, template_settings, pasting, prefixes, variants,
    variant_saving, content_rules, stops, sources, source_files, source_trying, source_accepting, backfilling, hooks,
    reconciliation, exports, exported_hours, export_removal, export_switch, export_policies, loading, outcomes,
    operations_number, operations_examples, quota, why, operations_person, dead, audit, people, people_reset, checks,
    results, what_if, policies, template_search, template_writing, template_lint, previewing, variant_queue,
    variant_csv, drafts, config, tracing, unmatched, sends,
)  # fmt: skip


def _operations_of(area: ModuleType) -> Iterator[Operation[Any, Any]]:
    return (one for one in vars(area).values() if isinstance(one, Operation))


REGISTRY: Final = Registry(one for area in AREAS for one in _operations_of(area))
