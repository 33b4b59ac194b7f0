"""The edge must wait for the gateway's own answer, and pass by one that hangs before Klaviyo gets a 504."""

from typing import Any

import pytest

from deploy import check_waits as check

OF_NGINX = "nginx.ingress.kubernetes.io/proxy-"
CADDY = """
    reverse_proxy gateway:8080 {
        transport http {
            response_header_timeout 30s
            keepalive 60s
        }
    }
    reverse_proxy console:8081 {
        transport http {
            keepalive 60s
        }
    }
    handle_errors {
        @hangs expression {err.status_code} == 504
        header @hangs Retry-After 5
        respond @hangs 503
    }
"""
WEBHOOKS = {
    "read-timeout": "12", "next-upstream": "error timeout non_idempotent", "next-upstream-tries": "2",
    "next-upstream-timeout": "17",
}  # fmt: skip
BATCHES = WEBHOOKS | {"read-timeout": "30", "next-upstream-timeout": "35"}
A_MINUTE = "waits 60 s for an answer that takes 6.8 s at most"
ONE_POD = "asks no other pod: non_idempotent is not said"
TWO_MINUTES = "keeps idle connections 120 s, and we close them after 75"
TOO_CLOSE = "keeps idle connections 70 s, and we close them after 75"
TOO_LATE = "asks another pod until 17 s are over, and the first one may take 18"


def ingress(said: dict[str, str], path: str) -> dict[str, Any]:
    return {
        "metadata": {"annotations": {OF_NGINX + name: value for name, value in said.items()}},
        "spec": {"rules": [{"http": {"paths": [{"path": path}]}}]},
    }


def faults_of(webhooks: dict[str, str]) -> list[str]:
    batches = ingress(BATCHES, "/api/klaviyo-events/")
    return list(check.of_ingresses([ingress(webhooks, "/api/generate/"), batches]))


def test_what_we_ship_has_no_faults() -> None:
    assert list(check.faults()) == []


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"read-timeout": "60", "next-upstream-timeout": "65"}, A_MINUTE),
        ({"read-timeout": "6"}, "waits 6 s for an answer that takes 6.8 s at most"),
        ({"next-upstream": "error timeout"}, ONE_POD),
        ({"next-upstream-tries": "1"}, "tries 1 pods; two are enough to pass by one that hangs"),
        ({"read-timeout": "13"}, TOO_LATE),
    ],
)
def test_a_fault_of_an_ingress_is_told(said: dict[str, str], fault: str) -> None:
    assert faults_of(WEBHOOKS) == []
    assert faults_of(WEBHOOKS | said) == [f"/api/generate/ {fault}"]


def test_an_ingress_that_says_nothing_waits_a_minute_and_asks_one_pod() -> None:
    faults = faults_of({})

    assert {f"/api/generate/ {one}" for one in (A_MINUTE, ONE_POD)} <= {*faults}


@pytest.mark.parametrize(
    ("was", "now", "fault"),
    [
        ("response_header_timeout 30s", "", "waits 0 s for an answer that takes 20 s at most"),
        ("30s", "300s", "waits 300 s for an answer that takes 20 s at most"),
        ("respond @hangs 503", "respond @hangs 504", "a 504 is not made a 503"),
        ("== 504", "== 502", "a 504 is not made a 503"),
        ("30s\n            keepalive 60s", "30s", f"gateway:8080 {TWO_MINUTES}"),
        ("console:8081 {", "console:8081\n    {", f"console:8081 {TWO_MINUTES}"),
        ("30s\n            keepalive 60s", "30s\n            keepalive 70s", f"gateway:8080 {TOO_CLOSE}"),
    ],
)
def test_a_fault_of_the_caddyfile_is_told(was: str, now: str, fault: str) -> None:
    assert list(check.of_caddy(CADDY)) == []
    assert list(check.of_caddy(CADDY.replace(was, now))) == [fault]


def test_nginx_keeps_a_connection_for_less_long_than_we_do_and_not_for_longer() -> None:
    assert list(check.kept_too_long(60)) == []
    assert list(check.kept_too_long(60, ours_s=15)) == ["keeps idle connections 60 s, and we close them after 15"]
