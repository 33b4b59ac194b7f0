"""What compose.yaml and the kubernetes manifests start: each command of ours with its whole environment.

Read from the files themselves, so that whoever starts these (tests, `make image-check`) meets a new service by itself.
Only what a machine gives is put in place of what a container would have: free ports, and folders for what is mounted.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parent
OURS: Final = re.compile(r"justai(-simulator)?(:.*)?")
SECRETS: Final = "/run/secrets/justai"  # where every manifest has them; checked by `check.py` for kubernetes
_PROBED: Final = re.compile(r"http://127\.0\.0\.1:(\d+)(/[\w/]*)")
_FALLBACK: Final = re.compile(r"\$\{\w+:-([^}]*)\}")

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Program:
    """`ready`: port and path that say that it can do its work; None: it does it and ends. `folders`: what is mounted,
    beside the secrets; `memory`: bytes that it may have."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    ready: tuple[int, str] | None
    folders: tuple[str, ...]
    memory: int

    @property
    def ports(self) -> list[int]:
        """Those that it listens on."""
        named = [int(port) for value in self.env.values() for port in re.findall(r"^0\.0\.0\.0:(\d+)$", value)]
        return sorted({*named, *([self.ready[0]] if self.ready else [])})

    def placed(self, ports: Mapping[int, int], folders: Mapping[str, str]) -> "Program":
        """On this machine: these ports in place of its own, on loopback, and these folders in place of its mounts."""
        swapped = [(re.compile(rf"0\.0\.0\.0:{port}$"), f"127.0.0.1:{here}") for port, here in ports.items()]
        swapped += [(re.compile(rf"^{port}$"), str(here)) for port, here in ports.items()]
        swapped += [(re.compile(r"^0\.0\.0\.0$"), "127.0.0.1")]
        swapped += [(re.compile(rf"(?<![\w/]){re.escape(one)}(?=/|$)"), here) for one, here in folders.items()]

        def put(text: str) -> str:
            for pattern, here in swapped:
                text = pattern.sub(here, text)
            return text

        ready = (ports[self.ready[0]], self.ready[1]) if self.ready else None
        env = {name: put(value) for name, value in self.env.items()}
        return Program(self.name, tuple(map(put, self.argv)), env, ready, self.folders, self.memory)


def of_compose(path: Path = ROOT / "compose.yaml") -> list[Program]:
    """The one that ends first, which all others wait for."""
    services: dict[str, Document] = yaml.safe_load(path.read_text())["services"]
    found = [_of_compose(name, one, path.parent) for name, one in services.items() if OURS.fullmatch(one["image"])]
    return sorted(found, key=lambda one: one.ready is not None)


def of_kubernetes(paths: Iterable[Path] = ()) -> list[Program]:
    """The same of the base's manifests."""
    paths = paths or sorted((ROOT / "k8s" / "base").glob("*.yaml"))
    documents = [one for path in paths for one in yaml.safe_load_all(path.read_text()) if one and "metadata" in one]
    maps = {one["metadata"]["name"]: one["data"] for one in config_maps(ROOT / "k8s" / "base")}
    found = [
        _of_container(container, one["spec"]["template"]["spec"], maps)
        for one in documents
        if one["kind"] in ("Deployment", "Job")
        for container in one["spec"]["template"]["spec"]["containers"]
        if OURS.fullmatch(container["image"])
    ]
    return sorted(found, key=lambda one: one.ready is not None)


def config_maps(folder: Path) -> list[Document]:
    """What a kustomization makes of its files of settings, but for the digest in the name."""
    made = yaml.safe_load((folder / "kustomization.yaml").read_text()).get("configMapGenerator", ())
    return [
        {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": one["name"]},
         "data": {key: value for file in one["envs"] for key, value in _lines(folder / file)}}
        for one in made
    ]  # fmt: skip


def environment(service: Document, folder: Path) -> dict[str, str]:
    """A compose service's variables, also those of the examples of its env files; `${NAME:-fallback}` is the latter."""
    named = service.get("env_file") or []
    files = [named] if isinstance(named, str) else [one if isinstance(one, str) else one["path"] for one in named]
    told = dict(line for file in files for line in _lines(folder / f"{file}.example"))
    own = service.get("environment") or {}
    return {**told, **{name: _FALLBACK.sub(r"\1", str(value)) for name, value in own.items()}}


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    for line in file.read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            yield name, value


def _of_compose(name: str, service: Document, folder: Path) -> Program:
    probed = _PROBED.search(str(service.get("healthcheck", {}).get("test", "")))
    mounts = [one["target"] if isinstance(one, dict) else one.split(":")[1] for one in service.get("volumes", ())]
    limit = service["deploy"]["resources"]["limits"]["memory"]
    return Program(
        name, _words(service["command"]), environment(service, folder),
        (int(probed[1]), probed[2]) if probed else None,
        tuple(one for one in mounts if one != SECRETS), _bytes(limit),
    )  # fmt: skip


def _of_container(container: Document, pod: Document, maps: Mapping[str, Document]) -> Program:
    told: Document = {}
    for one in container.get("envFrom", ()):
        told |= maps[one["configMapRef"]["name"]]
    told |= {one["name"]: one["value"] for one in container.get("env", ())}
    ports = {one["name"]: one["containerPort"] for one in container.get("ports", ())}
    probe = container.get("readinessProbe", {}).get("httpGet")
    mounts = [one["mountPath"] for one in container.get("volumeMounts", ())]
    return Program(
        container["name"], _words(container["command"]), {name: str(value) for name, value in told.items()},
        (ports[probe["port"]], probe["path"]) if probe else None,
        tuple(one for one in mounts if one not in (SECRETS, "/tmp")),  # noqa: S108  # where a pod has it
        _bytes(container["resources"]["limits"]["memory"]),
    )  # fmt: skip


def _words(command: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(shlex.split(command) if isinstance(command, str) else map(str, command))


def _bytes(limit: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([KMG])i?", limit).groups()  # type: ignore[union-attr]  # the schemas saw to it
    return int(number) << {"K": 10, "M": 20, "G": 30}[unit]
