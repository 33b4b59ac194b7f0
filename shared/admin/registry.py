"""All operations there are. Whoever adds an area adds its module here; surfaces follow by themselves."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any, Final

from shared.admin import (
    audit,
    backfilling,
    checks,
    config,
    content_rules,
    dead,
    drafts,
    export_policies,
    export_removal,
    export_switch,
    exported_hours,
    exports,
    flows,
    hooks,
    keys,
    klaviyo,
    loading,
    operations_examples,
    operations_number,
    operations_person,
    orgs,
    outcomes,
    pasting,
    people,
    people_reset,
    policies,
    previewing,
    quota,
    reconciliation,
    results,
    sends,
    setting_up,
    source_accepting,
    source_files,
    source_trying,
    sources,
    stops,
    template_lint,
    template_search,
    template_settings,
    template_writing,
    templates,
    tracing,
    unmatched,
    variant_csv,
    variant_queue,
    variant_saving,
    variants,
    what_if,
    why,
)
from shared.admin.operation import Operation, Registry

AREAS: Final[tuple[ModuleType, ...]] = (
    orgs, setting_up, keys, klaviyo, flows, templates, template_settings, pasting, variants, variant_saving,
    content_rules, stops, sources, source_files, source_trying, source_accepting, backfilling, hooks, reconciliation,
    exports, exported_hours, export_removal, export_switch, export_policies, loading, outcomes, operations_number,
    operations_examples, quota, why, operations_person, dead, audit, people, people_reset, checks, results, what_if,
    policies, template_search, template_writing, template_lint, previewing, variant_queue, variant_csv, drafts, config,
    tracing, unmatched, sends,
)  # fmt: skip


def _operations_of(area: ModuleType) -> Iterator[Operation[Any, Any]]:
    return (one for one in vars(area).values() if isinstance(one, Operation))


REGISTRY: Final = Registry(one for area in AREAS for one in _operations_of(area))
