"""The quickstarts name what exists: targets, files, services, commands."""

import json
import os
import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import click
import pytest
import yaml

from deploy.check import ROOT as DEPLOY
from deploy.generate_env import required_secrets
from devstack import Endpoints
from devstack.given import env_lines
from tests.unit.docs.pages import resolve

ROOT = DEPLOY.parent
TEXT = (ROOT / "docs" / "install.md").read_text()


def lines() -> list[str]:
    """The commands of all code blocks, and those within sentences that are `make` or `justai`."""
    blocks = re.findall(r"^```\n(.*?)^```", re.sub(r"^```\w+\n.*?^```\n", "", TEXT, flags=re.DOTALL | re.MULTILINE),
                        re.DOTALL | re.MULTILINE)  # fmt: skip
    inline = [found for found in re.findall(r"`([^`\n]+)`", TEXT) if found.startswith(("make ", "justai "))]
    return [line for block in blocks for line in block.splitlines()] + inline


def services() -> set[str]:
    return set(yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"])


def check_justai(words: list[str]) -> None:
    command, rest = resolve(words)
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert not isinstance(command, click.Group) or rest == ["--help"], words
    assert {word for word in rest if word.startswith("--")} <= known, words


def test_there_are_commands_of_all_three_ways() -> None:
    first = {line.split()[0] for line in lines()}
    assert {"make", "docker", "cp", "kubectl", "justai"} <= first


@pytest.mark.parametrize("line", lines())
def test_a_command_names_what_exists(line: str) -> None:
    words = shlex.split(line)
    match words:
        case ["make", target, *_]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        case ["cp", source, _]:
            assert (ROOT / source).is_file()
        case [script] if script.startswith("deploy/"):
            assert os.access(ROOT / script, os.X_OK)
        case ["docker", "build", *_]:
            assert (ROOT / words[words.index("--file") + 1]).is_file()
        case ["docker", "run", "--rm", image, "justai", *rest]:
            assert f"--tag {image} " in TEXT
            check_justai(rest)
        case ["docker", "compose", "-f", file, verb, *rest]:
            assert (ROOT / file).is_file()
            assert verb in {"build", "run", "up", "exec"}
            if verb in {"run", "exec"}:
                at = rest.index("justai")
                assert rest[at - 1] in services()
                check_justai(rest[at + 1 :])
        case ["kubectl", "apply", *_]:
            named = words[words.index("--filename" if "--filename" in words else "--kustomize") + 1]
            assert named == "secret.yaml" or (ROOT / named).exists()
        case ["kubectl", "exec" | "wait" as verb, *_]:
            [named] = [word.partition("/")[2] for word in words if word.startswith(("deployment/", "job/"))]
            assert (DEPLOY / "k8s" / "base" / f"{named}.yaml").is_file()
            if verb == "exec":
                check_justai(words[words.index("--") + 2 :])
        case ["justai" | ".venv/bin/justai", *rest]:
            check_justai(rest)
        case [".venv/bin/python", "-m", module]:
            assert (ROOT / module.replace(".", "/") / "__main__.py").is_file()
        case ["set", "-a;", ".", ".run/devstack.env;", "set", "+a"]:
            assert 'RUN / "devstack.env"' in (ROOT / "devstack" / "__main__.py").read_text()
        case ["CREATE", "ROLE" | "DATABASE", "justai", *_]:
            pass  # tests/component/shared/test_login.py migrates with these rights
        case ["export", *_]:
            served = {
                one.partition("=")[0] for one in env_lines(Endpoints(database_url="x", amqp_url="y")).splitlines()
            }
            told = set(re.findall(r"(JUSTAI_\w+)=", line))
            assert told == required_secrets() - served
            for given in re.findall(r"\$\(\S*/justai ([^)]+)\)", line):
                check_justai(given.split())
        case _:
            pytest.fail(f"nobody checks {line!r}")


def test_the_ports_that_the_page_names_are_those_that_are_open() -> None:
    policies = list(yaml.safe_load_all((DEPLOY / "k8s" / "base" / "network.yaml").read_text()))
    rules = [rule for one in policies for rule in one["spec"].get("egress", ())]
    table = TEXT.partition("| who | to ports | for |")[2].partition("\n\n")[0]
    told = [ports for _, _, ports, *_ in (row.split("|") for row in table.splitlines()[2:])]

    assert {port for said in told for port in re.findall(r"\d+", said)} == {
        str(one["port"]) for rule in rules for one in rule["ports"]
    }


def test_the_bucket_that_the_page_exports_to_is_made_by_the_server_that_comes_along(tmp_path: Path) -> None:
    subprocess.run(["sh", DEPLOY / "make-secrets.sh", tmp_path], check=True, capture_output=True)
    [who] = json.loads((tmp_path / "servers" / "s3.json").read_text())["identities"]
    command = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["s3"]["command"]
    [words] = [line.split() for line in lines() if "export target" in line]
    said = dict(pairwise(words))

    assert f"-bucket={said['--bucket']}" in command
    assert said["--endpoint-url"] in [f"http://s3:{one.partition('=')[2]}" for one in command if "-s3.port=" in one]
    assert said["--access-key"] == who["credentials"][0]["accessKey"]


def test_the_image_is_called_as_the_manifests_call_it() -> None:
    [image] = yaml.safe_load((DEPLOY / "k8s" / "base" / "kustomization.yaml").read_text())["images"]

    assert f"docker build --file deploy/Dockerfile --tag {image['name']}:{image['newTag']} ." in TEXT


def test_the_image_has_the_command_line() -> None:
    assert "deploy/justai /usr/local/bin/justai" in (DEPLOY / "Dockerfile").read_text()
    assert 'python -m cli "$@"' in Path(DEPLOY / "justai").read_text()
