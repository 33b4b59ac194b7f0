"""Does the edge wait for the gateway as it should? One that hangs becomes a 504 there, and while Klaviyo repeats a
webhook after 503, it may skip the person for ever after 504. And who of the two gives idle connections up first?"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from services.gateway.coalescer import DEFAULT_LIMITS
from services.gateway.hook_store import TIMEOUT_S
from services.gateway.store import LOOK_UP_TIMEOUT_S
from shared.unreadable import KEEPALIVE_S

Document = dict[str, Any]

ROOT: Final = Path(__file__).parent
TAKES_S: Final = {
    "/api/generate/": LOOK_UP_TIMEOUT_S + 2 * DEFAULT_LIMITS.wait_s,
    "/api/klaviyo-events/": 2 * TIMEOUT_S,
}
"""By path at the gateway: how long it takes at most until it answers 503 itself. Without the time that the body takes:
nginx (`proxy-read-timeout`) and Caddy count from the moment at which they have written all of it."""

_ROOM: Final = 2  # times that; whoever has not answered by then hangs
_OF_NGINX: Final = "nginx.ingress.kubernetes.io/"
_TRIED_AFTER: Final = ("error", "timeout", "non_idempotent")
_CONNECT_S: Final = 5  # what nginx waits for a connection
_HEADER_OF_CADDY: Final = re.compile(r"response_header_timeout (\d+)s\b")
_KEPT_BY_NGINX_S: Final = 60  # `upstream-keepalive-timeout`, which is the controller's own and no annotation
_UNSAID_BY_CADDY_S: Final = 120
_APART_S: Final = 10  # a busy loop and a slow line may take that
_PROXIES_OF_CADDY: Final = re.compile(r"reverse_proxy (\S+)(?: \{\s*transport http \{([^}]*)\})?")
_KEPT_BY_CADDY: Final = re.compile(r"^\s*keepalive (\d+)s\b", re.MULTILINE)
_HEALED_BY_CADDY: Final = re.compile(r"(@\w+) expression \{err\.status_code\} == 504\b.*?respond \1 503\b", re.DOTALL)


def faults() -> Iterator[str]:
    """Of the edge of compose and of that on kubernetes."""
    ingresses = yaml.safe_load_all((ROOT / "k8s" / "overlays" / "production" / "ingress.yaml").read_text())
    yield from (f"Caddyfile: {fault}" for fault in of_caddy((ROOT / "edge" / "Caddyfile").read_text()))
    yield from (f"ingress.yaml: {fault}" for fault in of_ingresses(ingresses))


def of_caddy(text: str) -> Iterator[str]:
    """One time for both paths, since there is one gateway; its 504 is made a 503."""
    waits = {int(said) for said in _HEADER_OF_CADDY.findall(text)}
    yield from _misfits(min(waits, default=0), max(TAKES_S.values()))
    if not _HEALED_BY_CADDY.search(text):
        yield "a 504 is not made a 503"
    for to, transport in _PROXIES_OF_CADDY.findall(text):
        kept = _KEPT_BY_CADDY.search(transport)
        yield from (f"{to} {fault}" for fault in kept_too_long(int(kept[1]) if kept else _UNSAID_BY_CADDY_S))


def of_ingresses(documents: Iterable[Document]) -> Iterator[str]:
    """By path, as ingresses for nginx have them."""
    yield from kept_too_long(_KEPT_BY_NGINX_S)
    said = {
        path["path"]: one["metadata"].get("annotations", {})
        for one in documents for rule in one["spec"]["rules"] for path in rule["http"]["paths"]
    }  # fmt: skip
    for path, takes_s in TAKES_S.items():
        yield from (f"{path} {fault}" for fault in _of_ingress(said.get(path, {}), takes_s))


def _of_ingress(said: Mapping[str, str], takes_s: float) -> Iterator[str]:
    """Where nothing is said, nginx waits a minute and asks no other pod, since a webhook is a POST."""
    wait_s = int(said.get(f"{_OF_NGINX}proxy-read-timeout", 60))
    yield from _misfits(wait_s, takes_s)
    after = said.get(f"{_OF_NGINX}proxy-next-upstream", "error timeout").split()
    yield from (f"asks no other pod: {one} is not said" for one in _TRIED_AFTER if one not in after)
    tries = int(said.get(f"{_OF_NGINX}proxy-next-upstream-tries", 3))
    if tries != 2:
        yield f"tries {tries} pods; two are enough to pass by one that hangs"
    until_s = int(said.get(f"{_OF_NGINX}proxy-next-upstream-timeout", 0))
    if until_s < wait_s + _CONNECT_S:
        yield f"asks another pod until {until_s} s are over, and the first one may take {wait_s + _CONNECT_S}"


def kept_too_long(proxy_s: int, ours_s: float = KEEPALIVE_S) -> Iterator[str]:
    """Where whoever stands in front keeps idle connections so long, and gateway and console keep them `ours_s`."""
    if proxy_s + _APART_S > ours_s:
        yield f"keeps idle connections {proxy_s} s, and we close them after {ours_s:g}"


def _misfits(wait_s: int, takes_s: float) -> Iterator[str]:
    if not takes_s < wait_s <= _ROOM * takes_s:
        yield f"waits {wait_s} s for an answer that takes {takes_s:g} s at most"
