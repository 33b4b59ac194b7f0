"""The failure words, raised where the knowledge is: the adapter that saw the status code names the failure.

Failure
├── Permanent     no retry can cure it: the job is buried with its reason
├── Transient     the world is unkind for a moment: again later, one attempt spent
│   ├── Conflict  somebody's transaction, or a migration, was in the way: the same may succeed at once
│   └── Outage    a server that everything needs does not answer: hold on, no attempt spent
└── Throttled     we are asked to wait: again later, no attempt spent
"""

from collections.abc import Iterator
from contextlib import contextmanager


class Failure(Exception):
    """Why one job was not done. `reason` is a stable code for counting, `str()` is for people."""

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or type(self).__name__.lower()


class Permanent(Failure):
    """No retry can cure it."""


class Transient(Failure):
    """A retry may cure it."""


class Conflict(Transient):
    """The database gave up one of several transactions, as it happens to fall, or a statement that a migration has
    overtaken; nothing is wrong with the job."""


class Outage(Transient):
    """A server that every job needs (database, broker) does not answer; the whole batch waits where it is."""


class Throttled(Failure):
    """Somebody asked us to wait `wait_s` virtual seconds; nothing is wrong with the job."""

    def __init__(self, message: str, *, wait_s: float, reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.wait_s = wait_s


@contextmanager
def as_outage(kind: type[Transient] = Transient) -> Iterator[None]:
    """What is done here fails through no fault of a job: trouble of this kind is raised as an Outage, so that all wait
    where they are and none spends an attempt."""
    try:
        yield
    except Outage:
        raise
    except kind as trouble:
        raise Outage(str(trouble), reason=trouble.reason) from trouble
