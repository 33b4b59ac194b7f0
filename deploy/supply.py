"""`make audit`: what we ship of others, under which licences, and whether a fault of it is known.

The lock file (`requirements/runtime.txt`) and npm's lock of the console's assets say what is shipped; the licences come
from the metadata of what is installed. The list of it all is CycloneDX 1.6. Known faults are asked for of the Python
Package Index by pip-audit, of an environment of its own; where the index does not answer, that is said and is no fault.

`--of-image FILE` writes the list of the image that is being built: what is installed there, and the base's packages.
"""

import base64
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.markers import Marker

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = ROOT / "requirements" / "runtime.txt"
ASSETS: Final = ROOT / "services" / "console" / "assets" / "package-lock.json"
OUT: Final = ROOT / "dist"
AUDITOR: Final = ROOT / ".venv-audit" / "bin" / "pip-audit"
BASE: Final = Path("/var/lib/dpkg/status")
DEBIAN: Final = "deb/debian"

ALLOWED: Final = frozenset({
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "PSF-2.0", "Zlib",
    # Of these, changed files of theirs would have to be shown; we change none.
    "MPL-2.0", "EPL-2.0",
})  # fmt: skip
"""The closed list. Whatever is not on it is looked at by a person first."""

SAID: Final[Mapping[str, str]] = {
    # Packages whose metadata say it in words, or not at all. Each was read in the package itself.
    "aiosignal": "Apache-2.0",
    "babel": "BSD-3-Clause",
    "htmx.org": "0BSD",  # its lock calls it by an older name
    "jinja2": "BSD-3-Clause",
    "mrml": "MIT",  # by the list of parts that it carries
    "protobuf": "BSD-3-Clause",
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "segno": "BSD-3-Clause",
    "uvloop": "MIT OR Apache-2.0",
}
CLASSIFIERS: Final = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
_PINNED: Final = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(\S+?)(?:\s*;\s*(.+?))?\s*\\?")


@dataclass(frozen=True)
class Part:
    """Something of others. `digests`: SHA-256 of each file that may be installed for it; `needed_by`: names."""

    name: str
    version: str
    digests: tuple[str, ...]
    needed_by: tuple[str, ...]
    marker: str = ""
    kind: str = "pypi"
    licence: str = ""

    @property
    def purl(self) -> str:
        return f"pkg:{self.kind}/{self.name}@{quote(self.version, safe='')}"

    @property
    def is_for_here(self) -> bool:
        """Whether it is installed on this machine; another Python may take another version."""
        return not self.marker or Marker(self.marker).evaluate()


# --- what is shipped -------------------------------------------------------------------------------------------------


def locked(text: str) -> list[Part]:
    """The parts of a lock file. Raises ValueError for a line that pins nothing, or nothing by a digest."""
    parts: list[Part] = []
    for block in re.split(r"\n(?=\S)", text.strip()):
        first, *rest = block.split("\n")
        found = _PINNED.fullmatch(first)
        digests = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", block))
        if found is None or not digests:
            raise ValueError(f"{first!r} is not pinned to a version and digests")
        needed = [line.strip(" #") for line in rest if line.lstrip().startswith("#")]
        names = tuple(one.removeprefix("via").strip() for one in needed if one not in ("via", ""))
        parts.append(Part(found[1].lower(), found[2], digests, names, (found[3] or "").rstrip(" \\")))
    return parts


def assets(document: Mapping[str, Any]) -> list[Part]:
    """What the console's pages load, of npm's lock; without what only tests take."""
    return [
        Part(
            path.rpartition("node_modules/")[2], one["version"],
            (base64.b64decode(one["integrity"].removeprefix("sha512-")).hex(),), ("justai",), kind="npm",
            licence=one.get("license", ""),
        )
        for path, one in document["packages"].items()
        if path and not one.get("dev")
    ]  # fmt: skip


def shipped() -> list[Part]:
    """All of it."""
    return locked(LOCK.read_text()) + assets(json.loads(ASSETS.read_text()))


def debian(status: str) -> list[Part]:
    """The installed packages, of dpkg's file of them."""
    parts: list[Part] = []
    for block in status.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Status): (.+)$", block, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            parts.append(Part(fields["Package"], fields["Version"], (), ("justai",), kind=DEBIAN))
    return sorted(parts, key=lambda part: part.name)


def inside(parts: Sequence[Part], installed: Mapping[str, str], base: Sequence[Part]) -> list[Part]:
    """Of the locked parts those that are installed (versions by names), with the base's. Raises ValueError for what is
    installed and not locked."""
    by_name = {(_plain(part.name), part.version): part for part in parts if part.kind == "pypi"}
    if foreign := sorted(f"{name} {version}" for name, version in installed.items() if (name, version) not in by_name):
        raise ValueError(f"installed, and not in the lock: {', '.join(foreign)}")
    here = [by_name[one] for one in sorted(installed.items())]
    return here + [part for part in parts if part.kind != "pypi"] + list(base)


def installed_here() -> dict[str, str]:
    """Versions by names, of this Python's own folder: not of what lies on its path besides."""
    folder = str(Path(sys.prefix) / "lib")
    found = [one for one in importlib.metadata.distributions() if str(one.locate_file("")).startswith(folder)]
    return {_plain(one.metadata["Name"]): one.version for one in found}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# --- licences --------------------------------------------------------------------------------------------------------


def licence_of(part: Part) -> str | None:
    """As an SPDX expression; None where nobody says."""
    if part.kind == DEBIAN:
        return None  # each package has its own /usr/share/doc/<name>/copyright
    if part.name in SAID:
        return SAID[part.name]
    if part.licence:
        return _spdx(part.licence)
    try:
        metadata = importlib.metadata.metadata(part.name)
    except importlib.metadata.PackageNotFoundError:
        return None
    for said in (*(metadata.get_all("License-Expression") or ()), *(metadata.get_all("License") or ())):
        if expression := _spdx(said):
            return expression
    named = [one.rpartition(" :: ")[2] for one in metadata.get_all("Classifier") or () if one.startswith("License ::")]
    return CLASSIFIERS.get(named[0]) if len(named) == 1 else None


def _spdx(said: str) -> str | None:
    try:
        return str(canonicalize_license_expression(said))
    except InvalidLicenseExpression:
        return {"Apache 2.0": "Apache-2.0", "MIT License": "MIT"}.get(said.strip())


def is_allowed(expression: str) -> bool:
    """One of every OR, all of every AND; there are no brackets in what we ship."""
    if "(" in expression:
        inner = re.sub(r"\(([^()]*)\)", lambda found: "MIT" if is_allowed(found[1]) else "Refused", expression)
        return inner != expression and is_allowed(inner)
    return any(all(one.strip() in ALLOWED for one in several.split(" AND ")) for several in expression.split(" OR "))


def licence_faults(parts: Sequence[Part]) -> Iterator[str]:
    """Each part whose licence nobody says, or that is not on the list."""
    for part in parts:
        if part.is_for_here:
            expression = licence_of(part)
            if expression is None:
                yield f"{part.name} {part.version}: no licence is told; read it, then say it in deploy/supply.py"
            elif not is_allowed(expression):
                yield f"{part.name} {part.version}: {expression} is not on the list in deploy/supply.py"


# --- the list of parts -----------------------------------------------------------------------------------------------


def bill(parts: Sequence[Part]) -> dict[str, Any]:
    """CycloneDX 1.6. The same parts give the same document: there is no time in it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    ours = f"pkg:generic/justai@{version}"
    by_name = {part.name: part.purl for part in parts if part.is_for_here}
    needs: dict[str, list[str]] = {ours: [], **{part.purl: [] for part in parts}}
    for part in parts:
        for name in part.needed_by:
            needs.get(ours if name.startswith("justai") else by_name.get(name, ""), []).append(part.purl)
    content = "".join(f"{part.purl}{part.digests}" for part in parts)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, ours + content)}",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": ours, "name": "justai", "version": version}},
        "components": [_component(part) for part in parts],
        "dependencies": [{"ref": ref, "dependsOn": sorted(set(others))} for ref, others in sorted(needs.items())],
    }


def _component(part: Part) -> dict[str, Any]:
    expression = licence_of(part)
    algorithm = "SHA-512" if part.kind == "npm" else "SHA-256"
    return {
        "type": "library",
        "bom-ref": part.purl,
        "name": part.name,
        "version": part.version,
        "purl": part.purl,
        **(
            {"hashes": [{"alg": algorithm, "content": digest} for digest in sorted(set(part.digests))]}
            if part.digests
            else {}
        ),
        **({"licenses": [{"expression": expression}]} if expression else {}),
    }


# --- known faults ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Audit:
    """`asked`: about how many parts there was an answer; `faults`: one line each."""

    asked: int
    faults: tuple[str, ...]


def read_audit(text: str) -> Audit:
    """What pip-audit says, as JSON."""
    found = json.loads(text)["dependencies"]
    faults = [
        f"{one['name']} {one['version']}: {known['id']}, mended in {', '.join(known['fix_versions']) or 'none yet'}"
        for one in found
        for known in one.get("vulns", ())
    ]
    return Audit(sum("skip_reason" not in one for one in found), tuple(faults))


def audit() -> Audit | None:
    """None: it cannot be asked here."""
    command = [
        str(AUDITOR), "--requirement", str(LOCK), "--require-hashes", "--disable-pip", "--no-deps",
        "--format", "json", "--progress-spinner", "off", "--timeout", "5",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603  # ours
        return read_audit(done.stdout)
    # Without a network it ends with words in place of JSON.
    except (FileNotFoundError, subprocess.TimeoutExpired, ValueError, KeyError):
        return None


def of_image(target: Path) -> None:
    """Write the list of the image that this runs in."""
    base = debian(BASE.read_text()) if BASE.exists() else []
    target.write_text(json.dumps(bill(inside(shipped(), installed_here(), base)), indent=2) + "\n")


def main() -> int:
    """Write both lists below dist/, print one line per check; 1 when any finds a fault."""
    match sys.argv[1:]:
        case ["--of-image", target]:
            of_image(Path(target))
            return 0
    parts = shipped()
    OUT.mkdir(exist_ok=True)
    (OUT / "sbom.json").write_text(json.dumps(bill(parts), indent=2) + "\n")
    lines = [f"{part.name} {part.version}  {licence_of(part) or '?'}" for part in parts if part.is_for_here]
    (OUT / "licences.txt").write_text("\n".join(lines) + "\n")
    faults = list(licence_faults(parts))
    _print(f"{len(parts)} parts, each pinned by digest: dist/sbom.json, dist/licences.txt")
    known = audit()
    if known is None or known.asked == 0:
        _print("known faults: not asked, the auditor is not here or its index does not answer")
    else:
        _print(f"known faults: asked for {known.asked} parts")
        faults += known.faults
    for fault in faults:
        _print(f"FAULT {fault}")
    return 1 if faults else 0


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    raise SystemExit(main())
