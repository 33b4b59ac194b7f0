"""A real Prometheus on the rig's services, with the alerts that ship."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from devstack.ports import LOOPBACK, free_ports
from devstack.processes import Command
from devstack.services import SERVICES
from tests.chaos.rig import ROOT, Rig

ALERTS = ROOT / "deploy" / "observability" / "alerts.yaml"
_NAME = "prometheus"


@dataclass(frozen=True, slots=True)
class Prometheus:
    """What it says now."""

    rig: Rig
    url: str

    async def alerts(self) -> set[str]:
        """Names of the alerts whose condition holds, whether or not it has held long enough to wake somebody."""
        async with self.rig.http.get(f"{self.url}/api/v1/alerts") as response:
            return {one["labels"]["alertname"] for one in (await response.json())["data"]["alerts"]}


async def watching(rig: Rig) -> Prometheus:
    """Started, among the rig's processes; it looks every second. Fails where it is not installed."""
    program = shutil.which(_NAME)
    assert program is not None, "Prometheus is missing; run `make prometheus`"
    folder, (port,) = rig.folder / _NAME, free_ports(1)
    rig.commands[_NAME] = Command(
        _NAME,
        [
            program, f"--config.file={_configured(rig, folder)}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={LOOPBACK}:{port}", "--log.level=warn",
        ],
        ready_url=f"http://{LOOPBACK}:{port}/-/ready",
    )  # fmt: skip
    await rig.start(_NAME)
    return Prometheus(rig, f"http://{LOOPBACK}:{port}")


def _configured(rig: Rig, folder: Path) -> Path:
    """As deploy/observability/prometheus.yaml, but for the addresses and the pace."""
    folder.mkdir()
    targets = [
        {"targets": [urlsplit(rig.commands[name].ready_url or "").netloc], "labels": {"service": name}}
        for name in SERVICES
    ]
    path = folder / "prometheus.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(ALERTS)],
                "scrape_configs": [{"job_name": "justai", "static_configs": targets}],
            }
        )
    )
    return path
