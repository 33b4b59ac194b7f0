"""What stands in the sidebar, in groups. An area is shown once its page is declared, to whoever may open it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from shared.people.roles import Role


@dataclass(frozen=True, slots=True)
class Area:
    """One entry; `path` below the org, '' for its home. `icon`: a symbol of `_icons.html`."""

    path: str
    title: str
    icon: str
    group: str = ""
    least: Role = "viewer"


ALL: Final[tuple[Area, ...]] = (
    Area("", "Home", "home"),
    Area("templates", "Templates", "templates"),
    Area("review", "Review", "review"),
    Area("results", "Results", "results"),
    Area("operations", "Operations", "operations", "Run"),
    Area("troubleshooting", "Troubleshooting", "help", "Run"),
    Area("integration", "Org Integration Settings", "plug", "Set up"),
    Area("keys", "API keys", "key", "Set up"),
    Area("people", "People", "people", "Set up"),
    Area("audit", "Audit log", "audit", "Set up", "owner"),
)


def areas(declared_paths: Iterable[str]) -> list[Area]:
    """Those of which there is a page."""
    there = set(declared_paths)
    return [area for area in ALL if f"/{{org}}/{area.path}" in there]


def is_inside(area: Area, org_slug: str, path: str) -> bool:
    """Whether this path belongs to the area."""
    root = f"/{org_slug}/{area.path}"
    return path == root or (area.path != "" and path.startswith(f"{root}/"))
