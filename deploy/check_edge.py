"""Does the edge let through what gateway and console take? What it cuts off is answered 413 by something that none of
our documents speaks of, and Klaviyo does not send it again."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from services.console.api.routes import BODY_LIMIT_BYTES as OF_CONSOLE
from services.gateway.errors import BODY_LIMIT_BYTES
from services.gateway.hook_batches import MOST_BYTES

Document = dict[str, Any]

ROOT: Final = Path(__file__).parent
TAKEN: Final = {"/api/generate/": BODY_LIMIT_BYTES, "/api/klaviyo-events/": MOST_BYTES}
"""By path at the gateway: bytes of the largest body that it reads."""
TAKEN_BEHIND_NGINX: Final = TAKEN | {"/": OF_CONSOLE}
"""And of the console, which the edge of compose does not limit."""

_ROOM: Final = 4  # times that; more is nobody's, and would be carried in for nothing
_OF_CADDY: Final = re.compile(r"request_body (/\S+/)\* \{\s*max_size (\d+)MB\s*\}")
_OF_NGINX: Final = "nginx.ingress.kubernetes.io/proxy-body-size"
_NGINX_UNSAID: Final = "1m"  # what nginx has where an ingress says nothing
_NGINX_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def faults() -> Iterator[str]:
    """Of the edge of compose and of that on kubernetes."""
    ingresses = yaml.safe_load_all((ROOT / "k8s" / "overlays" / "production" / "ingress.yaml").read_text())
    yield from (f"Caddyfile: {fault}" for fault in misfits(caddy_sizes((ROOT / "edge" / "Caddyfile").read_text())))
    yield from (f"ingress.yaml: {fault}" for fault in misfits(ingress_sizes(ingresses), TAKEN_BEHIND_NGINX))


def misfits(let: Mapping[str, int], taken: Mapping[str, int] = TAKEN) -> Iterator[str]:
    """What does not fit in an edge that lets bodies of so many bytes through, by path."""
    for path, most in taken.items():
        if path not in let:
            yield f"{path} has no limit of its own"
        elif let[path] < most:
            yield f"{path} lets {let[path]} bytes through, and {most} are taken"
        elif let[path] > _ROOM * most:
            yield f"{path} lets {let[path]} bytes through, of which {most} are taken"


def caddy_sizes(text: str) -> dict[str, int]:
    """Bytes by path, as a Caddyfile has them; its MB are of ten."""
    return {path: int(size) * 10**6 for path, size in _OF_CADDY.findall(text)}


def ingress_sizes(documents: Iterable[Document]) -> dict[str, int]:
    """Bytes by path, as ingresses for nginx have them: one size for all paths of an ingress."""
    sizes: dict[str, int] = {}
    for one in documents:
        told = re.fullmatch(r"(\d+)([kmg]?)", one["metadata"].get("annotations", {}).get(_OF_NGINX, _NGINX_UNSAID))
        if told is not None:
            paths = [path["path"] for rule in one["spec"]["rules"] for path in rule["http"]["paths"]]
            sizes |= dict.fromkeys(paths, int(told[1]) * _NGINX_UNITS[told[2]])
    return sizes
