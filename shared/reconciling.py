"""Why our count of an email differs from Klaviyo's own: the likely cause, from what is known about files and counts.

Pure. Ours are all events, machines' among them, because Klaviyo's totals hold them too unless its account leaves them
out. The first cause that fits is named; a difference may well have two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

Basis = Literal["sent", "happened"]
Measure = Literal["delivered", "opens", "clicks", "bounced", "unsubscribes", "spam_complaints", "conversions"]
Cause = Literal[
    "agrees",
    "no_source",
    "source_trouble",
    "unknown_layout",
    "files_held",
    "source_silent",
    "before_first_file",
    "file_late",
    "time_zone",
    "klaviyo_leaves_machines_out",
    "machines_counted",
    "links_left_out",
    "attribution_differs",
    "klaviyo_late",
    "unexplained",
]

MEANINGS: Final[Mapping[Cause, tuple[str, str]]] = {
    "agrees": ("Nothing wrong", "Both say the same, within 1 % or 2 events."),
    "no_source": ("No source", "No source of event files is set up, or all are switched off: add one."),
    "source_trouble": ("Source cannot be read", "A source's last listing failed; its page says why and what to do."),
    "unknown_layout": (
        "Unknown layout", "Files are held because their columns are not understood: say in the source's mapping which "
        "column is which, then load them again.",
    ),
    "files_held": (
        "Files held", "Files are held or failed; look at their rejects, mend the cause, and load them again.",
    ),
    "source_silent": ("Source silent", "No new file has come for more than twice the usual gap: look at the export."),
    "before_first_file": (
        "Before our first file", "Klaviyo counts from before our first event on; a backfill, or waiting, closes this.",
    ),
    "file_late": ("File late", "The newest event that we have is older than what Klaviyo counts: a file is to come."),
    "time_zone": (
        "Edge of the day", "The key may not read the account's time zone, so days are taken to be UTC's; emails near "
        "midnight fall on either side. A key with Accounts: Read ends this.",
    ),
    "klaviyo_leaves_machines_out": (
        "Klaviyo leaves machines out", "Klaviyo's number is that of people alone; ours agrees with it without machine "
        "opens and bot clicks, which our results leave out too.",
    ),
    "machines_counted": (
        "Klaviyo counts machines", "Machine opens or bot clicks that our files do not hold: see which events are "
        "exported. Results are not touched, for they leave them out.",
    ),
    "links_left_out": (
        "Links to unsubscribe", "Klaviyo also counts clicks on links to unsubscribe, preferences and web view; our "
        "count by sends leaves them out, as our results do.",
    ),
    "attribution_differs": (
        "Other rules for orders", "Klaviyo attributes an order by its own window and to opens and clicks; a template "
        "counts the order after its newest delivered email.",
    ),
    "klaviyo_late": ("Klaviyo late", "Our events are newer than Klaviyo's total: it is computed with some delay."),
    "unexplained": ("Not explained", "None of the known causes fits. Trace some emails of it with `justai event`."),
}  # fmt: skip
"""By cause, a title and what to make of it."""

TOLERANCE: Final = 0.01
LEAST: Final = 2
EDGE: Final = timedelta(hours=14)
"""How far a day of an unknown time zone may lie from that of UTC."""
_KLAVIYO_DELAY: Final = timedelta(hours=3)
_ENGAGED: Final = ("opens", "clicks")


@dataclass(frozen=True, slots=True)
class Files:
    """How the org's sources are at `now`. `first_at`, `newest_at`: of our events; None: there are none."""

    now: datetime
    sources: int
    troubled_sources: int = 0
    silent_sources: int = 0
    held_files: int = 0
    unknown_layouts: int = 0
    waiting_files: int = 0
    first_at: datetime | None = None
    newest_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """Both numbers of one message and measure over the time from `since` up to `until`. `people`: those of ours known
    to be people's. `edge_share`: of our sends, those so near the time's ends that another zone would move them; 0 where
    the zone is known."""

    basis: Basis
    measure: Measure
    ours: int
    theirs: int
    since: datetime
    until: datetime
    people: int | None = None
    edge_share: float = 0.0


def alike(ours: int, theirs: int) -> bool:
    """Whether two counts are the same but for what always differs a little."""
    return abs(ours - theirs) <= max(LEAST, TOLERANCE * max(ours, theirs))


def cause_of(one: Compared, files: Files) -> Cause:
    """The likely cause of the difference."""
    if alike(one.ours, one.theirs):
        return "agrees"
    if one.ours > one.theirs:
        return _of_more(one, files)
    if (known := _of_files(one, files)) is not None:
        return known
    if _at_the_edge(one):
        return "time_zone"
    if one.measure in _ENGAGED and one.people is not None and one.people == one.ours > 0:
        return "machines_counted"  # not one event of a machine in our files
    if one.measure == "clicks" and one.basis == "sent":
        return "links_left_out"
    return "attribution_differs" if one.measure == "conversions" else "unexplained"


def _of_more(one: Compared, files: Files) -> Cause:
    if one.measure in _ENGAGED and one.people is not None and alike(one.people, one.theirs):
        return "klaviyo_leaves_machines_out"
    if one.measure == "conversions":
        return "attribution_differs"
    if _at_the_edge(one):
        return "time_zone"
    return "klaviyo_late" if files.now - one.until < _KLAVIYO_DELAY else "unexplained"


def _of_files(one: Compared, files: Files) -> Cause | None:
    """What keeps events from us, the surest sign first."""
    if files.sources == 0:
        return "no_source"
    if files.unknown_layouts:
        return "unknown_layout"
    if files.held_files:
        return "files_held"
    if files.troubled_sources:
        return "source_trouble"
    if files.silent_sources:
        return "source_silent"
    if files.first_at is None or files.first_at > one.since + timedelta(hours=1):
        return "before_first_file" if files.first_at is not None else "file_late"
    late = files.newest_at is None or files.newest_at < one.until
    return "file_late" if late or files.waiting_files else None


def _at_the_edge(one: Compared) -> bool:
    moved = one.edge_share * max(one.ours, one.theirs)
    return one.basis == "sent" and abs(one.ours - one.theirs) <= moved + LEAST and one.edge_share > 0
