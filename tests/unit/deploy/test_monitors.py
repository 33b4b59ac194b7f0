"""Whoever runs Prometheus' operator is woken by what wakes those who run compose."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from deploy import check_monitors as check
from deploy import prometheus_rule

Change = Callable[[Any], object]

ALERTS = yaml.safe_load(prometheus_rule.TARGET.read_text())
MONITOR = yaml.safe_load((prometheus_rule.TARGET.parent / "scrape.yaml").read_text())
SCRAPE_FILE = yaml.safe_load((check.ROOT / "observability" / "prometheus.yaml").read_text())
PODS = [one for path in (check.ROOT / "k8s").rglob("*.yaml") for one in yaml.safe_load_all(path.read_text())]


def rules(groups: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_what_we_ship_has_no_faults() -> None:
    assert list(check.faults()) == []


def test_the_alerts_are_those_of_compose_name_by_name() -> None:
    of_compose = yaml.safe_load(prometheus_rule.SOURCE.read_text())

    assert rules(ALERTS["spec"]["groups"]) == rules(of_compose["groups"])
    assert [group["name"] for group in ALERTS["spec"]["groups"]] == [group["name"] for group in of_compose["groups"]]


def test_an_alert_that_is_missing_is_named() -> None:
    begin, end = (f"      - alert: {name}\n" for name in ("ServiceDown", "ServiceGone"))
    before, _, rest = prometheus_rule.rendered().partition(f"  {begin}")
    text = before + f"  {end}" + rest.partition(f"  {end}")[2]

    assert list(check.alert_faults(text)) == [
        "ServiceDown: no alert on kubernetes",
        "alerts.yaml: run `python -m deploy.prometheus_rule`",
    ]


def test_an_alert_that_says_something_else_is_told() -> None:
    text = prometheus_rule.rendered().replace("for: 2m", "for: 2h")

    assert list(check.alert_faults(text)) == ["alerts.yaml: run `python -m deploy.prometheus_rule`"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda it: it["groups"][0].update(every="1m"), "emails: a group has no every"),
        (lambda it: it["groups"][0]["rules"][0].update(runbook="x"), "CopyComesTooLate: an alert has no runbook"),
        (lambda it: it["groups"][0]["rules"][0].pop("expr"), "CopyComesTooLate: None is no text"),
        (lambda it: it["groups"][0]["rules"][0]["labels"].update(severity=1), "CopyComesTooLate: 1 is no text"),
    ],
)
def test_a_shape_that_the_cluster_does_not_take_is_told(change: Change, fault: str) -> None:
    alerts = copy.deepcopy(ALERTS)
    change(alerts["spec"])

    assert list(check.shape_faults(alerts)) == [fault]


def test_every_service_is_asked_with_the_labels_that_compose_gives() -> None:
    found = list(check.pod_targets(MONITOR, PODS))

    assert {"job": "justai", "service": "profile-writer", "port": "9100"} in found
    assert {one["service"] for one in found} == {
        "console", "egress", "gateway", "generator", "ingest", "profile-writer", "ranker",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda it: it["selector"]["matchLabels"].update({"app.kubernetes.io/name": "gateway"}),
         "generator: is not asked at 9100 on kubernetes, as justai"),
        (lambda it: it.update(jobLabel="app.kubernetes.io/name"),
         "gateway: is not asked at 9100 on kubernetes, as justai"),
        (lambda it: it["podMetricsEndpoints"][0].update(port="http"),
         "gateway: is asked at 8080 as justai on kubernetes alone"),
        (lambda it: it["podMetricsEndpoints"][0].update(relabelings=[]),
         ": is asked at 9100 as justai on kubernetes alone"),
        (lambda it: it["podMetricsEndpoints"][0].pop("interval"), "compose asks every 15s"),
    ],
)  # fmt: skip
def test_a_monitor_that_asks_others_or_under_other_names_is_told(change: Change, fault: str) -> None:
    monitor = copy.deepcopy(MONITOR)
    change(monitor["spec"])

    assert fault in list(check.scrape_faults(monitor, PODS, SCRAPE_FILE))


def test_an_alert_that_asks_for_a_name_that_only_compose_has_is_told() -> None:
    alerts = copy.deepcopy(ALERTS)
    rules(alerts["spec"]["groups"])["NotReady"]["expr"] = 'min(jai_not_ready{service=~"gateway|profile_writer"}) > 0'
    rules(alerts["spec"]["groups"])["ServiceDown"]["expr"] = 'up{job="services"} == 0'

    assert list(check.unanswered(alerts, check.compose_targets(SCRAPE_FILE))) == [
        "ServiceDown asks for the job services, which nobody is",
    ]
    assert list(check.unanswered(alerts, check.pod_targets(MONITOR, PODS))) == [
        "ServiceDown asks for the job services, which nobody is",
        "NotReady asks for the service profile_writer, which nobody is",
    ]


def test_pods_that_are_asked_twice_are_told() -> None:
    annotated = {"metadata": {"annotations": {"prometheus.io/scrape": "true"}}}
    gateway = {"kind": "Deployment", "metadata": {"name": "gateway"}, "spec": {"template": annotated}}

    assert list(check.asked_twice([gateway])) == []
    assert list(check.asked_twice([gateway, MONITOR])) == [
        "gateway: has a PodMonitor, and annotations that ask for the same"
    ]
