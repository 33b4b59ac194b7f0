"""Dashboards and alerts must speak of what our processes say."""

import pytest

from deploy import check_observability as check
from shared import metrics


def test_what_we_ship_has_no_faults() -> None:
    faults = [
        *check.dashboards_are_fresh(),
        *check.queries_name_what_exists(),
        *check.metrics_are_shown(),
        *check.alerts_lead_somewhere(),
        *check.alerts_are_tested(),
    ]

    assert faults == []


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("rate(jai_webhooks_total[5m])", "no metric webhooks_total"),
        ('sum(rate(jai_http_requests_total{status="500"}[5m]))', "http_requests_total has no label status"),
        ("sum by (lane) (rate(jai_generations_total[5m]))", "no label lane"),
        ('jai_write_backlog{lane="0", org="acme"} > 3', "write_backlog has no label org"),
    ],
)
def test_a_query_that_nobody_answers_is_told(query: str, fault: str) -> None:
    assert list(check.faults_of(query)) == [fault]


@pytest.mark.parametrize(
    "query",
    [
        "histogram_quantile(0.99, sum by (le, queue) (rate(jai_consumer_process_seconds_bucket[5m])))",
        'sum(rate(jai_http_requests_total{route="generate",code=~"5.."}[1h])) / sum(rate(jai_http_requests_total[1h]))',
        "max by (service) (jai_event_loop_lag_seconds) > 1",
        'min by (service, check) (jai_not_ready{service="gateway"}) > 0',
        "sum(rate(jai_job_end_to_end_seconds_count[5m]))",
        "rabbitmq_detailed_queue_messages_ready > 1",
        'sum by (kind) (label_replace(jai_write_backlog, "kind", "$1", "lane", "(.*)"))',
    ],
)
def test_a_right_query_has_no_fault(query: str) -> None:
    assert list(check.faults_of(query)) == []


def test_every_metric_has_labels_or_none() -> None:
    assert metrics.labels_of("http_requests_total") == ("route", "code")
    assert metrics.labels_of("export_bytes_total") == ()
    assert metrics.labels_of("typo_total") is None
