"""Roles of people in an org. Pure."""

from typing import Final, Literal

Role = Literal["viewer", "reviewer", "editor", "owner"]

ROLES: Final[tuple[Role, ...]] = ("viewer", "reviewer", "editor", "owner")  # each may what those before it may

MEANINGS: Final[dict[Role, str]] = {
    "viewer": "sees everything, changes nothing",
    "reviewer": "sees everything, approves and rejects copy",
    "editor": "writes copy, sets up templates, approves",
    "owner": "does everything, also people, keys and connections",
}


def reaches(role: Role, least: Role) -> bool:
    """Whether `role` may do what needs at least `least`."""
    return ROLES.index(role) >= ROLES.index(least)
