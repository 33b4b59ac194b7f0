"""What `justai doctor` makes of what it sees. Pure."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from shared.db.migrate import Migration
from shared.keyring import Holder, without
from shared.messaging.inspection import BrokerSeen

Tone = Literal["ok", "warn", "bad"]

OLDEST_POSTGRES: Final = 150_000
_SKEW_WARN, _SKEW_BAD = timedelta(seconds=2), timedelta(seconds=30)
_LONG_TRANSACTION: Final = timedelta(minutes=15)
_LONG_QUEUE: Final = 10_000
_ROOM_BYTES: Final = 5 << 30
_CERTIFICATE_WARN: Final = timedelta(days=14)
MOST_WAITING: Final = 50
LATELY: Final = timedelta(hours=1)  # refused webhooks that nobody put right yet
# Who takes which jobs; what nobody takes waits without end.
CONSUMERS: Final = {
    "generate": "generator", "write": "profile_writer", "ingest_file": "ingest", "probe_source": "ingest",
    "export_hour": "egress", "probe_target": "egress",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Waits:
    """What stands still in an org until somebody does something: `n` of it, in the template or source `name`."""

    slug: str
    what: Literal[
        "org", "template", "variants", "fit", "leaving", "control", "files", "source", "silent", "hours", "webhooks"
    ]
    name: str = ""
    n: int = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `do`: what helps, where something should be done."""

    area: str
    tone: Tone
    says: str
    do: str = ""


@dataclass(frozen=True, slots=True)
class DatabaseSeen:
    """`applied`: names of migrations; `role_problem`: what is wrong with the role that services work as; `locks`: that
    one transaction takes which asks for all kept days, `most_locks`: that all transactions may hold together."""

    version: int
    said: str
    applied: Collection[str]
    edited: Collection[str]
    role_problem: str | None
    now: datetime
    used: int
    most: int
    longest: timedelta | None
    locks: int
    most_locks: int


@dataclass(frozen=True, slots=True)
class SealedSeen:
    """One stored secret: `opens` with the ring; `key`: the name of the one that sealed it."""

    slug: str
    what: str
    key: str
    opens: bool


@dataclass(frozen=True, slots=True)
class UrlSeen:
    """What came of asking the public address without a key. `status` None: no answer, and `error` says why."""

    url: str
    status: int | None = None
    location: str | None = None
    error: str | None = None
    certificate_until: datetime | None = None
    is_ours: bool = False


def of_database(
    seen: DatabaseSeen, files: Sequence[Migration], here: datetime, *, real_time: bool
) -> Iterator[Finding]:
    """Version, schema, role, room for connections and locks, and its clock beside ours."""
    if seen.version < OLDEST_POSTGRES:
        yield Finding("database", "bad", f"{seen.said} is older than 15", "Use PostgreSQL 15 or newer.")
    else:
        yield Finding("database", "ok", seen.said)
    names = [file.name for file in files]
    missing = [name for name in names if name not in seen.applied]
    unknown = sorted(set(seen.applied) - set(names))
    if seen.edited:
        yield Finding("schema", "bad", f"{', '.join(sorted(seen.edited))} was edited after it was applied",
                      "Restore the file; add a new one for what must change.")  # fmt: skip
    if missing:
        yield Finding("schema", "bad", f"{len(missing)} migrations are missing, the first is {missing[0]}",
                      "Run `justai migrate`.")  # fmt: skip
    elif unknown:
        yield Finding("schema", "warn", f"The schema is newer than this release: {unknown[-1]}",
                      "Use the release that brought it here too.")  # fmt: skip
    elif not seen.edited:
        yield Finding("schema", "ok", f"All {len(names)} migrations are applied")
    if seen.role_problem:
        yield Finding("schema", "bad", seen.role_problem, "Services must work as a role that owns nothing: "
                      "JUSTAI_DATABASE_ROLE.")  # fmt: skip
    if seen.used > 0.9 * seen.most:
        yield Finding("database", "warn", f"{seen.used} of {seen.most} connections are used",
                      "Raise max_connections, or lower JUSTAI_DATABASE_POOL of what has many replicas.")  # fmt: skip
    if seen.locks > 0.5 * seen.most_locks:
        yield Finding("database", "warn", f"Asking for all kept days takes {seen.locks:,} of {seen.most_locks:,} locks",
                      "Raise max_locks_per_transaction, or keep fewer days: where they do not suffice, no person is "
                      "deleted or looked up.")  # fmt: skip
    if seen.longest is not None and seen.longest > _LONG_TRANSACTION:
        minutes = seen.longest.total_seconds() / 60
        yield Finding("database", "warn", f"A transaction has been open for {minutes:.0f} minutes",
                      "It keeps dead rows from being cleaned up: see pg_stat_activity.")  # fmt: skip
    if real_time:
        yield _skew("database", seen.now - here)


def _skew(area: str, skew: timedelta) -> Finding:
    seconds = skew.total_seconds()
    text = f"Its clock is {abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} ours"
    if abs(skew) > _SKEW_BAD:
        return Finding(area, "bad", text, "Deadlines are wrong by as much: have both machines follow a time server.")
    if abs(skew) > _SKEW_WARN:
        return Finding(area, "warn", text, "Have both machines follow a time server.")
    return Finding(area, "ok", f"{text}, which is well")


def of_broker(seen: BrokerSeen) -> Iterator[Finding]:
    """Its version, and each kind of job: queues, who takes from them, what waits, what is buried."""
    yield Finding("broker", "ok", seen.product)
    for kind in dict.fromkeys(one.kind for one in seen.queues):
        yield from _of_kind(kind, seen)


def _of_kind(kind: str, seen: BrokerSeen) -> Iterator[Finding]:
    queues = [one for one in seen.queues if one.kind == kind and not one.is_dead]
    missing = [one.name for one in queues if one.ready is None]
    taker = CONSUMERS[kind]
    if missing:
        which = "is not there" if len(missing) == 1 else f"and {len(missing) - 1} more are not there"
        yield Finding("queues", "bad", f"Queue {missing[0]} {which}", f"Start {taker}: it declares what it takes from.")
        return
    if kind in seen.mismatched:
        yield Finding("queues", "bad", f"{kind}: declared once with other arguments",
                      "Stop its services, let it run empty, delete it; it is made anew at the next start.")  # fmt: skip
    ready = sum(one.ready or 0 for one in queues)
    untaken = [one.name for one in queues if not one.consumers]
    if untaken:
        yield Finding("queues", "bad", f"Nobody takes from {untaken[0]}; {ready:,} messages wait in {kind}",
                      f"Is {taker} running? See its /readyz.")  # fmt: skip
    elif ready > _LONG_QUEUE:
        yield Finding("queues", "warn", f"{ready:,} messages wait in {kind}", f"Add replicas of {taker}.")
    else:
        yield Finding("queues", "ok", f"{kind}: {ready:,} wait, taken by {sum(one.consumers for one in queues)}")
    buried = sum(one.ready or 0 for one in seen.queues if one.kind == kind and one.is_dead)
    if buried:
        yield Finding("queues", "warn", f"{buried:,} dead letters of {kind}", "See `justai dead list`.")


def of_secrets(seen: Sequence[SealedSeen], current: str) -> Iterator[Finding]:
    """Whether each stored secret opens here, and whether an old key is still needed."""
    shut = [one for one in seen if not one.opens]
    for one in shut:
        yield Finding("keys", "bad", f"The {one.what} of {one.slug} does not open: it was sealed with {one.key}",
                      f"Put {one.key} behind the others in JUSTAI_SEAL_KEYS, or store the secret again.")  # fmt: skip
    old = sorted({one.key for one in seen if one.opens and one.key != current})
    if old:
        yield Finding("keys", "warn", f"Key {', '.join(old)} is still needed",
                      "Run `justai kek rotate`; then it may be taken out.")  # fmt: skip
    if not shut:
        yield Finding("keys", "ok", f"{len(seen)} stored secrets open")


def of_holders(held: Sequence[Holder], current: str) -> Iterator[Finding]:
    """Processes that could not open what is sealed from now on."""
    for one in without(held, current):
        yield Finding("keys", "bad", f"{one.service} on {one.host} has no key {current}, which seals",
                      "Give it the same JUSTAI_SEAL_KEYS as the others.")  # fmt: skip


def of_peppers(used: Collection[int], known: Collection[int]) -> Finding:
    """Keys whose digest was made with a pepper that nobody has any more cannot be recognised."""
    lost = sorted(set(used) - set(known))
    if lost:
        return Finding("keys", "bad", f"API keys were stored with pepper {', '.join(map(str, lost))}, which is not set",
                       "Put it behind the others in JUSTAI_API_KEY_PEPPERS, or have the keys made again.")  # fmt: skip
    return Finding("keys", "ok", "Every API key can be recognised")


def of_room(variable: str, folder: str, free: int) -> Finding:
    """Where event files or exports lie while they are in hand, as `variable` says."""
    text = f"{free / 1e9:.0f} GB are free in {folder}"
    if free < _ROOM_BYTES:
        return Finding(
            "disk", "warn", text, f"Files in hand lie there: make room, or set {variable} to another folder."
        )
    return Finding("disk", "ok", text)


def of_url(seen: UrlSeen, now: datetime) -> Iterator[Finding]:
    """Klaviyo calls a public https address, and follows no redirect."""
    if not seen.url.startswith("https://"):
        yield Finding("address", "bad", f"{seen.url} is not https", "Klaviyo calls https alone: put TLS before it.")
    if seen.status is None:
        yield Finding("address", "bad", f"{seen.url} does not answer: {seen.error}",
                      "Is the gateway up, and do DNS and the certificate fit?")  # fmt: skip
        return
    if 300 <= seen.status < 400:
        yield Finding("address", "bad", f"{seen.url} redirects to {seen.location}",
                      "Klaviyo does not follow: paste the address it leads to.")  # fmt: skip
    elif not seen.is_ours:
        yield Finding("address", "bad", f"{seen.url} answers {seen.status}, but not as the gateway does",
                      "Something else answers there: a proxy's own page, or another path.")  # fmt: skip
    else:
        yield Finding("address", "ok", f"The gateway answers at {seen.url}")
    if seen.certificate_until is not None:
        left = seen.certificate_until - now
        text = f"Its certificate is good for {left.days} days more"
        yield Finding("address", "warn" if left < _CERTIFICATE_WARN else "ok", text,
                      "Renew it before it ends." if left < _CERTIFICATE_WARN else "")  # fmt: skip


def of_accounts(refused: Sequence[str]) -> Iterator[Finding]:
    """Orgs whose key Klaviyo refuses."""
    for slug in refused:
        yield Finding("klaviyo", "bad", f"Klaviyo refuses the key of {slug}: nothing is written",
                      f"Store a new one: `justai klaviyo connect {slug}`.")  # fmt: skip
    if not refused:
        yield Finding("klaviyo", "ok", "No key is refused")


def of_orgs(waiting: Sequence[Waits]) -> Iterator[Finding]:
    """Orgs in which something waits for a person: whoever is woken by an alert learns here whose it is."""
    for one in waiting[:MOST_WAITING]:
        match one.what:
            case "org":
                says, do = "is stopped", f"org show {one.slug}"
            case "template":
                says, do = f"template {one.name} is stopped", f"template list {one.slug}"
            case "variants":
                says, do = f"{one.n} paused in template {one.name}", f"variant list {one.slug} {one.name}"
            case "fit":
                says, do = f"the policy of template {one.name} cannot be fitted", f"policy show {one.slug} {one.name}"
            case "leaving":
                says = f"more people leave by template {one.name} than by its control"
                do = f"results {one.slug} {one.name}"
            case "control":
                says = f"{one.n} people of template {one.name} got control that nobody asked for, within two hours"
                do = f"outcomes {one.slug} --template {one.name} --hours 2"
            case "files":
                says, do = f"{one.n} event files of source {one.name} are held", f"source files {one.slug} {one.name}"
            case "source":
                says, do = f"source {one.name} cannot be read", f"source list {one.slug}"
            case "silent":
                says = f"source {one.name} has had no new file for more than twice its usual gap"
                do = f"source list {one.slug}"
            case "webhooks":
                says, do = f"{one.n} webhooks of its flows were refused, the last within the hour", f"check {one.slug}"
            case "hours":
                says, do = f"{one.n} hours cannot be exported", f"export hours {one.slug}"
        yield Finding("orgs", "warn", f"{one.slug}: {says}", f"See `justai {do}`.")
    if len(waiting) > MOST_WAITING:
        yield Finding("orgs", "warn", "There are more, which are not listed here", "Mend these first.")
    if not waiting:
        yield Finding("orgs", "ok", "Nothing waits for a person in any org")
