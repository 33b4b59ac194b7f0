"""What both engines do, in order: inputs, the SQL files one after the other, outputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Final, Protocol

from services.ingest.lake.remote import Remote
from services.ingest.records import Unreadable

OUTPUTS: Final[Mapping[str, Mapping[str, str]]] = {
    "events": {"event_us": "event_at", "handoff_us": "handoff_at"},
    "sends": {"sent_us": "sent_at", "first_open_us": "first_open_at", "first_click_us": "first_click_at"},
    "rollups": {},
    "rejects": {},
}
"""Tables that are written, and which of their columns are microseconds that become moments. All but `rejects` have a
`day` (UTC), by which they lie in folders."""


Place = Path | Remote
"""On this machine, or, for Spark, where the cluster reaches by an address."""


@dataclass(frozen=True, slots=True)
class Work:
    """What to read and where to write. `files`: event files, plain or gzip; `generations`, `flow_messages`: Parquet as
    `write_inputs` (inputs.py) writes it. `window`: how long after its clean-up time a generation may still show."""

    files: Sequence[Place]
    generations: Sequence[Place]
    flow_messages: Place
    out: Place
    mapping: Mapping[str, str] = field(default_factory=dict)
    window: timedelta = timedelta(days=1)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))


class Engine(Protocol):
    """One that runs SQL."""

    def read(self, work: Work) -> None:
        """Make `read_rows`, `files`, `generations`, `flow_messages` and `settings`."""
        ...

    def keep(self, name: str, select: str) -> None:
        """The result of a SELECT under a name."""
        ...

    def write(self, name: str, moments: Mapping[str, str], out: Place, *, by_day: bool) -> int:
        """A kept result as Parquet; the number of its rows."""
        ...


def steps() -> list[tuple[str, str]]:
    """Names and SELECTs, in their order."""
    folder = files("services.ingest.lake") / "sql"  # also where the code is a zip
    found = sorted((one.name, one.read_text()) for one in folder.iterdir() if one.name.endswith(".sql"))
    return [(name.removesuffix(".sql").partition("_")[2], select) for name, select in found]


def demand_apart(work: Work) -> None:
    """What is written is replaced whole, so nothing that is read may lie there. Raises Unreadable."""
    for table in OUTPUTS:
        place = work.out / table
        for read in (*work.files, *work.generations, work.flow_messages):
            if _lies_in(read, place):
                raise Unreadable(f"{read} lies in {place}, which is replaced; write elsewhere", reason="bad_place")


def _lies_in(read: Place, place: Place) -> bool:
    if isinstance(read, Remote) and isinstance(place, Remote):
        return read.is_within(place)
    if isinstance(read, Path) and isinstance(place, Path):
        return read.resolve().is_relative_to(place.resolve())
    return False


def run(engine: Engine, work: Work, tell: Callable[[str], None] = lambda _: None) -> dict[str, int]:
    """The whole transform; rows written by table. What lay in the tables' folders before is replaced."""
    demand_apart(work)
    tell("reading")
    engine.read(work)
    for name, select in steps():
        tell(name)
        engine.keep(name, select)
    counts = {}
    for name, moments in OUTPUTS.items():
        tell(f"writing {name}")
        counts[name] = engine.write(name, moments, work.out / name, by_day=name != "rejects")
    return counts
