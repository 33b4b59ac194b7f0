"""How a file is to be read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.ingest.reading.klaviyo_event import Names
from services.ingest.reading.mapping import Columns
from services.ingest.reading.objects import Objects
from services.ingest.reading.text import Limits

_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read one file: the source's saved mapping, the present moment, the limits. `accepted`: to its end,
    however many of its rows are no events."""

    saved: Mapping[str, str]
    now: datetime
    limits: Limits = _LIMITS
    accepted: bool = False

    def forgives(self, rejects: int, rows: int) -> bool:
        """Whether the good ones among so many rows may count. Whoever stops early and whoever holds the file both ask
        here: what was read in part must never count."""
        return self.accepted or self.limits.forgives(rejects, rows)

    def columns(self, names: Sequence[str]) -> Columns:
        """Where the fields are under a header. Raises Unreadable."""
        return Columns(names, self.saved, self.now)

    def objects(self, names: Names) -> Objects:
        """What reads JSON objects; `names`: of Klaviyo's metrics."""
        return Objects(self.saved, self.now, names)
