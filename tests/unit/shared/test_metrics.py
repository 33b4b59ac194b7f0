"""What Prometheus can make of what we show it."""

from prometheus_client.parser import text_string_to_metric_families

from shared import metrics


def shown(name: str) -> list[tuple[dict[str, str], float]]:
    """One scrape; the samples of a metric of ours."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    return [(one.labels, one.value) for family in families for one in family.samples if one.name == f"jai_{name}"]


def test_a_new_counter_is_shown_as_zero_once_so_that_its_first_event_is_a_rise() -> None:
    metrics.count("ingest_files_total", state="a test's")
    metrics.count("ingest_files_total", 2, state="a test's")

    assert ({"state": "a test's"}, 0.0) in shown("ingest_files_total")
    assert ({"state": "a test's"}, 3.0) in shown("ingest_files_total")

    metrics.count("ingest_files_total", state="a test's")
    assert ({"state": "a test's"}, 4.0) in shown("ingest_files_total")


def test_what_is_counted_without_labels_rises_from_zero_too() -> None:
    assert metrics._counters["guardrail_pauses_total"] in metrics._unseen or shown("guardrail_pauses_total")
    before = shown("guardrail_pauses_total")

    metrics.count("guardrail_pauses_total")

    assert [value for _, value in shown("guardrail_pauses_total")] == [value + 1 for _, value in before]


def test_a_gauge_is_shown_by_who_sets_it_alone() -> None:
    metrics._shown.discard("retention_held_days")
    if metrics._gauges["retention_held_days"] in metrics.REGISTRY._collector_to_names:
        metrics.REGISTRY.unregister(metrics._gauges["retention_held_days"])
    assert shown("retention_held_days") == []

    metrics.gauge("retention_held_days", 2)

    assert shown("retention_held_days") == [({}, 2.0)]
