"""Does Prometheus' operator on kubernetes get the alerts of compose, and figures that they find?

Its kinds have no schema offline; what we use of them is checked here.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from deploy import prometheus_rule

Document = dict[str, Any]
Target = Mapping[str, str]
"""Whom Prometheus asks: the labels `job` and `service` that its figures get, and the port."""

ROOT: Final = Path(__file__).parent
_SCRAPE_FILE: Final = ROOT / "observability" / "prometheus.yaml"
_OF_GROUP: Final = {"name", "interval", "limit", "query_offset", "labels", "partial_response_strategy", "rules"}
_OF_ALERT: Final = {"alert", "expr", "for", "keep_firing_for", "labels", "annotations"}
_ASKED_FOR: Final = re.compile(r'\b(job|service)=~?"([^"]+)"')
_OF_LABEL: Final = "__meta_kubernetes_pod_label_"
_FOLLOWED: Final = "prometheus.io/scrape"


def faults() -> Iterator[str]:
    """All of the component."""
    component = prometheus_rule.TARGET.parent
    [alerts] = yaml.safe_load_all(prometheus_rule.TARGET.read_text())
    [monitor] = yaml.safe_load_all((component / "scrape.yaml").read_text())
    scrape_file = yaml.safe_load(_SCRAPE_FILE.read_text())
    pods = [one for path in (ROOT / "k8s").rglob("*.yaml") for one in yaml.safe_load_all(path.read_text())]
    yield from alert_faults(prometheus_rule.TARGET.read_text())
    yield from shape_faults(alerts)
    yield from scrape_faults(monitor, pods, scrape_file)
    for where, found in (("compose", compose_targets(scrape_file)), ("kubernetes", pod_targets(monitor, pods))):
        yield from (f"{where}: {fault}" for fault in unanswered(alerts, list(found)))


def alert_faults(text: str) -> Iterator[str]:
    """The manifest is what compose's alerts make; which of them it does not have, by name."""
    if text == prometheus_rule.rendered():
        return
    made, kept = (
        {rule["alert"] for group in yaml.safe_load(one)["spec"]["groups"] for rule in group["rules"]}
        for one in (prometheus_rule.rendered(), text)
    )
    yield from (f"{name}: no alert on kubernetes" for name in sorted(made - kept))
    yield f"{prometheus_rule.TARGET.name}: run `python -m deploy.prometheus_rule`"


def shape_faults(alerts: Document) -> Iterator[str]:
    """What the cluster would refuse or take away. Prometheus itself takes a number as a text; its operator does not."""
    for group in alerts["spec"]["groups"]:
        yield from (f"{group['name']}: a group has no {key}" for key in sorted(set(group) - _OF_GROUP))
        for rule in group["rules"]:
            name = rule["alert"]
            yield from (f"{name}: an alert has no {key}" for key in sorted(set(rule) - _OF_ALERT))
            told = [rule.get("expr"), *rule.get("labels", {}).values(), *rule.get("annotations", {}).values()]
            yield from (f"{name}: {value!r} is no text" for value in told if not isinstance(value, str))


def scrape_faults(monitor: Document, pods: Iterable[Document], scrape_file: Document) -> Iterator[str]:
    """Kubernetes asks whom compose asks, as often."""
    here, there = (
        {(one["job"], one["service"].replace("_", "-"), one["port"]) for one in found}
        for found in (pod_targets(monitor, pods), compose_targets(scrape_file))
    )
    for job, service, port in sorted(there - here):
        yield f"{service}: is not asked at {port} on kubernetes, as {job}"
    for job, service, port in sorted(here - there):
        yield f"{service}: is asked at {port} as {job} on kubernetes alone"
    every = scrape_file["global"]["scrape_interval"]
    if any(one.get("interval") != every for one in monitor["spec"]["podMetricsEndpoints"]):
        yield f"compose asks every {every}"


def pod_targets(monitor: Document, documents: Iterable[Document]) -> Iterator[Target]:
    """What the operator makes of a PodMonitor."""
    spec = monitor["spec"]
    for one in documents:
        if one["kind"] not in ("Deployment", "Job"):
            continue
        pod = one["spec"]["template"]
        labels: dict[str, str] = pod["metadata"]["labels"]
        if not spec["selector"]["matchLabels"].items() <= labels.items():
            continue
        meta = {_OF_LABEL + re.sub(r"\W", "_", name): value for name, value in labels.items()}
        for endpoint in spec["podMetricsEndpoints"]:
            added = {it["targetLabel"]: meta.get(it["sourceLabels"][0], "") for it in endpoint["relabelings"]}
            for port in (it for container in pod["spec"]["containers"] for it in container.get("ports", ())):
                if port["name"] == endpoint["port"]:
                    told = {"service": "", "port": str(port["containerPort"])}
                    yield {"job": labels.get(spec["jobLabel"], ""), **told, **added}


def compose_targets(scrape_file: Document) -> Iterator[Target]:
    """Our own services; the broker is outside of the manifests, and asked by who runs it there."""
    for job in scrape_file["scrape_configs"]:
        for address in (it for static in job["static_configs"] for it in static["targets"]):
            service, _, port = address.partition(":")
            if "relabel_configs" in job:
                yield {"job": job["job_name"], "service": service, "port": port}


def unanswered(alerts: Document, targets: Iterable[Target]) -> Iterator[str]:
    """Alerts that ask for a service or a job which has no figures: silent for ever, or never."""
    targets = list(targets)
    for rule in (rule for group in alerts["spec"]["groups"] for rule in group["rules"]):
        for label, pattern in _ASKED_FOR.findall(rule["expr"]):
            for name in pattern.split("|"):
                if not any(re.fullmatch(name, one[label]) for one in targets):
                    yield f"{rule['alert']} asks for the {label} {name}, which nobody is"


def asked_twice(documents: Iterable[Document]) -> Iterator[str]:
    """Pods that a PodMonitor and their annotations have asked: what is counted of them would be counted twice."""
    documents = list(documents)
    if any(one["kind"] == "PodMonitor" for one in documents):
        for one in documents:
            pod = one["spec"]["template"] if one["kind"] == "Deployment" else {}
            if _FOLLOWED in pod.get("metadata", {}).get("annotations", {}):
                yield f"{one['metadata']['name']}: has a PodMonitor, and annotations that ask for the same"
