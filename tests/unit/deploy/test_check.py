"""The deployment's checks must find what they are for."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from deploy import check
from deploy.check import Document
from deploy.generate_env import example

Change = Callable[[Any], object]


def compose() -> Document:
    return dict(yaml.safe_load((check.ROOT / "compose.yaml").read_text()))


def found(documents: list[Document], kind: str, name: str) -> Document:
    return next(it for it in documents if it["kind"] == kind and it["metadata"]["name"] == name)


def test_what_we_ship_has_no_faults() -> None:
    faults = [
        *check.compose_rules(compose()),
        *check.kubernetes_rules(check.manifests()),
        *check.kustomizations(),
        *check.fresh_example(),
    ]

    assert faults == []


def test_every_service_that_can_be_started_is_looked_for() -> None:
    assert {"gateway", "generator", "profile_writer", "ingest", "ranker", "egress"} <= set(check.SERVICES)


COMPOSE_FAULTS: list[tuple[Change, str]] = [
    (lambda s: s.pop("egress"), "egress: not in compose.yaml"),
    (lambda s: s["gateway"].pop("read_only"), "gateway: not read-only, or keeps capabilities"),
    (lambda s: s["gateway"].pop("cap_drop"), "gateway: not read-only, or keeps capabilities"),
    (lambda s: s["gateway"].update(user="0:0"), "gateway: runs as root"),
    (lambda s: s["gateway"].pop("user"), "gateway: runs as root"),
    (lambda s: s["gateway"].pop("security_opt"), "gateway: may gain privileges"),
    (lambda s: s["ingest"].pop("deploy"), "ingest: no limits of cpus and memory"),
    (lambda s: s["s3"].pop("healthcheck"), "s3: no health check"),
    (lambda s: s["generator"].update(environment={"JUSTAI_TYPO": "1"}), "generator: no setting JUSTAI_TYPO"),
    (
        lambda s: s["generator"].update(command=["python", "-m", "services.typo"]),
        "generator: no module services.typo to run",
    ),
    (lambda s: s["gateway"].update(stop_grace_period="5s"), "gateway: stop_grace_period must be at least 30s"),
    (
        lambda s: s["postgres"].update(image="registry.example/postgres"),
        "postgres: image registry.example/postgres names",
    ),
]


@pytest.mark.parametrize(("change", "fault"), COMPOSE_FAULTS, ids=[fault for _, fault in COMPOSE_FAULTS])
def test_a_planted_fault_in_compose_is_found(change: Change, fault: str) -> None:
    document = compose()

    change(document["services"])

    assert [it for it in check.compose_rules(document) if it.startswith(fault)]


def pod(change: Change) -> Change:
    return lambda documents: change(found(documents, "Deployment", "egress")["spec"]["template"]["spec"])


def container(change: Change) -> Change:
    return pod(lambda spec: change(spec["containers"][0]))


KUBERNETES_FAULTS: list[tuple[Change, str]] = [
    (lambda d: d.remove(found(d, "Deployment", "egress")), "egress: no Deployment"),
    (lambda d: d.remove(found(d, "PodDisruptionBudget", "egress")), "egress: no PodDisruptionBudget"),
    (lambda d: d.remove(found(d, "NetworkPolicy", "default-deny")), "no NetworkPolicy denies by default"),
    (pod(lambda p: p.pop("securityContext")), "egress: may run as root"),
    (pod(lambda p: p["securityContext"].pop("seccompProfile")), "egress: no seccomp profile"),
    (pod(lambda p: p.pop("automountServiceAccountToken")), "egress: carries a token for the cluster"),
    (
        pod(lambda p: p.update(terminationGracePeriodSeconds=29)),
        "egress: terminationGracePeriodSeconds must be at least 30",
    ),
    (pod(lambda p: p["volumes"][0].update(emptyDir={})), "egress: volume tmp may fill the node's disk"),
    (container(lambda c: c.pop("securityContext")), "egress: not read-only, or keeps capabilities"),
    (container(lambda c: c["securityContext"].pop("allowPrivilegeEscalation")), "egress: may gain privileges"),
    (container(lambda c: c.pop("resources")), "egress: no memory limit, or no requests"),
    (container(lambda c: c.pop("livenessProbe")), "egress: no livenessProbe"),
    (
        container(lambda c: c.update(command=["python", "-m", "services.typo"])),
        "egress: no module services.typo to run",
    ),
    (container(lambda c: c.update(env=[{"name": "JUSTAI_TYPO"}])), "egress: no setting JUSTAI_TYPO"),
    (lambda d: found(d, "ConfigMap", "justai")["data"].update(JUSTAI_TYPO="1"), "justai: no setting JUSTAI_TYPO"),
    (lambda d: found(d, "Secret", "justai")["stringData"].update(JUSTAI_TYPO="1"), "justai: no setting JUSTAI_TYPO"),
]


@pytest.mark.parametrize(("change", "fault"), KUBERNETES_FAULTS, ids=[fault for _, fault in KUBERNETES_FAULTS])
def test_a_planted_fault_in_kubernetes_is_found(change: Change, fault: str) -> None:
    documents = check.manifests()

    change(documents)

    assert fault in list(check.kubernetes_rules(documents))


def test_every_required_setting_stands_in_the_example() -> None:
    required = [line for line in example().splitlines() if line.startswith("JUSTAI_")]

    assert [line.partition("=")[0] for line in required] == [
        "JUSTAI_DATABASE_URL",
        "JUSTAI_AMQP_URL",
        "JUSTAI_SEAL_KEYS",
        "JUSTAI_API_KEY_PEPPERS",
    ]


def test_the_server_that_shuts_logins_in_keeps_no_more_of_roots_rights_than_that_takes() -> None:
    document = compose()
    document["services"]["sftp-drop"]["cap_add"].append("SYS_ADMIN")
    shipped = check.manifests()
    [pod] = [one for one in shipped if one["kind"] == "Deployment" and one["metadata"]["name"] == "sftp-drop"]
    [ingest] = [one for one in shipped if one["kind"] == "Deployment" and one["metadata"]["name"] == "ingest"]
    for one in (pod, ingest):
        one["spec"]["template"]["spec"]["containers"][0]["securityContext"]["capabilities"]["add"] = ["SYS_ADMIN"]

    assert list(check.compose_rules(document)) == ["sftp-drop: has more of root's rights than it needs"]
    assert sorted(check.kubernetes_rules(shipped)) == [
        "ingest: has more of root's rights than it needs", "sftp-drop: has more of root's rights than it needs",
    ]  # fmt: skip
