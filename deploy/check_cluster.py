"""Do the overlays fit the base: does what scales exist, lead ingresses somewhere, are pods held to the strictest rules?

The kinds of KEDA and external-secrets have no schema offline; what we use of them is checked here, and those of
Prometheus' operator in check_monitors.py.
"""

import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from deploy import tools
from deploy.check_observability import faults_of
from shared.settings import ServiceSettings

Document = dict[str, Any]

ROOT: Final = Path(__file__).parent / "k8s"
_OPERATORS: Final = ("keda.sh/", "external-secrets.io/", "monitoring.coreos.com/")
_HASHED: Final = re.compile(r"-[a-z0-9]{10}$")  # what kustomize adds
_POOL: Final = ServiceSettings.model_fields["database_pool"].default
CONNECTIONS: Final = {"gateway": 3, "generator": _POOL + 1, "profile-writer": _POOL + 3}
"""Connections to PostgreSQL that a process holds at most; any other service has its pool alone."""
_OF_OTHERS: Final = 15  # `justai`, the Job `migrate`, who looks on, and those that PostgreSQL keeps for its superuser
_NAME_LABEL: Final = "app.kubernetes.io/name"
_THROTTLED: Final = "jai_write_backlog"  # what waits for Klaviyo's next minute: no replica makes it come sooner


def overlays() -> Iterator[str]:
    """Each overlay, whole: every document of its folder and of the base."""
    base = list(_documents(ROOT / "base"))
    for folder in sorted(path for path in (ROOT / "overlays").iterdir() if path.is_dir()):
        own = list(_documents(folder))
        yield from (f"{folder.name}: {fault}" for fault in faults(base, own))
        if folder.name == "production":
            head = (folder / "kustomization.yaml").read_text()
            yield from (f"{folder.name}: {it}" for it in connection_faults(head, most_connections(base, own)))


def faults(base: Iterable[Document], own: Iterable[Document]) -> Iterator[str]:
    """What does not fit in one overlay."""
    base, own = list(base), list(own)
    every = base + own
    deployed = {_name(one) for one in every if one["kind"] == "Deployment"}
    served = {_name(one) for one in every if one["kind"] == "Service"}
    if not any(one["kind"] == "Namespace" and _is_restricted(one) for one in own):
        yield "no Namespace that enforces restricted pods"
    for one in own:
        match one["kind"]:
            case "HorizontalPodAutoscaler" | "ScaledObject":
                if (target := one["spec"]["scaleTargetRef"]["name"]) not in deployed:
                    yield f"{_name(one)} scales {target}, which is not deployed"
                yield from (f"{_name(one)}: {fault}" for fault in _trigger_faults(one["spec"].get("triggers", ())))
            case "Ingress":
                for backend in _backends(one):
                    if backend not in served:
                        yield f"{_name(one)} leads to {backend}, which is no Service"
                if not one["spec"].get("tls"):
                    yield f"{_name(one)} has no TLS"
    scaled = [one["spec"]["scaleTargetRef"]["name"] for one in own if "scaleTargetRef" in one.get("spec", {})]
    yield from (f"{name} is scaled twice" for name in sorted({one for one in scaled if scaled.count(one) > 1}))


def most_connections(base: Iterable[Document], own: Iterable[Document]) -> int:
    """To PostgreSQL: of all services at the most replicas that an overlay allows, with one more of each, as while they
    are replaced."""
    most = {
        one["spec"]["scaleTargetRef"]["name"]: one["spec"].get("maxReplicas") or one["spec"]["maxReplicaCount"]
        for one in own
        if "scaleTargetRef" in one.get("spec", {})
    }
    deployed = {_name(one): one["spec"]["replicas"] for one in base if one["kind"] == "Deployment"}
    return sum((number + 1) * CONNECTIONS.get(name, _POOL) for name, number in (deployed | most).items())


def connection_faults(head: str, most: int) -> Iterator[str]:
    """Whether an overlay's head says how many connections that are, and a `max_connections` that is enough."""
    held, given = (re.search(said, head) for said in (r"hold up to (\d+) connections", r"`max_connections` of (\d+)"))
    if held is None or int(held[1]) != most:
        yield f"its head must say that services hold up to {most} connections to PostgreSQL"
    if given is None or int(given[1]) < most + _OF_OTHERS:
        yield f"its head must ask for a `max_connections` of {most + _OF_OTHERS} or more"


def built() -> Iterator[tuple[str, list[Document], str]]:
    """Each overlay as kubectl puts it together, and each component on the base: its name, what comes out, and the
    failure, where it is one."""
    tool = tools.found("kubectl", "any of 1.21 or later; no Debian package has it", optional=True)
    with tempfile.TemporaryDirectory() as made:
        for folder in sorted([*(ROOT / "overlays").iterdir(), *(ROOT / "components").iterdir()]):
            alone = folder.parent.name == "overlays"
            text, failure = tools.output([tool, "kustomize", str(folder if alone else _on_base(folder, Path(made)))])
            yield folder.name, [] if failure else list(yaml.safe_load_all(text)), failure


def counted(documents: Iterable[Document]) -> Iterator[str]:
    """Who says how many replicas there are, while something else scales them: each apply would set them back."""
    documents = list(documents)
    scaled = {one["spec"]["scaleTargetRef"]["name"] for one in documents if "scaleTargetRef" in one.get("spec", {})}
    for one in documents:
        if one["kind"] == "Deployment" and _name(one) in scaled and "replicas" in one["spec"]:
            yield f"{_name(one)} is scaled, and says a number of replicas"


def unhashed(documents: Iterable[Document]) -> Iterator[str]:
    """Pods whose settings change under them: a ConfigMap that is replaced under its name starts no pod, meets those of
    the release before when they start again, and is not there any more for who goes back."""
    documents = list(documents)
    made = {_name(one) for one in documents if one["kind"] == "ConfigMap"}
    for one in documents:
        for container in one["spec"]["template"]["spec"]["containers"] if one["kind"] in ("Deployment", "Job") else ():
            for name in (it["configMapRef"]["name"] for it in container.get("envFrom", ()) if "configMapRef" in it):
                if one["kind"] == "Job":
                    yield f"{_name(one)} reads {name}: a Job cannot be changed, and the name does with the settings"
                elif name not in made or not _HASHED.search(name):
                    yield f"{_name(one)} reads {name}, which configMapGenerator did not make"


def ring_faults(documents: Iterable[Document]) -> Iterator[str]:
    """A key ring may hold keys that AWS KMS has to unwrap: who opens one must reach it, as somebody."""
    documents = list(documents)
    accounts = {_name(one): one for one in documents if one["kind"] == "ServiceAccount"}
    for name, account in accounts.items():
        if account.get("automountServiceAccountToken") is not False:
            yield f"{name}: pods of this account carry a token for the cluster"
    for one in documents:
        if one["kind"] == "Deployment" and _opens_a_ring(name := _name(one)):
            if one["spec"]["template"]["spec"].get("serviceAccountName") not in accounts:
                yield f"{name}: opens a key ring, and has no ServiceAccount that a role could be bound to"
            if not any(
                _lets_out(policy["spec"], name, 443) for policy in documents if policy["kind"] == "NetworkPolicy"
            ):
                yield f"{name}: opens a key ring, and no NetworkPolicy lets it out on 443, where KMS is"


def without_schema() -> Counter[str]:
    """Kinds of others' operators, for which kubernetes-validate has no schema."""
    every = [one for path in ROOT.rglob("*.yaml") if path.name != "kustomization.yaml" for one in _read(path)]
    return Counter(one["kind"] for one in every if one["apiVersion"].startswith(_OPERATORS))


def _trigger_faults(triggers: Iterable[Document]) -> Iterator[str]:
    for trigger in triggers:
        query = trigger["metadata"].get("query", "")
        if _THROTTLED in query:
            yield "follows what waits for Klaviyo's quota"
        yield from faults_of(query)
        if trigger["type"] == "rabbitmq" and trigger["metadata"].get("protocol") != "http":
            yield "asks for a queue's length other than over http"


def _on_base(component: Path, made: Path) -> Path:
    """The least overlay that has it; kustomize takes no path from the file system's root."""
    base, own = (os.path.relpath(path.resolve(), made.resolve()) for path in (ROOT / "base", component))
    (made / "kustomization.yaml").write_text(yaml.safe_dump({"resources": [base], "components": [own]}))
    return made


def _opens_a_ring(deployment: str) -> bool:
    app = ROOT.parents[1] / "services" / deployment.replace("-", "_") / "app.py"
    return app.exists() and "KeptRing.open(" in app.read_text()


def _lets_out(policy: Document, name: str, port: int) -> bool:
    selector = policy["podSelector"]
    chosen = [one["values"] for one in selector.get("matchExpressions", ()) if one["key"] == _NAME_LABEL]
    chosen += [[value] for label, value in selector.get("matchLabels", {}).items() if label == _NAME_LABEL]
    open_ports = [one["port"] for rule in policy.get("egress", ()) for one in rule.get("ports", ())]
    return any(name in names for names in chosen) and port in open_ports


def _backends(ingress: Document) -> Iterator[str]:
    for rule in ingress["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            yield path["backend"]["service"]["name"]


def _is_restricted(namespace: Document) -> bool:
    labels: dict[str, str] = namespace["metadata"].get("labels", {})
    return labels.get("pod-security.kubernetes.io/enforce") == "restricted"


def _documents(folder: Path) -> Iterator[Document]:
    for path in sorted(folder.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from _read(path)


def _read(path: Path) -> Iterator[Document]:
    yield from yaml.safe_load_all(path.read_text())


def _name(document: Document) -> str:
    return str(document["metadata"]["name"])
