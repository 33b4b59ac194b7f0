"""Pictures of dashboards show what Prometheus said, and a query that finds nothing is not passed over."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.dashboards import panels, scraping
from demo.dashboards.prometheus import Series
from deploy.dashboards import DASHBOARDS, rendered
from devstack.services import SERVICES
from shared import metrics

SCRAPE_FILE = Path(__file__).parents[3] / "deploy" / "observability" / "prometheus.yaml"


def hosts() -> dict[str, str]:
    return {name: f"http://127.0.0.1/{name}" for name in (*SERVICES, "console", "rabbitmq")}


def test_every_service_is_asked_as_the_scrape_file_says_and_carries_its_name() -> None:
    found = scraping.targets(yaml.safe_load(SCRAPE_FILE.read_text()), hosts())

    assert {one.labels["service"] for one in found if one.labels["job"] == "justai"} == {*SERVICES, "console"}
    assert {one.url for one in found if one.labels["job"] == "rabbitmq"} == {
        "http://127.0.0.1/rabbitmq/metrics/detailed?family=queue_coarse_metrics"
    }


def test_a_target_that_nobody_runs_and_a_rule_that_is_not_understood_are_refused() -> None:
    job: dict[str, Any] = {"job_name": "x", "static_configs": [{"targets": ["gateway:9100"]}]}
    strange = {"action": "drop", "regex": ".*"}

    with pytest.raises(ValueError, match="x: nobody runs gateway"):
        scraping.targets({"scrape_configs": [job]}, {})
    with pytest.raises(ValueError, match="not understood"):
        scraping.targets({"scrape_configs": [{**job, "relabel_configs": [strange]}]}, hosts())


def test_a_sample_keeps_its_labels_and_gets_those_of_its_target_and_its_moment() -> None:
    text = '# HELP up it is\nplain 1.0\nbraced{path="/a} 1",le="+Inf"} 2e-05\n'

    assert list(scraping.stamped(text, {"job": "justai", "service": "egress"}, 1_000.5)) == [
        'plain{job="justai",service="egress"} 1.0 1000.500\n',
        'braced{path="/a} 1",le="+Inf",job="justai",service="egress"} 2e-05 1000.500\n',
    ]
    with pytest.raises(ValueError, match="no sample"):
        list(scraping.stamped("what is this?", {}, 0.0))


def test_what_our_own_registry_says_can_be_stamped_line_by_line() -> None:
    said = metrics.exposition().decode()

    lines = list(scraping.stamped(said, {"job": "justai"}, 1.0))

    assert len(lines) == sum(1 for line in said.splitlines() if line and not line.startswith("#"))


def test_a_legend_is_filled_in_from_labels_and_a_moment_without_a_value_is_a_gap() -> None:
    series = Series({"operation": "update", "status": "200"}, {0.0: 1.0, 15.0: float("nan"), 45.0: 2.0})

    assert panels.line("{{operation}} {{ status }}{{missing}}", series, [0.0, 15.0, 30.0, 45.0]) == {
        "label": "update 200", "y": [1.0, None, None, 2.0],
    }  # fmt: skip


def test_a_query_that_finds_nothing_is_a_fault_unless_all_it_asks_for_is_known_to_be_silent() -> None:
    both = "sum(rate(jai_drafts_total[5m])) / sum(rate(jai_profile_writes_total[5m]))"
    empty = [("Drafts", "sum(rate(jai_drafts_total[5m]))"), ("Both", both), ("Broker", "max(rabbitmq_ready)")]

    assert panels.reasons(empty)["Drafts"] == panels.SILENT["drafts_total"]
    assert panels.unexpected(empty) == [("Both", both), ("Broker", "max(rabbitmq_ready)")]


def test_every_metric_that_is_called_silent_exists_and_is_asked_for() -> None:
    asked = set().union(
        *(panels.named_in(query) for one in DASHBOARDS for panel in one.panels for query, _ in panel.queries)
    )

    assert panels.SILENT.keys() <= metrics.names()
    assert asked == metrics.names()


def test_every_panel_of_every_dashboard_is_of_a_kind_that_can_be_drawn_and_has_a_place_of_its_own() -> None:
    for text in rendered().values():
        drawn = [panels.panel_of(panel, []) for panel in json.loads(text)["panels"]]
        places = {(one["at"]["x"], one["at"]["y"]) for one in drawn}
        assert len(places) == len(drawn)
    with pytest.raises(ValueError, match="Odd: a panel of type gauge"):
        panels.panel_of({"title": "Odd", "type": "gauge"}, [])
