"""The deployment's checks must find what they are for."""

import copy
import json
import re
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from cli.schema import keyring_new
from deploy import check, generate_env, tools
from deploy.check import Document
from deploy.generate_env import example
from deploy.tools import NotRunError
from services.ingest.reading.parquet import MEMORY_BYTES
from services.ingest.settings import Settings
from shared.api_keys import Peppers
from shared.crypto import parse_ring

Change = Callable[[Any], object]


COMPOSE = yaml.safe_load((check.ROOT / "compose.yaml").read_text())  # read once: both take a second on a busy machine
MANIFESTS = check.manifests()


def compose() -> Document:
    return dict(copy.deepcopy(COMPOSE))


def manifests() -> list[Document]:
    return copy.deepcopy(MANIFESTS)


def found(documents: list[Document], kind: str, name: str) -> Document:
    return next(it for it in documents if it["kind"] == kind and it["metadata"]["name"] == name)


def test_what_we_ship_has_no_faults() -> None:
    faults = [
        *check.compose_rules(compose()),
        *check.kubernetes_rules(manifests()),
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
    (lambda s: s["postgres"].pop("command"), "postgres: max_locks_per_transaction must be at least 512"),
    (lambda s: s["edge"].pop("logging"), "edge: its log may fill the disk"),
    (lambda s: s["gateway"]["logging"]["options"].pop("max-size"), "gateway: its log may fill the disk"),
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
    (
        lambda s: s["egress"].update(environment={"JUSTAI_AMQP_URL": "amqp://a:b@c/"}),
        "egress: JUSTAI_AMQP_URL is a secret, and must be a file",
    ),
    (
        lambda s: s["gateway"]["environment"].update(JUSTAI_SEAL_KEYS="k1:abc"),
        "gateway: JUSTAI_SEAL_KEYS is a secret, and must be a file",
    ),
    (
        lambda s: s["postgres"]["environment"].update(POSTGRES_PASSWORD="x"),
        "postgres: POSTGRES_PASSWORD is a secret, and must be a file",
    ),
    (
        lambda s: s["edge"]["volumes"].append("./edge/Caddyfile:/etc/caddy/Caddyfile:ro"),
        "edge: mounts the single file ./edge/Caddyfile; mount its folder",
    ),
    (
        lambda s: s["prometheus"]["volumes"].append({"type": "bind", "source": "./observability/alerts.yaml"}),
        "prometheus: mounts the single file ./observability/alerts.yaml; mount its folder",
    ),
    (
        lambda s: s["grafana"]["environment"].update(GF_SECURITY_ADMIN_PASSWORD="x"),
        "grafana: GF_SECURITY_ADMIN_PASSWORD is a secret, and must be a file",
    ),
]


@pytest.mark.parametrize(("change", "fault"), COMPOSE_FAULTS, ids=[fault for _, fault in COMPOSE_FAULTS])
def test_a_planted_fault_in_compose_is_found(change: Change, fault: str) -> None:
    document = compose()

    change(document["services"])

    assert [it for it in check.compose_rules(document) if it.startswith(fault)]


def test_the_broker_stops_taking_while_there_is_room_left() -> None:
    told = COMPOSE["services"]["rabbitmq"]["environment"]["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]

    assert int(told.partition("-rabbit disk_free_limit ")[2]) == 2_000_000_000


def pod(change: Change) -> Change:
    return lambda documents: change(found(documents, "Deployment", "egress")["spec"]["template"]["spec"])


def container(change: Change) -> Change:
    return pod(lambda spec: change(spec["containers"][0]))


def outside(documents: list[Document]) -> Document:
    spec: Document = found(documents, "NetworkPolicy", "outside")["spec"]
    return spec


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
    (
        lambda d: found(d, "ConfigMap", "justai")["data"].update(JUSTAI_AMQP_URL="amqp://a:b@c/"),
        "justai: JUSTAI_AMQP_URL is a secret, and must be a file",
    ),
    (
        lambda d: found(d, "Secret", "justai")["stringData"].update(justai_typo="1"),
        "justai: no setting reads a file justai_typo",
    ),
    (
        lambda d: found(d, "Secret", "justai")["stringData"].pop("seal-ring"),
        "justai: no seal-ring, without which nothing starts",
    ),
    (
        container(lambda c: c["envFrom"].append({"secretRef": {"name": "justai"}})),
        "egress: has secrets in variables",
    ),
    (
        container(lambda c: c.update(env=[{"name": "OTHER", "valueFrom": {"secretKeyRef": {"name": "justai"}}}])),
        "egress: has secrets in variables",
    ),
    (
        container(lambda c: c["volumeMounts"][1].update(subPath="seal-ring")),
        "egress: does not have its secrets as files",
    ),
    (pod(lambda p: p["volumes"].pop()), "egress: does not have its secrets as files"),
    (
        pod(lambda p: p.pop("serviceAccountName")),
        "egress: opens a key ring, and has no ServiceAccount that a role could be bound to",
    ),
    (
        lambda d: d.remove(found(d, "ServiceAccount", "justai")),
        "gateway: opens a key ring, and has no ServiceAccount that a role could be bound to",
    ),
    (
        lambda d: found(d, "ServiceAccount", "justai").pop("automountServiceAccountToken"),
        "justai: pods of this account carry a token for the cluster",
    ),
    (
        lambda d: outside(d)["podSelector"]["matchExpressions"][0]["values"].remove("gateway"),
        "gateway: opens a key ring, and no NetworkPolicy lets it out on 443, where KMS is",
    ),
    (
        lambda d: outside(d).pop("egress"),
        "console: opens a key ring, and no NetworkPolicy lets it out on 443, where KMS is",
    ),
]


def test_who_opens_no_key_ring_needs_nothing_outside() -> None:
    named = {name for one in manifests() if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == "outside"
             for name in one["spec"]["podSelector"]["matchExpressions"][0]["values"]}  # fmt: skip

    assert named == {name.replace("_", "-") for name in check.SERVICES} - {"generator", "ranker"}


@pytest.mark.parametrize(("change", "fault"), KUBERNETES_FAULTS, ids=[fault for _, fault in KUBERNETES_FAULTS])
def test_a_planted_fault_in_kubernetes_is_found(change: Change, fault: str) -> None:
    documents = manifests()

    change(documents)

    assert fault in list(check.kubernetes_rules(documents))


def test_a_container_of_ingest_has_room_for_as_many_files_as_it_reads_at_once_each_at_its_limit() -> None:
    itself, libraries = 300 << 20, 72 << 20  # docs/reliability.md, L8; pyarrow, in a process for each file
    most = itself + Settings.model_fields["ingest_parallel_files"].default * (MEMORY_BYTES + libraries)

    compose_limit = COMPOSE["services"]["ingest"]["deploy"]["resources"]["limits"]["memory"]
    pods = found(manifests(), "Deployment", "ingest")["spec"]["template"]["spec"]
    pod_limit = pods["containers"][0]["resources"]["limits"]["memory"]

    assert (compose_limit, pod_limit) == ("1G", "1Gi")
    assert most <= 1 << 30


def test_the_example_has_no_place_for_a_secret_and_says_where_its_file_is() -> None:
    text = example()

    assert [line for line in text.splitlines() if line and not line.startswith("#")] == []
    for name, file in {
        "JUSTAI_DATABASE_URL": "justai_database_url",
        "JUSTAI_AMQP_URL": "justai_amqp_url",
        "JUSTAI_SEAL_KEYS": "seal-ring",
        "JUSTAI_API_KEY_PEPPERS": "justai_api_key_peppers",
        "JUSTAI_LLM_API_KEY": "justai_llm_api_key",
    }.items():
        assert f"# {name}: a secret, so it is the file deploy/secrets/justai/{file}" in text
        assert f"{name}=" not in text


def test_the_secrets_that_are_made_are_those_that_are_needed_and_stay_when_made_again(tmp_path: Path) -> None:
    def make() -> dict[str, str]:
        script = check.ROOT / "make-secrets.sh"
        subprocess.run(["sh", script, tmp_path / "secrets"], check=True, capture_output=True)
        files = (path for path in (tmp_path / "secrets").rglob("*") if path.is_file())
        return {str(path.relative_to(tmp_path / "secrets")): path.read_text() for path in files}

    made = make()

    mounted = re.findall(r"\./secrets/([\w./-]+)", (check.ROOT / "compose.yaml").read_text())
    assert [one for one in mounted if not (tmp_path / "secrets" / one).exists()] == []
    needed = {generate_env.secret_file(name) for name in generate_env.required_secrets()}
    assert {name.removeprefix("justai/") for name in made if name.startswith("justai/")} == needed
    password = made["servers/postgres_password"].strip()
    assert f"//justai:{password}@postgres:5432/justai" in made["justai/justai_database_url"]
    assert made["servers/rabbitmq.conf"].split()[-1] in made["justai/justai_amqp_url"]
    assert len(json.loads(made["servers/s3.json"])["identities"]) == 1
    assert list(parse_ring(made["justai/seal-ring"])) == ["k1"]
    assert Peppers(made["justai/justai_api_key_peppers"].strip()).numbers == {1}
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "secrets" / "simulator" / "client_key").stat().st_mode) == 0o600
    for pair in ("drop/host_key", "simulator/host_key", "simulator/client_key"):
        assert made[f"{pair}.pub"].startswith("ssh-ed25519 ")
        assert "PRIVATE KEY" in made[pair]
    assert make() == made
    (tmp_path / "secrets" / "justai" / "seal-ring").unlink()
    again = make()
    assert {name for name in made if again[name] != made[name]} == {"justai/seal-ring"}


def test_the_secret_that_is_filled_in_as_its_example_says_holds_a_ring_and_peppers() -> None:
    text = (check.ROOT / "k8s" / "secret.example.yaml").read_text()

    def printed(asked: re.Match[str]) -> str:
        return CliRunner().invoke(keyring_new, asked[1].split()).stdout.strip()

    filled = yaml.safe_load(re.sub(r"<justai keyring new ([^>]*)>", printed, text))["stringData"]

    assert list(parse_ring(filled["seal-ring"])) == ["k1"]
    assert Peppers(filled["justai_api_key_peppers"]).numbers == {1}
    assert "<" not in "".join(filled.values())


def test_a_check_that_cannot_be_made_is_told_and_is_a_fault_in_a_strict_run_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def missing() -> Iterator[str]:
        raise NotRunError("promtool is not here: fetch it")

    assert check.report({"rules": lambda: iter(()), "alerts": missing}, strict=False) == 0
    said = capsys.readouterr().out
    assert said.startswith("ok      rules\nNOT RUN alerts\n        promtool is not here: fetch it\n")
    assert "4 ScaledObject" in said
    assert said.endswith("1 of 2 checks were NOT RUN here: alerts\n")
    assert check.report({"rules": lambda: iter(["a fault"]), "alerts": missing}, strict=False) == 1
    assert "FAILED  rules\n        a fault\n" in capsys.readouterr().out
    assert check.report({"rules": lambda: iter(()), "alerts": missing}, strict=True) == 1


def test_what_nothing_of_ours_can_fetch_may_be_missing_in_a_strict_run_too(capsys: pytest.CaptureFixture[str]) -> None:
    def missing() -> Iterator[str]:
        yield tools.found("a-tool-that-is-nowhere", "ask around", optional=True)

    assert check.report({"overlays": missing}, strict=True) == 0
    assert capsys.readouterr().out.endswith("1 of 1 checks were NOT RUN here: overlays (optional)\n")


def test_the_server_that_shuts_logins_in_keeps_no_more_of_roots_rights_than_that_takes() -> None:
    document = compose()
    document["services"]["sftp-drop"]["cap_add"].append("SYS_ADMIN")
    shipped = manifests()
    [pod] = [one for one in shipped if one["kind"] == "Deployment" and one["metadata"]["name"] == "sftp-drop"]
    [ingest] = [one for one in shipped if one["kind"] == "Deployment" and one["metadata"]["name"] == "ingest"]
    for one in (pod, ingest):
        one["spec"]["template"]["spec"]["containers"][0]["securityContext"]["capabilities"]["add"] = ["SYS_ADMIN"]

    assert list(check.compose_rules(document)) == ["sftp-drop: has more of root's rights than it needs"]
    assert sorted(check.kubernetes_rules(shipped)) == [
        "ingest: has more of root's rights than it needs", "sftp-drop: has more of root's rights than it needs",
    ]  # fmt: skip
