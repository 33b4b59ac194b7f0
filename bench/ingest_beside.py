"""How long a webhook takes to its stored generation while files are loaded, beside the same without."""

from pathlib import Path

from bench.ingest_files import Maker
from bench.report import Report
from devstack import Endpoints


async def measure_beside(report: Report, servers: Endpoints, folder: Path, maker: Maker) -> dict[str, float]:
    raise NotImplementedError
