"""What we ship of others is pinned, licensed as we allow, and listed as others can read it."""

import json
import re
from pathlib import Path

import pytest

from deploy.supply import (
    ASSETS,
    DEBIAN,
    LOCK,
    Audit,
    Part,
    assets,
    bill,
    debian,
    inside,
    is_allowed,
    licence_faults,
    licence_of,
    locked,
    read_audit,
    shipped,
)  # fmt: skip

ROOT = Path(__file__).parents[3]
DIGEST = "0" * 64


def test_everything_shipped_has_a_licence_on_the_list() -> None:
    """Which ones are allowed is a closed list."""
    parts = shipped()

    assert list(licence_faults(parts)) == []
    assert len(parts) > 60


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.stem)
def test_every_line_of_every_lock_is_pinned_by_digest_and_names_no_address(lock: Path) -> None:
    text = lock.read_text()

    assert locked(text)
    assert not re.search(r"://|--(?:extra-)?index-url|--find-links|--trusted-host|\bgit\+", text)


def test_the_assets_of_pages_are_pinned_and_come_from_no_address() -> None:
    document = json.loads(ASSETS.read_text())

    assert {part.name for part in assets(document)} == {"htmx.org", "uplot"}
    assert all(one["integrity"].startswith("sha512-") for path, one in document["packages"].items() if path)
    assert "resolved" not in ASSETS.read_text()


def test_what_is_installed_in_the_image_is_what_is_listed() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    installs = re.findall(r"pip install .*", dockerfile)

    assert installs
    for line in installs:
        assert "--require-hashes" in line, line
    assert "requirements/runtime.txt" in dockerfile


@pytest.mark.parametrize(
    "text", ["aiohttp>=3", "aiohttp==3.14.5", "-r other.txt", "aiohttp @ https://example.com/a.whl", "--index-url x"]
)
def test_a_line_that_pins_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not pinned"):
        locked(text)


def test_a_lock_says_who_needs_a_part() -> None:
    text = f"""\
a==1 ; python_full_version >= '3.12' \\
    --hash=sha256:{DIGEST}
    # via
    #   justai (pyproject.toml)
    #   b
b==2 \\
    --hash=sha256:{DIGEST}
    # via justai (pyproject.toml)
"""

    assert locked(text) == [
        Part("a", "1", (DIGEST,), ("justai (pyproject.toml)", "b"), "python_full_version >= '3.12'"),
        Part("b", "2", (DIGEST,), ("justai (pyproject.toml)",)),
    ]


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("EPL-2.0 OR GPL-2.0-or-later", True),  # we choose
        ("Apache-2.0 AND MIT", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("GPL-3.0-only", False),
        ("AGPL-3.0-only OR LicenseRef-Commercial", False),
        ("MIT AND GPL-2.0-only", False),
        ("MIT AND (GPL-2.0-only OR SSPL-1.0)", False),
        ("", False),
    ],
)
def test_of_an_or_one_is_enough_and_of_an_and_all_are_needed(expression: str, allowed: bool) -> None:
    assert is_allowed(expression) is allowed


def test_a_licence_that_nobody_tells_is_a_fault() -> None:
    part = Part("no-such-package-anywhere", "1", (DIGEST,), ())

    assert licence_of(part) is None
    [fault] = licence_faults([part])
    assert "no licence is told" in fault


def test_the_list_is_the_same_each_time_and_every_part_is_reached_from_us() -> None:
    """ASVS 5.0 V15.1.2: an inventory that others can read (CycloneDX)."""
    document = bill(shipped())
    refs = [one["bom-ref"] for one in document["components"]]

    assert document == bill(shipped())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", document["serialNumber"])
    assert len(set(refs)) == len(refs)
    needs = {one["ref"]: one["dependsOn"] for one in document["dependencies"]}
    reached, waiting = set[str](), [document["metadata"]["component"]["bom-ref"]]
    while waiting:
        ref = waiting.pop()
        waiting += [other for other in needs[ref] if other not in reached]
        reached.add(ref)
    assert set(refs) <= reached
    for one in document["components"]:
        assert one["hashes"]
        assert all(re.fullmatch(r"[0-9a-f]{64}|[0-9a-f]{128}", each["content"]) for each in one["hashes"])


def test_an_audit_that_was_not_answered_is_told_from_one_that_found_nothing() -> None:
    skipped = {"name": "a", "skip_reason": "not found"}
    clean = {"name": "b", "version": "1", "vulns": []}
    known = {"name": "c", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}

    assert read_audit(json.dumps({"dependencies": [skipped]})) == Audit(0, ())
    assert read_audit(json.dumps({"dependencies": [skipped, clean]})) == Audit(1, ())
    assert read_audit(json.dumps({"dependencies": [clean, known]})) == Audit(2, ("c 2: CVE-1, mended in 3",))


def test_the_lock_is_that_of_the_image() -> None:
    assert LOCK == ROOT / "requirements" / "runtime.txt"


STATUS = """\
Package: base-files
Status: install ok installed
Version: 12.4+deb12u14
Description: not read
 Status: deinstall

Package: gone
Status: deinstall ok config-files
Version: 1

Package: apt
Status: hold ok installed
Version: 2:2.6.1
"""


def test_the_list_of_an_image_names_what_is_installed_there_and_its_base() -> None:
    parts = [
        Part("a-b", "1", (DIGEST,), ()),
        Part("a-b", "2", (DIGEST,), ()),
        Part("js", "3", (DIGEST,), (), kind="npm"),
    ]

    there = inside(parts, {"a-b": "2"}, debian(STATUS))

    assert [part.purl for part in there] == [
        "pkg:pypi/a-b@2", "pkg:npm/js@3", "pkg:deb/debian/apt@2%3A2.6.1", "pkg:deb/debian/base-files@12.4%2Bdeb12u14",
    ]  # fmt: skip
    listed = {one["purl"]: one for one in bill(there)["components"]}
    assert "hashes" not in listed["pkg:deb/debian/apt@2%3A2.6.1"]
    assert licence_of(Part("mypy", "1", (), (), kind=DEBIAN)) is None  # not that of a Python package of that name


def test_what_is_installed_and_not_locked_stops_the_build() -> None:
    with pytest.raises(ValueError, match="installed, and not in the lock: c 1"):
        inside([Part("a", "1", (DIGEST,), ())], {"a": "1", "c": "1"}, [])
