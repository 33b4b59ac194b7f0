"""Which worker runs which tests."""

import pytest
from xdist.scheduler import LoadFileScheduling

_MOSTLY_WAITING = "tests/component/profile_writer"


class ByFile(LoadFileScheduling):  # type: ignore[misc]  # the same
    """The tests of one file go to one worker, so that what a module sets up is set up once; all of the profile writer's
    to one: they wait for minutes of Klaviyo's windows, which leaves the machine to the others, and never for each
    other's work."""

    def _split_scope(self, nodeid: str) -> str:
        return _MOSTLY_WAITING if nodeid.startswith(_MOSTLY_WAITING) else str(super()._split_scope(nodeid))


def mostly_waits_first(items: list[pytest.Item]) -> None:
    """What takes longest begins first; all else stays in its order."""
    items.sort(key=lambda item: not item.nodeid.startswith(_MOSTLY_WAITING))
