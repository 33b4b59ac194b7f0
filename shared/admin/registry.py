"""All operations there are. Whoever adds an area adds its module here; surfaces follow by themselves."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any, Final

from shared.admin import (
    audit,
    content_rules,
    dead,
    exports,
    flows,
    keys,
    klaviyo,
    orgs,
    outcomes,
    pasting,
    previewing,
    quota,
    sources,
    stops,
    template_lint,
    template_search,
    template_settings,
    template_writing,
    templates,
    variant_queue,
    variant_saving,
    variants,
    why,
)
from shared.admin.operation import Operation, Registry

AREAS: Final[tuple[ModuleType, ...]] = (
    orgs, keys, klaviyo, flows, templates, template_settings, pasting, variants, variant_saving, content_rules, stops,
    sources, exports, outcomes, quota, why, dead, audit, template_search, template_writing, template_lint, previewing,
    variant_queue,
)  # fmt: skip


def _operations_of(area: ModuleType) -> Iterator[Operation[Any, Any]]:
    return (one for one in vars(area).values() if isinstance(one, Operation))


REGISTRY: Final = Registry(one for area in AREAS for one in _operations_of(area))
