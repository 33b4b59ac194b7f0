"""Do dashboards, alerts and runbooks speak of metrics that exist, and does every metric have its place?"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from deploy import tools
from deploy.dashboards import rendered
from shared import metrics

ROOT: Final = Path(__file__).parent / "observability"
RUNBOOKS: Final = ROOT.parent.parent / "docs" / "runbooks"
_OURS: Final = re.compile(r"\bjai_([a-z_0-9]+?)(?:_bucket|_sum|_count)?\b(?:\{([^}]*)\})?(?=[\s\[\)/<>=]|$)")
_GROUPED: Final = re.compile(r"by \(([^)]*)\)")
_MADE: Final = re.compile(r'"(\w+)", "\$1"')  # by label_replace
_SEVERITIES: Final = {"page", "ticket"}
_OF_ANY: Final = {"le", "service", "queue", "job"}  # what Prometheus and RabbitMQ add


def dashboards_are_fresh() -> Iterator[str]:
    """The JSON is what the tables make."""
    for path, text in rendered().items():
        if not path.exists() or path.read_text() != text:
            yield f"{path.name}: run `python -m deploy.dashboards`"


def queries_name_what_exists() -> Iterator[str]:
    """Every query of dashboards and alerts: metrics of the closed list, with their own labels."""
    for where, query in _queries():
        yield from (f"{where}: {fault}" for fault in faults_of(query))


def faults_of(query: str) -> Iterator[str]:
    """What a PromQL query says that no process of ours will ever answer."""
    known = {*_OF_ANY, *_MADE.findall(query)}
    for name, matchers in _OURS.findall(query):
        labels = metrics.labels_of(name)
        if labels is None:
            yield f"no metric {name}"
            continue
        known |= set(labels)
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
            if label not in labels and label not in _OF_ANY:
                yield f"{name} has no label {label}"
    for names in _GROUPED.findall(query):
        yield from (f"no label {name}" for name in re.split(r",\s*", names) if name and name not in known)


def metrics_are_shown() -> Iterator[str]:
    """A metric that stands in no dashboard is looked at by nobody."""
    shown = {name for where, query in _queries() if where.endswith(".json") for name, _ in _OURS.findall(query)}
    yield from (f"{name}: in no dashboard" for name in sorted(metrics.names() - shown))


def alerts_lead_somewhere() -> Iterator[str]:
    """Each alert: how urgent, one line, and a runbook that is there."""
    for rule in _rules():
        name = rule["alert"]
        if rule.get("labels", {}).get("severity") not in _SEVERITIES:
            yield f"{name}: severity must be one of {', '.join(sorted(_SEVERITIES))}"
        if not rule.get("annotations", {}).get("summary"):
            yield f"{name}: no summary"
        runbook = rule.get("annotations", {}).get("runbook", "")
        if not runbook or not (RUNBOOKS / runbook).is_file():
            yield f"{name}: no runbook {runbook!r}"


def alerts_are_tested() -> Iterator[str]:
    """Each alert has a case in which it fires, and one in which it must not."""
    fires: set[str] = set()
    silent: set[str] = set()
    tests = [test for path in _rule_tests() for test in yaml.safe_load(path.read_text())["tests"]]
    for test in tests:
        for case in test["alert_rule_test"]:
            (fires if case.get("exp_alerts") else silent).add(case["alertname"])
    names = {rule["alert"] for rule in _rules()}
    yield from (f"{name}: no test in which it fires" for name in sorted(names - fires))
    yield from (f"{name}: no test in which it is silent" for name in sorted(names - silent))
    yield from (f"{name}: is tested, and is no alert" for name in sorted((fires | silent) - names))


def promtool() -> Iterator[str]:
    """Prometheus' own check of rules and configuration, and the alerts' unit tests."""
    tool = tools.found("promtool", "devstack/bootstrap.sh checkers fetches it on Debian")
    for arguments in (
        ("check", "rules", "alerts.yaml"),
        ("check", "config", "--syntax-only", "prometheus.yaml"),
        ("test", "rules", *(path.name for path in _rule_tests())),
    ):
        yield from tools.faults(tool, *arguments, cwd=ROOT)


def _rule_tests() -> list[Path]:
    return sorted(ROOT.glob("*.test.yaml"))


def _queries() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield path.name, target["expr"]
    for rule in _rules():
        yield f"alert {rule['alert']}", rule["expr"]


def _rules() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load((ROOT / "alerts.yaml").read_text())["groups"]:
        yield from group["rules"]
