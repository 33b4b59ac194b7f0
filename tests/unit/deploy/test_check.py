"""The deployment's checks must find what they are for."""

from pathlib import Path

import pytest
import yaml

from deploy import check
from deploy.generate_env import example


def test_what_we_ship_has_no_faults() -> None:
    faults = [*check.compose_rules(), *check.kubernetes_rules(), *check.fresh_example()]

    assert faults == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda s: s.pop("egress"), "egress: not in compose.yaml"),
        (lambda s: s["gateway"].pop("read_only"), "gateway: not read-only"),
        (lambda s: s["ingest"].pop("deploy"), "ingest: no resource limits"),
        (lambda s: s["generator"].update(environment={"JUSTAI_TYPO": "1"}), "generator: no setting JUSTAI_TYPO"),
        (lambda s: s["gateway"].update(stop_grace_period="5s"), "gateway: stop_grace_period"),
    ],
)
def test_a_planted_fault_in_compose_is_found(tmp_path: Path, change, fault: str) -> None:  # type: ignore[no-untyped-def]  # a table of lambdas
    document = yaml.safe_load((check.ROOT / "compose.yaml").read_text())
    change(document["services"])
    planted = tmp_path / "compose.yaml"
    planted.write_text(yaml.safe_dump(document))

    assert [found for found in check.compose_rules(planted) if found.startswith(fault)]


def test_every_required_setting_stands_in_the_example() -> None:
    required = [line for line in example().splitlines() if line.startswith("JUSTAI_")]

    assert [line.partition("=")[0] for line in required] == [
        "JUSTAI_DATABASE_URL",
        "JUSTAI_AMQP_URL",
        "JUSTAI_SEAL_KEYS",
        "JUSTAI_API_KEY_PEPPERS",
    ]
