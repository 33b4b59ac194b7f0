"""A real Prometheus (Debian's package) whose history is a file of samples."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import aiohttp

from devstack.ports import LOOPBACK, free_ports
from devstack.processes import Command, supervise

PROGRAMS: Final = ("prometheus", "promtool")


class PrometheusFailed(Exception):
    """It is not installed, did not take the history, or refused a query; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of an answer: its labels, and its value by moment, in seconds."""

    labels: Mapping[str, str]
    values: Mapping[float, float]


class Prometheus:
    """One that answers."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http, self._url = http, url

    async def over_time(self, query: str, begin: datetime, end: datetime, step_s: float) -> list[Series]:
        """The query's value every `step_s` from `begin` to `end`, as Grafana asks for it. Raises PrometheusFailed."""
        form = {"query": query, "start": begin.timestamp(), "end": end.timestamp(), "step": step_s}
        async with self._http.post(f"{self._url}/api/v1/query_range", data=form) as response:
            answer: dict[str, Any] = await response.json()
        if answer["status"] != "success":
            raise PrometheusFailed(f"{query}: {answer['error']}")
        return [
            Series(one["metric"], {float(at): float(value) for at, value in one["values"]})
            for one in answer["data"]["result"]
        ]


def find() -> None:
    """Raises PrometheusFailed when a program is missing."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        raise PrometheusFailed(f"There is no {' and no '.join(missing)} here: run `devstack/bootstrap.sh prometheus`.")


@asynccontextmanager
async def serving(history: Path, folder: Path) -> AsyncIterator[Prometheus]:
    """Start one with the samples of `history` (OpenMetrics text); stop it on the way out. Raises PrometheusFailed."""
    data = folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    await _take_in(history, data)
    (port,) = free_ports(1)
    url = f"http://{LOOPBACK}:{port}"
    config = folder / "prometheus.yml"
    config.write_text("{}\n")
    command = Command(
        "prometheus",
        [
            "prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}",
            f"--web.listen-address={LOOPBACK}:{port}",
        ],
        ready_url=f"{url}/-/ready",
    )  # fmt: skip
    async with supervise([command], log_dir=folder / "logs"), aiohttp.ClientSession() as http:
        yield Prometheus(http, url)


async def _take_in(history: Path, data: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        "promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(history), str(data),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    if process.returncode:
        raise PrometheusFailed(f"promtool did not take {history}: {output.decode().strip()}")
