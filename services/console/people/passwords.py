"""Passwords: which are accepted, and argon2id in two threads: a flood of sign-ins must not take the event loop."""

import asyncio
import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from services.console.people.guessing import left_over, pattern, words_in

MIN_CHARS: Final = 12
MAX_CHARS: Final = 128
_LEAST_DIFFERENT_CHARS: Final = 5
_LEAST_PATTERN: Final = 9
_LEAST_LEFT_OVER: Final = 5  # letters that nobody would try first; a word that nobody thinks of has as many
_THREADS: Final = 2
_MOST_WAITING: Final = 24  # about a second of work: who comes then is told to come again
_COMMON: Final = Path(__file__).parent / "common_passwords.txt"

# OWASP's first choice for argon2id. One hash takes 19 MiB and, on one core of 2024, 15 to 30 ms.
_ARGON = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


T = TypeVar("T")
Args = TypeVarTuple("Args")


class Busy(Exception):
    """More passwords wait to be checked than can be within about a second."""


def fault(password: str, *, email: str, name: str = "", orgs: Iterable[str] = ()) -> str | None:
    """Why this password is not accepted; None: it is. Long and not guessable is asked for, no kinds of characters.
    `orgs`: names and slugs of those that the person belongs to."""
    folded = normal(password).casefold()
    if len(folded) < MIN_CHARS:
        return f"is too short: use at least {MIN_CHARS} characters; a few words that do not belong together are good"
    if len(folded) > MAX_CHARS:
        return f"is too long: use at most {MAX_CHARS} characters"
    if len(set(folded)) < _LEAST_DIFFERENT_CHARS or _is_run(folded):
        return "repeats itself or counts; use a few words that do not belong together"
    bare = "".join(char for char in folded if char.isalnum())
    if folded in _common() or bare in _common() or bare.rstrip("0123456789") in _common():
        return "is among the first that anybody would try; use a few words that do not belong together"
    own = {email.casefold(), email.partition("@")[0].casefold(), name.casefold().replace(" ", "")} - {""}
    if any(
        bare.replace("".join(char for char in word if char.isalnum()), "").strip("0123456789") == "" for word in own
    ):
        return "is made of your name or email; use a few words that do not belong together"
    if len(pattern(bare)) < _LEAST_PATTERN:
        return "repeats itself; use a few words that do not belong together"
    known = words_in(email, name, *orgs)
    if left_over(folded, known | _common()) < _LEAST_LEFT_OVER:
        return (
            "is made of names, first words, rows of keys or dates that somebody who knows you would try; use a few "
            "words that do not belong together"
        )
    return None


def normal(password: str) -> str:
    """The same password, however a keyboard composes its characters."""
    return unicodedata.normalize("NFKC", password)


def _is_run(text: str) -> bool:
    """`abcdefghijkl`, `9876543210`: each character is the next one."""
    steps = {ord(after) - ord(before) for before, after in pairwise(text)}
    return len(steps) == 1


@lru_cache(maxsize=1)
def _common() -> frozenset[str]:
    lines = _COMMON.read_text().splitlines()
    return frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))


class Hasher:
    """Hashes and checks passwords off the event loop, a bounded number at a time."""

    def __init__(self, *, most_waiting: int = _MOST_WAITING) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="passwords")
        self._most_waiting, self._waiting = most_waiting, 0
        self._decoy = _ARGON.hash("a password that nobody has")

    def close(self) -> None:
        """Ends the threads; what they have in hand is finished."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """To be stored. Raises Busy."""
        return await self._run(_ARGON.hash, normal(password))

    async def matches(self, stored: str | None, password: str) -> bool:
        """Whether this is the password. Without a stored one the same work is done for a no. Raises Busy."""
        right = await self._run(_verify, stored or self._decoy, normal(password))
        return right and stored is not None

    async def _run(self, work: Callable[[*Args], T], *args: *Args) -> T:
        if self._waiting >= self._most_waiting:
            raise Busy
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)
        finally:
            self._waiting -= 1


def _verify(stored: str, password: str) -> bool:
    try:
        return _ARGON.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False
