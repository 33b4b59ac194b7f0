"""`make check-deploy`: is everything under deploy/ valid, and does it keep our own rules?

Schemas know what a field may hold; they do not know that every container of ours must be non-root, read-only, limited
and probed, that every service is deployed, or that a variable exists. That is what the rules here are for.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from cli.reference import SERVICES
from deploy.generate_env import TARGET, example
from shared.settings import PREFIX, ServiceSettings

ROOT = Path(__file__).parent
BIN = Path(sys.executable).parent
DRAIN_S = ServiceSettings.model_fields["drain_s"].default
# Servers of others, that run as their images are made.
_FOREIGN = {"postgres", "rabbitmq", "s3"}


def main() -> int:
    """Print one line per check; 1 when any finds a fault."""
    checks: dict[str, Callable[[], Iterator[str]]] = {
        "compose file fits the compose specification": compose_schema,
        "Dockerfile passes hadolint": dockerfile,
        "kubernetes manifests fit their schemas": kubernetes_schemas,
        "compose keeps our rules": compose_rules,
        "kubernetes keeps our rules": kubernetes_rules,
        "the environment example is fresh": fresh_example,
    }
    failed = 0
    for name, check in checks.items():
        faults = list(check())
        failed += bool(faults)
        sys.stdout.write(f"{'FAILED' if faults else 'ok    '} {name}\n" + "".join(f"       {it}\n" for it in faults))
    return 1 if failed else 0


def compose_schema() -> Iterator[str]:
    yield from _run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(ROOT / "compose.yaml"))


def dockerfile() -> Iterator[str]:
    # DL3006: the base is an argument, so that a site can name its own and pin it.
    yield from _run("hadolint", "--ignore", "DL3006", str(ROOT / "Dockerfile"))


def kubernetes_schemas() -> Iterator[str]:
    files = [path for path in _manifests() if path.name != "kustomization.yaml"]
    yield from _run("kubernetes-validate", "--strict", *map(str, files))


def compose_rules(path: Path = ROOT / "compose.yaml") -> Iterator[str]:
    """Non-root comes from the image; the rest is said here."""
    services = yaml.safe_load(path.read_text())["services"]
    for name in SERVICES:
        if name not in services:
            yield f"{name}: not in compose.yaml"
    for name, service in services.items():
        if "limits" not in str(service.get("deploy")):
            yield f"{name}: no resource limits"
        if name in _FOREIGN:
            continue
        if not service.get("read_only") or service.get("cap_drop") != ["ALL"]:
            yield f"{name}: not read-only, or keeps capabilities"
        if "healthcheck" not in service:
            yield f"{name}: no health check"
        yield from _unknown_variables(name, service.get("environment", {}))
        if name in SERVICES and float(service["stop_grace_period"].rstrip("s")) < DRAIN_S + 10:
            yield f"{name}: stop_grace_period must be at least the drain of {DRAIN_S:g} s plus 10 s"


def kubernetes_rules() -> Iterator[str]:
    """Every container non-root, read-only, without capabilities, limited; services probed and given time to drain."""
    deployed = set()
    for path in _manifests():
        for document in yaml.safe_load_all(path.read_text()):
            if document.get("kind") not in ("Deployment", "Job"):
                if document.get("kind") == "ConfigMap":
                    yield from _unknown_variables(path.name, document["data"])
                continue
            pod = document["spec"]["template"]["spec"]
            deployed.add(document["metadata"]["name"].replace("-", "_"))
            for container in pod["containers"]:
                yield from _container_faults(path.name, document["kind"], pod, container)
            grace_s = pod.get("terminationGracePeriodSeconds", 30)
            if document["kind"] == "Deployment" and grace_s < DRAIN_S + 10:
                yield f"{path.name}: terminationGracePeriodSeconds must be at least {DRAIN_S + 10:g}"
    for name in SERVICES:
        if name not in deployed:
            yield f"{name}: no Deployment"


def _container_faults(where: str, kind: str, pod: dict[str, Any], container: dict[str, Any]) -> Iterator[str]:
    security = container.get("securityContext", {})
    if not pod.get("securityContext", {}).get("runAsNonRoot"):
        yield f"{where}: may run as root"
    if not security.get("readOnlyRootFilesystem") or security.get("capabilities", {}).get("drop") != ["ALL"]:
        yield f"{where}: {container['name']} is not read-only, or keeps capabilities"
    if security.get("allowPrivilegeEscalation") is not False:
        yield f"{where}: {container['name']} may gain privileges"
    if "memory" not in container.get("resources", {}).get("limits", {}):
        yield f"{where}: {container['name']} has no memory limit"
    if kind == "Deployment":
        missing = {"startupProbe", "livenessProbe", "readinessProbe"} - set(container)
        yield from (f"{where}: {container['name']} has no {probe}" for probe in sorted(missing))
    yield from _unknown_variables(where, {entry["name"]: "" for entry in container.get("env", [])})


def fresh_example() -> Iterator[str]:
    if TARGET.read_text() != example():
        yield "run `python -m deploy.generate_env`"


def _unknown_variables(where: str, names: dict[str, Any]) -> Iterator[str]:
    known = {line.lstrip("# ").partition("=")[0] for line in example().splitlines()}
    yield from (f"{where}: no setting {name}" for name in names if name.startswith(PREFIX) and name not in known)


def _manifests() -> list[Path]:
    return sorted((ROOT / "k8s").rglob("*.yaml"))


def _run(tool: str, *arguments: str) -> Iterator[str]:
    done = subprocess.run(  # noqa: S603  # our own linters on our own files
        [str(BIN / tool), *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        yield from (done.stdout + done.stderr).strip().splitlines()[:20]


if __name__ == "__main__":
    sys.exit(main())
