"""When a session is over, and what a browser is called. Pure.

Sessions live in real time even where the rest of the system lives in a faster one: people and their phones do.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

IDLE: Final = timedelta(minutes=30)
ABSOLUTE: Final = timedelta(hours=12)
HALF: Final = timedelta(minutes=10)  # from the password to the second factor
SEEN_EVERY: Final = timedelta(minutes=1)  # so that reading pages does not write at each

Stage = Literal["password", "full"]
With = Literal["password", "provider", "link"]  # what opened a session; a link is the operator's


@dataclass(frozen=True, slots=True)
class Session:
    """One browser that is signed in, or half-way."""

    digest: bytes
    user_id: UUID
    stage: Stage
    created_at: datetime
    seen_at: datetime
    agent: str
    signed_in_with: With = "password"

    def over(self, now: datetime) -> bool:
        """Whether it counts no more."""
        longest = ABSOLUTE if self.stage == "full" else HALF
        return now >= self.created_at + longest or now >= self.seen_at + IDLE

    def to_be_touched(self, now: datetime) -> bool:
        """Whether `seen_at` is worth a write."""
        return now >= self.seen_at + SEEN_EVERY


_BROWSERS: Final = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS: Final = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"), ("Mac OS X", "Mac"),
    ("CrOS", "ChromeOS"), ("Linux", "Linux"),
)  # fmt: skip


def agent_in_words(user_agent: str) -> str:
    """`Firefox on Windows`; enough to recognise one's own, and no more is kept."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), None)
    system = next((name for mark, name in _SYSTEMS if re.search(rf"\b{mark}\b", user_agent)), None)
    return f"{browser or 'A browser'} on {system}" if system else browser or "An unknown browser"
