"""What a dead letter says of itself."""

from types import SimpleNamespace
from typing import Any

import pytest

from shared.messaging.dead import _letter
from shared.messaging.topology import WRITE

CRASHED = {"x-death": [{"queue": "write.3", "reason": "delivery_limit", "time": "2026-11-23T10:00:00"}]}
WAITED = {"x-reason": "klaviyo_503: busy", "x-attempt": 3, "wait": 120}
BURIED = {"x-origin": "write.2", "x-reason": "gave up after 5 attempts: x", "x-attempt": 5, "x-dead-at": "2026"}


@pytest.mark.parametrize(
    ("headers", "origin", "reason"),
    [
        (BURIED, "write.2", "gave up after 5 attempts: x"),
        (CRASHED, "write.3", "delivery_limit"),
        (WAITED | CRASHED, "write.3", "delivery_limit"),  # it waited before, and ended us afterwards
        (BURIED | {"x-death": [{"queue": "wait.120s", "reason": "expired"}]}, "write.2", "gave up after 5 attempts: x"),
        ({}, "write", "unknown"),
    ],
    ids=["buried", "crashed", "waited, then crashed", "waited, then buried", "neither"],
)
def test_a_letter_says_who_gave_it_up_and_why(headers: dict[str, Any], origin: str, reason: str) -> None:
    message = SimpleNamespace(headers=headers, message_id="m-1", body=b"{}")

    letter = _letter(message, WRITE)  # type: ignore[arg-type]  # what is asked of a message

    assert (letter.origin, letter.reason) == (origin, reason)
