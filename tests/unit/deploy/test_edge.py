"""The edge must let through what gateway and console take, and not very much more."""

from typing import Any

import pytest

from deploy import check_edge as check

CADDY = """
    handle @hooks {
        request_body /api/generate/* {
            max_size 1MB
        }
        request_body /api/klaviyo-events/* {
            max_size 9MB
        }
    }
"""


def ingress(size: str | None, path: str) -> dict[str, Any]:
    return {
        "metadata": {"annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": size}} if size else {},
        "spec": {"rules": [{"http": {"paths": [{"path": path}]}}]},
    }


def test_what_we_ship_has_no_faults() -> None:
    assert list(check.faults()) == []


@pytest.mark.parametrize(
    ("was", "now", "fault"),
    [
        ("9MB", "1MB", "/api/klaviyo-events/ lets 1000000 bytes through, and 8388608 are taken"),
        ("9MB", "90MB", "/api/klaviyo-events/ lets 90000000 bytes through, of which 8388608 are taken"),
        ("/api/klaviyo-events/*", "", "/api/klaviyo-events/ has no limit of its own"),
    ],
)
def test_a_fault_of_the_caddyfile_is_told(was: str, now: str, fault: str) -> None:
    assert list(check.misfits(check.caddy_sizes(CADDY))) == []
    assert list(check.misfits(check.caddy_sizes(CADDY.replace(was, now)))) == [fault]


def test_ingresses_say_a_size_for_all_of_their_paths() -> None:
    sizes = check.ingress_sizes([ingress("1m", "/api/generate/"), ingress("9m", "/api/klaviyo-events/")])

    assert sizes == {"/api/generate/": 1 << 20, "/api/klaviyo-events/": 9 << 20}
    assert list(check.misfits(sizes)) == []


def test_an_ingress_to_the_console_lets_a_template_with_all_its_variants_through() -> None:
    hooks = [ingress("1m", "/api/generate/"), ingress("9m", "/api/klaviyo-events/")]

    def faults(size: str | None) -> list[str]:
        return list(check.misfits(check.ingress_sizes([*hooks, ingress(size, "/")]), check.TAKEN_BEHIND_NGINX))

    assert faults("5m") == []
    assert faults(None) == ["/ lets 1048576 bytes through, and 4194304 are taken"]
