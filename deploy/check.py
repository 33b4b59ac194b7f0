"""`make check-deploy`: is everything under deploy/ valid, and does it keep our own rules?

Schemas know what a field may hold; they do not know that every container of ours must be non-root, read-only, limited
and probed, that every service is deployed, that a variable exists, or that a secret is a file. That is what the rules
here are for. What cannot be checked on this machine is said, line by line and once more at the end; with `--strict` it
is a fault, unless the checker is one that nothing of ours can fetch.
"""

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import yaml

from deploy import check_cluster as cluster
from deploy import check_edge as edge
from deploy import check_monitors as monitors
from deploy import check_observability as observability
from deploy import check_waits as waits
from deploy import generate_env, programs, tools
from deploy.generate_env import TARGET, example
from deploy.tools import NotRunError
from shared.settings import PREFIX, ServiceSettings

ROOT = Path(__file__).parent
SERVICES = sorted(path.parent.name for path in (ROOT.parent / "services").glob("*/__main__.py"))
GRACE_S = ServiceSettings.model_fields["drain_s"].default + 10
"""What an orchestrator must wait before it kills: the drain, and time to close connections."""

# Servers of others, that run as their images are made.
_FOREIGN = {"postgres", "rabbitmq", "s3", "sftp", "edge", "prometheus", "grafana"}

_LOCKS = 512  # per connection, of PostgreSQL

# Ours, yet started as root: it shuts logins into folders. What it may keep of root's rights is that and no more.
_SHUTS_IN = "sftp-drop"
_TO_SHUT_IN = {"CHOWN", "SETGID", "SETUID", "SYS_CHROOT"}

# Variables of servers of others that would be secrets; their images take a file in place of each.
_SECRET_WORDS = ("PASSWORD", "PASS", "SECRET", "SECRET_ACCESS_KEY", "TOKEN", "PRIVATE_KEY")
_OF_KEDA = "rabbitmq_http_url"

Document = dict[str, Any]


Check = Callable[[], Iterator[str]]


@click.command()
@click.option(
    "--strict", is_flag=True, help="A check that was not run is a fault, unless nothing of ours fetches its checker."
)
def main(strict: bool) -> None:
    """Check everything under deploy/; ends with 1 when there is a fault."""
    sys.exit(report(strict=strict, checks={
        "compose file fits the compose specification": compose_schema,
        "Dockerfiles pass hadolint": dockerfiles,
        "the edge's file passes caddy": caddyfile,
        "the edge lets through what is taken behind it": edge.faults,
        "the edge waits for the gateway, and not for one that hangs": waits.faults,
        "kubernetes manifests fit their schemas": kubernetes_schemas,
        "compose keeps our rules": lambda: compose_rules(yaml.safe_load((ROOT / "compose.yaml").read_text())),
        "kubernetes keeps our rules": lambda: kubernetes_rules(manifests()),
        "kustomize names every manifest": kustomizations,
        "overlays fit the base": cluster.overlays,
        "overlays and components build, and what comes out keeps our rules": built_overlays,
        "prometheus' operator gets the alerts of compose, and whom they ask for": monitors.faults,
        "the environment example is fresh": fresh_example,
        "dashboards are fresh": observability.dashboards_are_fresh,
        "dashboards and alerts name what exists": observability.queries_name_what_exists,
        "every metric is in a dashboard": observability.metrics_are_shown,
        "every alert leads to a runbook": observability.alerts_lead_somewhere,
        "every alert is tested": observability.alerts_are_tested,
        "alerts pass promtool, their tests too": observability.promtool,
    }))  # fmt: skip


def report(checks: Mapping[str, Check], *, strict: bool) -> int:
    """Print one line per check; 1 when any finds a fault. What was not run is said, and is a fault where `strict`."""
    failed, not_run = 0, []
    for name, check in checks.items():
        try:
            faults = list(check())
        except NotRunError as why:
            not_run.append(f"{name} (optional)" if why.optional else name)
            failed += strict and not why.optional
            sys.stdout.write(f"NOT RUN {name}\n        {why}\n")
            continue
        failed += bool(faults)
        sys.stdout.write(f"{'FAILED ' if faults else 'ok     '} {name}\n" + "".join(f"        {it}\n" for it in faults))
    unknown = ", ".join(f"{number} {kind}" for kind, number in sorted(cluster.without_schema().items()))
    sys.stdout.write(f"        (no schema is at hand for {unknown}: rules of ours look at what we use of them)\n")
    if not_run:
        sys.stdout.write(f"{len(not_run)} of {len(checks)} checks were NOT RUN here: {'; '.join(not_run)}\n")
    return 1 if failed else 0


# --- schemas, known to others ----------------------------------------------------------------------------------------


def compose_schema() -> Iterator[str]:
    tool = tools.found("check-jsonschema", "make setup")
    for path in sorted(ROOT.glob("compose*.yaml")):
        yield from tools.faults(tool, "--builtin-schema", "vendor.compose-spec", str(path))


def dockerfiles() -> Iterator[str]:
    tool = tools.found("hadolint", "make setup")
    for path in sorted(ROOT.rglob("Dockerfile")):
        # DL3006: the base is an argument, so that a site can name its own and pin it.
        yield from tools.faults(tool, "--ignore", "DL3006", str(path))


def caddyfile() -> Iterator[str]:
    tool = tools.found("caddy", "devstack/bootstrap.sh checkers fetches it on Debian")
    with tempfile.TemporaryDirectory() as home:  # it makes a certificate authority even then
        own = (f"XDG_DATA_HOME={home}", f"XDG_CONFIG_HOME={home}")
        file = str(ROOT / "edge" / "Caddyfile")
        yield from tools.faults("env", *own, tool, "validate", "--adapter", "caddyfile", "--config", file)


def kubernetes_schemas() -> Iterator[str]:
    tool = tools.found("kubernetes-validate", "make setup")
    yield from tools.faults(tool, "--strict", *(str(path) for path in _manifest_files()))


def fresh_example() -> Iterator[str]:
    if TARGET.read_text() != example():
        yield "run `python -m deploy.generate_env`"


# --- compose ---------------------------------------------------------------------------------------------------------


def compose_rules(document: Document) -> Iterator[str]:
    """Every service there, limited and checked; ours also non-root, read-only and given time to drain."""
    services: dict[str, Document] = document["services"]
    for name in SERVICES:
        if name not in services:
            yield f"{name}: not in compose.yaml"
    for name, service in services.items():
        limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
        if not {"cpus", "memory"} <= set(limits):
            yield f"{name}: no limits of cpus and memory"
        if not {"max-size", "max-file"} <= set(service.get("logging", {}).get("options", {})):
            yield f"{name}: its log may fill the disk"
        if "healthcheck" not in service:
            yield f"{name}: no health check"
        if _has_registry(service.get("image", "")):
            yield f"{name}: image {service['image']} names a registry; which one is the site's choice"
        if name == "postgres":
            yield from _too_few_locks(name, service)
        yield from _secrets_in_variables(name, programs.environment(service, ROOT))
        yield from _single_files(name, service.get("volumes", ()))
        if name == _SHUTS_IN:
            yield from _shutting_in_faults(name, service)
        elif name not in _FOREIGN:
            yield from _our_compose_faults(name, service)


def _too_few_locks(where: str, service: Document) -> Iterator[str]:
    """As its default has it, the lock table is full when some hundred days are kept: of each, whoever asks for all of a
    person locks thirteen tables and indexes."""
    given = dict(word.split("=", 1) for word in str(service.get("command", "")).split() if "=" in word)
    if int(given.get("max_locks_per_transaction", 64)) < _LOCKS:
        yield f"{where}: max_locks_per_transaction must be at least {_LOCKS}"


def _secrets_in_variables(where: str, values: dict[str, str]) -> Iterator[str]:
    """Whoever may look at a container sees its variables; a secret is a file."""
    for name, value in values.items():
        ours = name in generate_env.secrets() and not str(value).startswith("file:/")
        if ours or name.upper().endswith(_SECRET_WORDS):
            yield f"{where}: {name} is a secret, and must be a file"


def _single_files(where: str, volumes: Iterable[str | Document]) -> Iterator[str]:
    """Of a file that an editor or git replaces, a container goes on seeing the old one. Those below secrets/ are read
    once, when a server starts."""
    for one in volumes:
        source = one["source"] if isinstance(one, dict) else one.partition(":")[0]
        if (ROOT / source).is_file() and not source.startswith("./secrets/"):
            yield f"{where}: mounts the single file {source}; mount its folder"


def _shutting_in_faults(name: str, service: Document) -> Iterator[str]:
    if not service.get("read_only") or service.get("cap_drop") != ["ALL"]:
        yield f"{name}: not read-only, or keeps capabilities"
    if not set(service.get("cap_add", ())) <= _TO_SHUT_IN:
        yield f"{name}: has more of root's rights than it needs"
    if "no-new-privileges:true" not in service.get("security_opt", ()):
        yield f"{name}: may gain privileges"


def _our_compose_faults(name: str, service: Document) -> Iterator[str]:
    if not service.get("read_only") or service.get("cap_drop") != ["ALL"]:
        yield f"{name}: not read-only, or keeps capabilities"
    if str(service.get("user", "0")).partition(":")[0] in ("", "0", "root"):
        yield f"{name}: runs as root"
    if "no-new-privileges:true" not in service.get("security_opt", ()):
        yield f"{name}: may gain privileges"
    if float(service.get("stop_grace_period", "10s").rstrip("s")) < GRACE_S:
        yield f"{name}: stop_grace_period must be at least {GRACE_S:g}s"
    yield from _missing_module(name, service.get("command", ()))
    yield from _unknown_variables(name, programs.environment(service, ROOT))


# --- kubernetes ------------------------------------------------------------------------------------------------------


def manifests() -> list[Document]:
    """Every document under k8s/, without the kustomizations, but with the settings that the base's makes."""
    written = [found for path in _manifest_files() for found in yaml.safe_load_all(path.read_text())]
    return [*written, *programs.config_maps(ROOT / "k8s" / "base")]


def kubernetes_rules(documents: Iterable[Document]) -> Iterator[str]:
    """Every service deployed and protected from eviction; every pod locked down; nothing open that is not named."""
    documents = list(documents)
    by_kind: dict[str, list[Document]] = {}
    for document in documents:
        by_kind.setdefault(document["kind"], []).append(document)
    workloads = by_kind.get("Deployment", []) + by_kind.get("Job", [])
    deployed = {_name(found) for found in by_kind.get("Deployment", [])}
    kept = {found["spec"]["selector"]["matchLabels"].get("app.kubernetes.io/name")
            for found in by_kind.get("PodDisruptionBudget", [])}  # fmt: skip
    for service in (name.replace("_", "-") for name in SERVICES):
        if service not in deployed:
            yield f"{service}: no Deployment"
        if service not in kept:
            yield f"{service}: no PodDisruptionBudget"
    for workload in workloads:
        yield from _workload_faults(workload)
    for found in by_kind.get("ConfigMap", []):
        yield from _unknown_variables(_name(found), found["data"])
        yield from _secrets_in_variables(_name(found), found["data"])
    for found in by_kind.get("Secret", []):
        yield from _secret_faults(_name(found), found["stringData"])
    if not any(_denies_everything(policy["spec"]) for policy in by_kind.get("NetworkPolicy", [])):
        yield "no NetworkPolicy denies by default"
    yield from cluster.ring_faults(documents)


def built_overlays() -> Iterator[str]:
    """Each overlay and component as kubectl puts it together: patches can undo what the files say."""
    for folder, documents, failure in cluster.built():
        yield from (f"{folder}: {fault}" for fault in [failure] if fault)
        if not failure:
            rules = (kubernetes_rules, cluster.counted, cluster.unhashed, monitors.asked_twice)
            yield from (f"{folder}: {fault}" for rule in rules for fault in rule(documents))


def _secret_faults(where: str, values: dict[str, str]) -> Iterator[str]:
    files = {generate_env.secret_file(name) for name in generate_env.secrets()}
    yield from (f"{where}: no setting reads a file {name}" for name in sorted(set(values) - files - {_OF_KEDA}))
    needed = {generate_env.secret_file(name) for name in generate_env.required_secrets()}
    yield from (f"{where}: no {name}, without which nothing starts" for name in sorted(needed - set(values)))


def kustomizations() -> Iterator[str]:
    for path in sorted((ROOT / "k8s").rglob("kustomization.yaml")):
        listed = set(yaml.safe_load(path.read_text())["resources"])
        here = {file.name for file in path.parent.glob("*.yaml")} - {path.name}
        yield from (f"{path.parent.name}: {name} is not a resource" for name in sorted(here - listed))
        missing = (name for name in listed if not (path.parent / name).exists())
        yield from (f"{path.parent.name}: {name} does not exist" for name in sorted(missing))


def _workload_faults(workload: Document) -> Iterator[str]:
    where = _name(workload)
    pod = workload["spec"]["template"]["spec"]
    security = pod.get("securityContext", {})
    if where != _SHUTS_IN and not (security.get("runAsNonRoot") and security.get("runAsUser")):
        yield f"{where}: may run as root"
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield f"{where}: no seccomp profile"
    if pod.get("automountServiceAccountToken") is not False:
        yield f"{where}: carries a token for the cluster"
    if workload["kind"] == "Deployment" and pod.get("terminationGracePeriodSeconds", 30) < GRACE_S:
        yield f"{where}: terminationGracePeriodSeconds must be at least {GRACE_S:g}"
    for volume in pod.get("volumes", ()):
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield f"{where}: volume {volume['name']} may fill the node's disk"
    for container in pod["containers"]:
        yield from _container_faults(where, workload["kind"], container)
        if where != _SHUTS_IN:
            yield from _secret_file_faults(where, pod, container)


def _container_faults(where: str, kind: str, container: Document) -> Iterator[str]:
    security, resources = container.get("securityContext", {}), container.get("resources", {})
    if not security.get("readOnlyRootFilesystem") or security.get("capabilities", {}).get("drop") != ["ALL"]:
        yield f"{where}: not read-only, or keeps capabilities"
    if not set(security.get("capabilities", {}).get("add", ())) <= (_TO_SHUT_IN if where == _SHUTS_IN else set()):
        yield f"{where}: has more of root's rights than it needs"
    if security.get("allowPrivilegeEscalation") is not False:
        yield f"{where}: may gain privileges"
    if "memory" not in resources.get("limits", {}) or not {"cpu", "memory"} <= set(resources.get("requests", {})):
        yield f"{where}: no memory limit, or no requests"
    if _has_registry(container["image"]):
        yield f"{where}: image {container['image']} names a registry; which one is the site's choice"
    if kind == "Deployment":
        missing = {"startupProbe", "livenessProbe", "readinessProbe"} - set(container)
        yield from (f"{where}: no {probe}" for probe in sorted(missing))
    yield from _missing_module(where, container.get("command", ()))
    yield from _unknown_variables(where, [entry["name"] for entry in container.get("env", ())])


def _secret_file_faults(where: str, pod: Document, container: Document) -> Iterator[str]:
    """Its secrets are a volume, whole: of a single file that is mounted, the pod would go on seeing the old one."""
    if any("secretRef" in one for one in container.get("envFrom", ())) or any(
        "secretKeyRef" in one.get("valueFrom", {}) for one in container.get("env", ())
    ):
        yield f"{where}: has secrets in variables"
    volumes = {one["name"] for one in pod.get("volumes", ()) if one.get("secret", {}).get("secretName") == "justai"}
    mounts = [one for one in container.get("volumeMounts", ()) if one["name"] in volumes]
    if not any(one.get("readOnly") and "subPath" not in one for one in mounts):
        yield f"{where}: does not have its secrets as files"


def _denies_everything(policy: Document) -> bool:
    return set(policy["policyTypes"]) == {"Ingress", "Egress"} and not (policy.get("ingress") or policy.get("egress"))


# --- both ------------------------------------------------------------------------------------------------------------


def _missing_module(where: str, command: Iterable[str]) -> Iterator[str]:
    match list(command):
        case ["python", "-m", module, *_] if not (ROOT.parent / module.replace(".", "/") / "__main__.py").exists():
            yield f"{where}: no module {module} to run"
        case []:
            yield f"{where}: no command"


def _unknown_variables(where: str, names: Iterable[str]) -> Iterator[str]:
    known = generate_env.known()
    yield from (f"{where}: no setting {name}" for name in names if name.startswith(PREFIX) and name not in known)


def _has_registry(image: str) -> bool:
    host, slash, _ = image.partition("/")
    return bool(slash) and ("." in host or ":" in host or host == "localhost")


def _name(document: Document) -> str:
    return str(document["metadata"]["name"])


def _manifest_files() -> list[Path]:
    return sorted(path for path in (ROOT / "k8s").rglob("*.yaml") if path.name != "kustomization.yaml")


if __name__ == "__main__":
    main()
