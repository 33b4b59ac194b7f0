"""One Klaviyo account: its keys, people, flows, metrics, campaigns, events, jobs and rate windows. Memory only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from simulator.flow.definitions import Flow, FlowAction, FlowMessage
from simulator.foreign import Foreign
from simulator.people.behaviour import Behaviour
from simulator.people.events import METRIC_NAMES, EventStore
from simulator.profile import Carried, Profile, ProfileState, copies_in, markers_of
from simulator.windows import Quota, Windows


@dataclass(slots=True)
class PrivateKey:
    value: str
    scopes: frozenset[str]
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Metric:
    id: str
    name: str
    created_at: datetime
    integration: str = "Klaviyo"
    category: str = "Internal"


@dataclass(frozen=True, slots=True)
class Campaign:
    id: str
    message_id: str
    name: str
    status: str
    list_id: str
    created_at: datetime
    sent_at: datetime | None = None
    channel: str = "email"


@dataclass(frozen=True, slots=True)
class RowError:
    id: str
    code: str
    title: str
    detail: str
    pointer: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WrittenBy:
    """The request (by its number) or the import job (by its id) that wrote a profile."""

    kind: Literal["request", "job"]
    id: int | str


class WriteRecorder(Protocol):
    def write(
        self, at: datetime, account_id: str, profile_id: str, markers: Mapping[str, str | None], by: WrittenBy
    ) -> None:
        """Keep one applied write."""


@dataclass(slots=True)
class ImportJob:
    """A bulk import. Its rows are applied from `due_at` on, which is drawn when the job is made; it has ended when the
    last one is."""

    id: str
    rows: list[Mapping[str, Any]]
    list_ids: list[str]
    created_at: datetime
    started_at: datetime
    due_at: datetime
    expires_at: datetime
    total: int = field(init=False)
    applied: int = 0
    errors: list[RowError] = field(default_factory=list)
    ended_at: datetime | None = None
    cancelled: bool = False

    def __post_init__(self) -> None:
        self.total = len(self.rows)

    def status(self, now: datetime) -> str:
        if self.ended_at is not None:
            return "cancelled" if self.cancelled else "complete"
        return "queued" if now < self.started_at else "processing"

    def end(self, at: datetime, *, cancelled: bool) -> None:
        """The job is over, and its rows are let go of."""
        self.ended_at, self.cancelled, self.rows = at, cancelled, []


@dataclass(slots=True)
class Account:
    """`phase_s` is the hidden phase of the rate windows; `foreign` is other apps' traffic by operation."""

    id: str
    name: str
    phase_s: float
    created_at: datetime
    timezone: str = "Europe/London"
    keys: dict[str, PrivateKey] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    gone: dict[str, str | None] = field(default_factory=dict)
    by_email: dict[str, str] = field(default_factory=dict)
    flows: dict[str, Flow] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    campaigns: dict[str, Campaign] = field(default_factory=dict)
    jobs: dict[str, ImportJob] = field(default_factory=dict)
    events: EventStore = field(default_factory=EventStore)
    behaviour: Behaviour = field(default_factory=Behaviour)
    windows: dict[str, Windows] = field(default_factory=dict)
    foreign: dict[str, Foreign] = field(default_factory=dict)
    first_written_at: dict[str, datetime] = field(default_factory=dict)
    recorder: WriteRecorder | None = None

    def window(self, name: str, quota: Quota) -> Windows:
        """The windows of one bucket: an operation, or an operation's stricter extra."""
        if (windows := self.windows.get(name)) is None:
            windows = self.windows[name] = Windows(quota, self.phase_s)
        windows.foreign = self.foreign.get(name)
        return windows

    def add_profile(self, person: Profile, by: WrittenBy | None = None) -> None:
        """Take a new person in; `by` is who wrote it over the API."""
        self.profiles[person.id] = person
        self._index_email(person)
        for copy in person.copies:
            self.first_written_at.setdefault(copy.generation_id, copy.written_at)
        if self.recorder is not None and by is not None:
            properties = person.state.properties
            self.recorder.write(person.created_at, self.id, person.id, markers_of(properties, {}, properties), by)

    def write(
        self, person: Profile, state: ProfileState, given: Mapping[str, Any], at: datetime, by: WrittenBy | None = None
    ) -> None:
        """Put a profile into its next state. `given` is the `properties` object of the write, with its markers; `by`
        is who wrote it over the API."""
        if self.recorder is not None and by is not None:
            markers = markers_of(given, person.state.properties, state.properties)
            self.recorder.write(at, self.id, person.id, markers, by)
        copies = copies_in(person.id, given, at)
        person.become(state, at, copies)
        for copy in copies:
            self.first_written_at.setdefault(copy.generation_id, at)
        if person.state.fields.get("email") is not None:
            self._index_email(person)

    def _index_email(self, person: Profile) -> None:
        if email := person.state.fields.get("email"):
            self.by_email[email.lower()] = person.id

    def merge(self, profile_id: str, into: str, carried: Carried, at: datetime) -> None:
        """Merge a profile into another, which takes over what is `carried`."""
        self.profiles[into].take_over(self.profiles[profile_id], carried, at)
        self.remove(profile_id, into)

    def remove(self, profile_id: str, merged_into: str | None) -> None:
        """Delete a profile, or merge it into another, which takes nothing over. Its id answers 404 from now on."""
        person = self.profiles.pop(profile_id)
        self.gone[profile_id] = merged_into
        if email := person.state.fields.get("email"):
            self.by_email.pop(email.lower(), None)

    def find_action(self, action_id: str) -> tuple[Flow, FlowAction] | None:
        for flow in self.flows.values():
            if (action := flow.action(action_id)) is not None:
                return flow, action
        return None

    def find_message(self, message_id: str) -> tuple[Flow, FlowMessage] | None:
        for flow in self.flows.values():
            for message in flow.messages():
                if message.id == message_id:
                    return flow, message
        return None

    def metric_named(self, name: str) -> Metric:
        return next(metric for metric in self.metrics.values() if metric.name == name)


def standard_metrics(new_id: list[str], at: datetime) -> dict[str, Metric]:
    """The metrics every account has; `new_id` holds one fresh id per name, since metric ids differ per account."""
    return {metric_id: Metric(metric_id, name, at) for metric_id, name in zip(new_id, METRIC_NAMES, strict=True)}
