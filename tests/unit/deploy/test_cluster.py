"""Overlays must scale what is there by what helps, and lead webhooks to the gateway."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import yaml

from deploy import check_cluster as check
from deploy.check import built_overlays
from deploy.programs import config_maps
from deploy.tools import NotRunError

Change = Callable[[dict[str, Any]], object]


def documents() -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The base, and production's own by kind and name."""
    base = [one for path in (check.ROOT / "base").glob("*.yaml") for one in yaml.safe_load_all(path.read_text())]
    folder = check.ROOT / "overlays" / "production"
    own = [one for path in folder.glob("*.yaml") for one in yaml.safe_load_all(path.read_text())]
    named = {f"{one['kind']} {one['metadata']['name']}": one for one in own if "metadata" in one}
    return [one for one in base if "metadata" in one], named


def test_what_we_ship_has_no_faults() -> None:
    assert list(check.overlays()) == []


def test_the_overlay_says_how_many_connections_to_postgresql_it_may_come_to() -> None:
    base, own = documents()
    head = (check.ROOT / "overlays" / "production" / "kustomization.yaml").read_text()
    most = check.most_connections(base, own.values())

    assert list(check.connection_faults(head, most)) == []

    own["ScaledObject generator"]["spec"]["maxReplicaCount"] += 10
    more = check.most_connections(base, own.values())
    assert more == most + 10 * check.CONNECTIONS["generator"]
    assert list(check.connection_faults(head, more)) == [
        f"its head must say that services hold up to {more} connections to PostgreSQL",
        f"its head must ask for a `max_connections` of {more + 15} or more",
    ]


def test_what_a_process_holds_is_what_the_page_about_scale_says() -> None:
    told = (check.ROOT.parents[1] / "docs" / "scale.md").read_text()
    gateway, generator, writer = (check.CONNECTIONS[name] for name in ("gateway", "generator", "profile-writer"))

    assert f"gateway holds up to {gateway}, generator {generator}, profile writer {writer}, any other process 8" in told


def test_what_kubectl_puts_together_keeps_our_rules() -> None:
    with suppress(NotRunError):  # `make check-deploy` says so
        assert list(built_overlays()) == []


def test_who_is_scaled_says_no_number_of_replicas() -> None:
    scaler = {"kind": "ScaledObject", "metadata": {"name": "x"}, "spec": {"scaleTargetRef": {"name": "egress"}}}
    deployment = {"kind": "Deployment", "metadata": {"name": "egress"}, "spec": {"replicas": 2}}

    assert list(check.counted([scaler, deployment])) == ["egress is scaled, and says a number of replicas"]
    assert list(check.counted([deployment])) == []


def test_pods_read_settings_that_stay_as_they_were() -> None:
    def reading(kind: str, name: str) -> dict[str, Any]:
        pod = {"containers": [{"envFrom": [{"configMapRef": {"name": name}}]}]}
        return {"kind": kind, "metadata": {"name": "x"}, "spec": {"template": {"spec": pod}}}

    plain, made = ({"kind": "ConfigMap", "metadata": {"name": name}} for name in ("justai", "justai-dhg9c7t46m"))

    assert list(check.unhashed([made, reading("Deployment", "justai-dhg9c7t46m")])) == []
    assert list(check.unhashed([plain, reading("Deployment", "justai")])) == [
        "x reads justai, which configMapGenerator did not make"
    ]
    assert list(check.unhashed([reading("Deployment", "justai-dhg9c7t46m")])) != []
    assert list(check.unhashed([made, reading("Job", "justai-dhg9c7t46m")])) != []


def test_the_settings_of_the_base_are_made_and_not_written() -> None:
    written = [one["kind"] for one in documents()[0]]

    [made] = config_maps(check.ROOT / "base")

    assert "ConfigMap" not in written
    assert made["metadata"]["name"] == "justai"
    assert made["data"]["JUSTAI_DRAIN_S"] == "20"


@pytest.mark.parametrize(
    ("document", "change", "fault"),
    [
        ("ScaledObject generator", lambda it: it["spec"]["scaleTargetRef"].update(name="typo"),
         "generator scales typo, which is not deployed"),
        ("ScaledObject profile-writer",
         lambda it: it["spec"]["triggers"][0]["metadata"].update(query="sum(jai_write_backlog)"),
         "profile-writer: follows what waits for Klaviyo's quota"),
        ("ScaledObject profile-writer",
         lambda it: it["spec"]["triggers"][0]["metadata"].update(query="max(jai_write_typo)"),
         "profile-writer: no metric write_typo"),
        ("ScaledObject egress", lambda it: it["spec"]["triggers"][0]["metadata"].update(protocol="amqp"),
         "egress: asks for a queue's length other than over http"),
        ("ScaledObject ingest", lambda it: it["spec"]["scaleTargetRef"].update(name="egress"),
         "egress is scaled twice"),
        ("Ingress console", lambda it: it["spec"].pop("tls"), "console has no TLS"),
        ("Ingress hooks",
         lambda it: it["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"].update(name="typo"),
         "hooks leads to typo, which is no Service"),
        ("Namespace justai", lambda it: it["metadata"].pop("labels"), "no Namespace that enforces restricted pods"),
    ],
)  # fmt: skip
def test_a_fault_is_told(document: str, change: Change, fault: str) -> None:
    base, own = documents()
    change(own[document])

    assert list(check.faults(base, own.values())) == [fault]
