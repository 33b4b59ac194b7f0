"""What should not be in an image is seen, and what is taken out of it is not called by our code."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy import image_check as check
from deploy.check import ROOT as DEPLOY
from deploy.programs import SECRETS, of_compose, of_kubernetes

ROOT = DEPLOY.parent
SITE = "opt/justai/lib/python3.11/site-packages"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The root of one that is well."""
    for folder in ("app/cli", "app/services", "app/shared", "bin", "tmp", "usr/share/justai", SITE):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "tmp").chmod(0o1777)
    (tmp_path / "bin" / "sh").touch(mode=0o755)
    (tmp_path / SITE / "zope.interface-2.0.dist-info").mkdir()
    (tmp_path / SITE / "aio_pika-1.dist-info").mkdir()
    listed = ("pkg:pypi/zope.interface@2.0", "pkg:pypi/aio-pika@1", "pkg:npm/x@1", "pkg:deb/debian/dash@1")
    document = {"components": [{"purl": one} for one in listed]}
    (tmp_path / "usr/share/justai/sbom.json").write_text(json.dumps(document))
    return tmp_path


def touch(name: str, mode: int = 0o644) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
        (root / name).chmod(mode)

    return make


def test_a_good_one_has_no_faults(image: Path) -> None:
    assert [*check.file_faults(image), *check.bill_faults(image)] == []


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (touch("usr/bin/su", 0o4755), "/usr/bin/su lends its owner's rights"),
        (touch("etc/open", 0o666), "/etc/open can be written by the image's user"),
        (touch("usr/bin/pip3", 0o755), "/usr/bin/pip3 is a tool that nobody runs there"),
        (touch("usr/bin/gcc", 0o755), "/usr/bin/gcc is a tool that nobody runs there"),
        (touch(f"{SITE}/pip/__init__.py"), f"/{SITE}/pip installs or builds"),
        (touch("app/tests/x.py"), "/app/tests is no program of ours"),
        (lambda root: (root / SITE / "new-3.dist-info").mkdir(), "pkg:pypi/new@3 is installed, and not listed"),
        (lambda root: (root / SITE / "aio_pika-1.dist-info").rmdir(),
         "2 parts of Python's are listed, and 1 are installed"),
        (lambda root: (root / "usr/share/justai/sbom.json").unlink(), "there is no /usr/share/justai/sbom.json"),
    ],
)  # fmt: skip
def test_a_fault_is_told(image: Path, make: Callable[[Path], None], fault: str) -> None:
    make(image)

    assert fault in [*check.file_faults(image), *check.bill_faults(image)]


def test_what_our_code_calls_of_aws_is_kept() -> None:
    code = "".join(path.read_text() for folder in ("services", "shared") for path in (ROOT / folder).rglob("*.py"))
    called = set(re.findall(r'create_client,?\s*\(?\s*"(\w+)"', code))
    [kept] = re.findall(r"^keep='(.*)'$", (DEPLOY / "slim.sh").read_text(), re.MULTILINE)

    assert code.count("create_client") == 4  # a new one: does slim.sh keep what it calls?
    assert called <= set(kept.split()) == {"s3", "sts", "kms"}


def test_what_the_build_reads_is_let_into_it() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source.rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE)
        for source in line.split()[:-1]
        if not source.startswith("--")
    }

    assert all((ROOT / source).exists() for source in copied)
    assert [
        one for one in sorted(copied) if not any(one == each or one.startswith(f"{each}/") for each in let_in)
    ] == []


def test_a_program_is_read_with_all_that_it_is_started_with() -> None:
    both = {"compose": of_compose(), "kubernetes": of_kubernetes()}
    for read in both.values():
        assert [one.name for one in read if one.ready is None] == ["migrate"]
        for one in read:
            if one.name != "simulator":
                assert one.env["JUSTAI_SECRETS_DIR"] == SECRETS
    of_ours = {name: {one.name.replace("-", "_") for one in read} for name, read in both.items()}
    assert of_ours["compose"] - of_ours["kubernetes"] == {"simulator"}


def test_a_program_is_placed_on_free_ports_and_given_folders() -> None:
    [one] = [one for one in of_compose() if one.name == "ingest"]

    here = one.placed({9100: 5001}, {"/spool": "/a/spool", "/dropped": "/a/dropped", SECRETS: "/a/secrets"})

    assert here.ready == (5001, "/readyz")
    assert here.env["JUSTAI_HEALTH_LISTEN"] == "127.0.0.1:5001"
    assert here.env["JUSTAI_INGEST_SPOOL_DIR"] == "/a/spool"
    assert here.env["JUSTAI_SEAL_KEYS"] == "file:/a/secrets/seal-ring"
