"""A person's profile: what it holds, how a write changes it, and what it held at any recent moment.

Writing is a pure function of the old state; the profile only keeps the states. Emails are rendered from the state at
their due moment, so a busy machine can never let a late write look punctual.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

IDENTITY_FIELDS = (
    "email",
    "phone_number",
    "external_id",
    "first_name",
    "last_name",
    "organization",
    "locale",
    "title",
    "image",
    "location",
)
STATES_KEPT = 32
COPIES_KEPT = 32
COPY_SUFFIXES = ("_subject", "_preheader", "_body", "_generation", "_for", "_person")

Carried = Literal["none", "missing", "all"]
"""Which custom properties of a profile that is merged go along: none, those that the one that stays has no value for,
or all, over its own. What Klaviyo does is not documented."""


class InvalidWrite(ValueError):
    """A write that Klaviyo refuses with 400; `pointer` names the place in the request body."""

    def __init__(self, detail: str, pointer: str) -> None:
        super().__init__(detail)
        self.pointer = pointer


@dataclass(frozen=True, slots=True)
class ProfileState:
    """One immutable state. The two mappings are never changed in place."""

    fields: Mapping[str, Any]
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Copy:
    """Generated content that arrived in one write: the properties `<prefix>_…` beside their markers. `profile_id` is
    whom it was written to, also where a merge has carried it to another profile since."""

    profile_id: str
    generation_id: str
    written_for: str
    written_at: datetime
    prefix: str
    subject: str
    preheader: str
    body: str


@dataclass(slots=True)
class Profile:
    id: str
    created_at: datetime
    updated_at: datetime
    states: deque[tuple[datetime, ProfileState]]
    copies: deque[Copy] = field(default_factory=lambda: deque(maxlen=COPIES_KEPT))

    @property
    def state(self) -> ProfileState:
        return self.states[-1][1]

    def as_of(self, at: datetime) -> ProfileState:
        """The state in force at `at`; the oldest kept one if that is further back than `STATES_KEPT` writes."""
        for changed_at, state in reversed(self.states):
            if changed_at <= at:
                return state
        return self.states[0][1]

    def become(self, state: ProfileState, at: datetime, copies: list[Copy]) -> None:
        self.states.append((at, state))
        self.copies.extend(copies)
        self.updated_at = at

    def take_over(self, other: "Profile", carried: Carried, at: datetime) -> None:
        """What becomes of this profile when the other one is merged into it."""
        if carried != "none":
            copies = [replace(copy, written_at=at) for copy in other.copies]
            self.become(_with_properties_of(self.state, other.state, carried), at, copies)


def new_profile(profile_id: str, attributes: Mapping[str, Any], at: datetime, *, keep_nulls: bool = False) -> Profile:
    """A person with these attributes; `keep_nulls` as in `written`. Raises `InvalidWrite`."""
    empty = ProfileState({}, {})
    state = written(empty, attributes, {}, keep_nulls=keep_nulls)
    profile = Profile(profile_id, at, at, deque([(at, state)], maxlen=STATES_KEPT))
    profile.copies.extend(copies_in(profile_id, attributes.get("properties") or {}, at))
    return profile


def written(
    state: ProfileState, attributes: Mapping[str, Any], patch: Mapping[str, Any], *, keep_nulls: bool
) -> ProfileState:
    """The state after a write of `attributes` with `meta.patch_properties` = `patch`.

    A field that is null is cleared, an absent one stays; custom properties merge by top-level key and nested objects
    are replaced. `keep_nulls` is the bulk import's rule: a null changes nothing. Raises `InvalidWrite`.
    """
    fields = state.fields
    named = {name: attributes[name] for name in IDENTITY_FIELDS if name in attributes}
    if named:
        fields = _merged(fields, named, keep_nulls)
    properties = state.properties
    given = attributes.get("properties")
    if given is not None and not isinstance(given, Mapping):
        raise InvalidWrite("properties must be an object.", "/data/attributes/properties")
    if given or patch:
        properties = _patched(_merged(properties, given or {}, keep_nulls), patch)
    return ProfileState(fields, properties)


def _merged(old: Mapping[str, Any], new: Mapping[str, Any], keep_nulls: bool) -> dict[str, Any]:
    merged = dict(old)
    for name, value in new.items():
        if value is not None:
            merged[name] = value
        elif not keep_nulls:
            # A cleared custom property stays as a key without value; only `unset` removes it.
            merged[name] = None
    return merged


def _patched(properties: dict[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    pointer = "/data/meta/patch_properties"
    for name, value in _object(patch, "append", pointer).items():
        # Appending makes a list of whatever was there: {"k": "v"} on nothing gives ["v"].
        properties[name] = [*_as_list(properties.get(name)), *_as_list(value)]
    for name, value in _object(patch, "unappend", pointer).items():
        unwanted = _as_list(value)
        properties[name] = [item for item in _as_list(properties.get(name)) if item not in unwanted]
    unset = patch.get("unset") or []
    names = [unset] if isinstance(unset, str) else unset
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidWrite("unset must be a string or an array of strings.", f"{pointer}/unset")
    for name in names:
        properties.pop(name, None)
    return properties


def _object(patch: Mapping[str, Any], name: str, pointer: str) -> Mapping[str, Any]:
    value = patch.get(name) or {}
    if not isinstance(value, Mapping):
        raise InvalidWrite(f"{name} must be an object.", f"{pointer}/{name}")
    return value


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _with_properties_of(stays: ProfileState, gone: ProfileState, carried: Carried) -> ProfileState:
    own = {name: value for name, value in stays.properties.items() if carried == "missing" and value is not None}
    return ProfileState(stays.fields, {**stays.properties, **gone.properties, **own})


def copies_in(profile_id: str, properties: Mapping[str, Any], at: datetime) -> list[Copy]:
    """The generated contents that a write to this profile brings, one per `<prefix>_generation` marker in it."""
    found = []
    for name, generation_id in properties.items():
        if not name.endswith("_generation") or not isinstance(generation_id, str) or not generation_id:
            continue
        prefix = name.removesuffix("_generation")
        texts = (str(properties.get(f"{prefix}_{part}") or "") for part in ("for", "subject", "preheader", "body"))
        written_for, subject, preheader, body = texts
        found.append(Copy(profile_id, generation_id, written_for, at, prefix, subject, preheader, body))
    return found


def markers_of(given: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str | None]:
    """What a write did to the markers of generated content: those it brought, and as None those it took away.

    `given` is the `properties` object of the write, `before` and `after` the profile's own around it.
    """
    changed: dict[str, str | None] = {}
    for name in (*given, *(gone for gone in before if gone not in after)):
        if not name.endswith("_generation"):
            continue
        for marker in (name, f"{name.removesuffix('_generation')}_for"):
            value = after.get(marker)
            brought = marker in given and given[marker] == value
            if brought or (marker in before and marker not in after):
                changed[marker] = value if isinstance(value, str) else None
    return changed


def without_copies(state: ProfileState, prefixes: frozenset[str]) -> ProfileState:
    """The person as if nothing had ever been generated for it: what an email's control content is rendered from."""
    generated = {f"{prefix}{suffix}" for prefix in prefixes for suffix in COPY_SUFFIXES}
    own = {name: value for name, value in state.properties.items() if name not in generated}
    return ProfileState(state.fields, own)
