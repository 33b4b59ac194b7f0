"""Which webhooks are traced, and what a failure leaves behind."""

import subprocess
import sys
from uuid import UUID, uuid4

import pytest

from shared import tracing


class Kept:
    """A recorder that keeps what it is told."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, UUID, str | None]] = []

    def record(
        self, name: str, generation_id: UUID, started_ns: int, ended_ns: int, failure: str | None,
        attributes: dict[str, tracing.Value], *, is_root: bool,
    ) -> None:  # fmt: skip
        assert started_ns <= ended_ns
        self.spans.append((name, generation_id, failure))


def test_a_share_of_webhooks_is_traced_and_always_the_same_ones() -> None:
    ids = [uuid4() for _ in range(4000)]
    with tracing.recording(Kept(), share=0.25):
        chosen = [one for one in ids if tracing.is_traced(one)]
        again = [one for one in ids if tracing.is_traced(one)]

    assert 0.2 < len(chosen) / len(ids) < 0.3
    assert chosen == again


def test_a_batch_is_a_span_in_the_trace_of_each_job_and_its_parts_too() -> None:
    kept, ids = Kept(), [uuid4(), uuid4()]
    with tracing.recording(kept), tracing.batch("generate", ids), tracing.part("insert"):
        pass

    assert sorted(kept.spans) == sorted((name, one, None) for name in ("generate", "insert") for one in ids)


def test_a_failure_leaves_its_kind_and_not_its_words() -> None:
    kept, one = Kept(), uuid4()
    with tracing.recording(kept), pytest.raises(ValueError, match="ann@example"), tracing.one("send", one):
        raise ValueError("ann@example.com is no address")

    assert kept.spans == [("send", one, "ValueError")]


def test_a_part_outside_of_any_batch_is_nothing() -> None:
    kept = Kept()
    with tracing.recording(kept), tracing.part("insert"):
        pass

    assert kept.spans == []


def test_where_no_collector_is_set_opentelemetry_is_not_even_imported() -> None:
    code = "import sys; import shared.runtime, services.gateway.app; sys.exit('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)

    assert done.returncode == 0
