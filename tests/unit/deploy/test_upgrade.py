"""The page about upgrades leaves out nothing that runs."""

import re

import yaml

from deploy.check import ROOT as DEPLOY

TEXT = (DEPLOY.parent / "docs" / "upgrade.md").read_text().partition("## What N beside N−1 promises")[0]


def test_every_service_of_compose_is_replaced_or_said_to_stay() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    running = {name for name, one in services.items() if not one.get("profiles")}

    named = set(re.findall(r"[\w-]+", TEXT.replace("profile writer", "profile_writer")))

    assert running - named == set()


def test_who_reads_files_of_the_release_when_it_starts_is_started_anew() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    read = {
        name
        for name, one in services.items()
        for mount in one.get("volumes", ())
        if isinstance(mount, str) and mount.startswith("./") and not mount.startswith("./secrets/")
    }

    [anew] = [words.split() for words in re.findall(r"--force-recreate --wait ([^`]+)`", TEXT)]

    assert set(anew) == read
