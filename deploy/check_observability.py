"""Do dashboards, alerts and runbooks speak of metrics that exist, and does every metric have its place?"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

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
            if label not in labels:
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


def promtool() -> Iterator[str]:
    """Prometheus' own check of rules and configuration, and the alerts' unit tests, where it is installed."""
    tool = shutil.which("promtool")
    if tool is None:
        return
    for arguments in (
        ("check", "rules", "alerts.yaml"),
        ("check", "config", "--syntax-only", "prometheus.yaml"),
        ("test", "rules", "alerts.test.yaml"),
    ):
        done = subprocess.run(  # noqa: S603  # a checker on our own files
            [tool, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            yield from (done.stdout + done.stderr).strip().splitlines()[:20]


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
