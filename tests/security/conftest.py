"""One gateway per test, as in its own tests."""

from tests.component.gateway.conftest import rig

__all__ = ["rig"]
