"""What the pages tell people to type, and what they name, is there."""

import re
from pathlib import Path

import click
import orjson
import pytest
import yaml

from cli import reference
from shared import metrics
from tests.unit.docs.pages import ROOT, anchors, code, name_of, pages, resolve, text_of, typed

every_page = pytest.mark.parametrize("page", pages(), ids=name_of)
OF_OTHERS = {"venv", "pip", "pytest"}
WITH_VALUE = {"--since", "--user", "--volume"}
"""Options of compose that are followed by one."""
MADE_OR_THEIRS = (
    "deploy/secrets",
    "deploy/.env",
    "deploy/env/justai.env",
    "bench/results/",
    "dist/",
    "services/console/static/",
)
"""Folders and files that commands make, or that the reader does."""


def test_pages_have_commands_to_be_checked() -> None:
    assert sum(len(list(typed(text_of(page), "justai"))) for page in pages()) > 200
    assert sum(len(list(typed(text_of(page), "make"))) for page in pages()) > 40


@every_page
def test_every_justai_command_exists_with_its_options(page: Path) -> None:
    for words in typed(text_of(page), "justai"):
        command, rest = resolve(words)
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        said = {found for word in rest for found in re.findall(r"^\[?(--[a-z][a-z-]*)", word)}
        is_group = isinstance(command, click.Group)
        assert not is_group or not [word for word in rest if word[0].isalpha()], f"justai {' '.join(words)}"
        assert said <= known | {"--help"}, f"justai {' '.join(words)}"


@every_page
def test_a_justai_command_that_is_whole_says_what_it_cannot_do_without(page: Path) -> None:
    for words in typed(text_of(page), "justai"):
        command, rest = resolve(words)
        needed = [one for one in command.params if one.required]
        arguments = [one for one in needed if isinstance(one, click.Argument)]
        given = [word for word in rest if not word.startswith(("-", "["))]
        if "…" in rest or not given or len(given) < len(arguments):
            continue  # named, not typed
        said = {word.lstrip("[").partition("=")[0] for word in rest}
        lacks = [one.opts[0] for one in needed if isinstance(one, click.Option) and not said & {*one.opts}]
        assert lacks == [], f"justai {' '.join(words)}"


@every_page
def test_every_command_of_compose_names_its_file_and_services_that_exist(page: Path) -> None:
    known = yaml.safe_load(text_of(ROOT / "deploy" / "compose.yaml"))["services"]
    for said in code(text_of(page)):
        for line in re.findall(r"docker compose (.+)", said):
            flag, file, *given = re.split(r" [|<>] ", line)[0].split()
            assert (flag, file) == ("-f", "deploy/compose.yaml"), line
            while given[0] == "--profile":
                given = given[2:]
            verb, named = given[0], [word for word in after_options(given[1:]) if word not in ("SERVICE", "…")]
            if verb in {"exec", "run"}:
                named = named[:1]
            assert verb in {"build", "exec", "logs", "run", "stop", "up"}, line
            assert set(named) <= known.keys(), line


def after_options(words: list[str]) -> list[str]:
    """What is left of words without options and their values."""
    pairs = zip(["", *words], words, strict=False)
    return [word for before, word in pairs if not word.startswith("-") and before not in WITH_VALUE]


@every_page
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))

    assert {words[0] for words in typed(text_of(page), "make")} <= targets


@every_page
def test_every_program_of_python_exists(page: Path) -> None:
    for said in code(text_of(page)):
        for name in re.findall(r"python -m ([\w.]+)", said):
            at = ROOT.joinpath(*name.split("."))
            assert name in OF_OTHERS or at.with_suffix(".py").exists() or (at / "__main__.py").exists(), name


@every_page
def test_every_setting_exists_and_has_its_whole_name(page: Path) -> None:
    known = set(re.findall(r"`JUSTAI_(\w+)`", reference.configuration())) | {"SECRETS_DIR"}
    of_services = "|".join((*(name.upper() for name in reference.SERVICES), "WRITER", "LLM"))

    whole = re.findall(r"\bJUSTAI_(\w*[A-Z0-9])(?![\w*…])", text_of(page))
    assert set(whole) <= known
    assert re.findall(rf"(?<![A-Z_])(?:{of_services})_[A-Z_]+", text_of(page)) == []


@every_page
def test_every_metric_exists(page: Path) -> None:
    names = {f"jai_{name}" for name in metrics.names()}
    properties = {f"jai_{name}" for name in ("subject", "preheader", "body", "for", "generation", "person")}
    said = set(re.findall(r"\bjai_[a-z0-9_]*[a-z0-9]\b", text_of(page)))

    assert {re.sub(r"_(bucket|sum|count)$", "", one) for one in said} <= names | properties


@every_page
def test_every_health_path_exists(page: Path) -> None:
    said = {found for one in code(text_of(page)) for found in re.findall(r"/([a-z]+z)\b", one)}

    assert said <= {"healthz", "readyz"}


@every_page
def test_every_path_of_the_api_exists(page: Path) -> None:
    known = {
        re.sub(r"\{\w+\}", "X", path) + f" {method.upper()}"
        for document in ("openapi.json", "openapi-admin.json")
        for path, methods in orjson.loads((ROOT / "docs" / document).read_bytes())["paths"].items()
        for method in methods
    }
    for said in code(text_of(page)):
        for method, path in re.findall(r"\b(GET|POST|PUT|PATCH|DELETE) (?:…|(?=/api/v1|/api/generate))(/\S+)", said):
            called = re.sub(r"\{\w+\}", "X", path.partition("?")[0])
            assert any(one.endswith(f"{called} {method}") for one in known), said


@every_page
def test_every_path_of_the_repository_exists(page: Path) -> None:
    tops = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] not in "._")
    for said in code(text_of(page)):
        for path in re.findall(rf"(?<![\w./:<…-])((?:{tops})/[\w./-]*\w)", said):
            there = (ROOT / path).exists() or (ROOT / f"{path}.py").exists()
            assert there or path.startswith(MADE_OR_THEIRS), path


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for to in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        path, _, anchor = to.partition("#")
        at = (page.parent / path).resolve() if path else page
        assert path.startswith(("http:", "https:")) or at.exists(), to
        assert not anchor or anchor in anchors(at), to
