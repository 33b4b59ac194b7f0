"""Running what `justai export loader` prints, as a data engineer does: in a folder of its own, with keys of its own."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from cli.__main__ import main
from tests.component.cli.rig import settings
from tests.component.egress.shop import World

NOWHERE = "amqp://127.0.0.1:1/"


@dataclass(frozen=True)
class Desk:
    """Where somebody works with the export of the org `shop`."""

    world: World
    folder: Path

    async def prints(self, engine: str, *more: str) -> Path:
        """The recipe, saved."""
        env = settings(self.world.database_url, NOWHERE)
        asked = ["export", "loader", engine, "shop", *more]
        made = await asyncio.to_thread(CliRunner().invoke, main, asked, env=env)
        assert made.exit_code == 0, made.output
        self.folder.mkdir(exist_ok=True)
        file = self.folder / f"load_{engine}.py"
        file.write_text(made.stdout)
        return file

    async def runs(self, script: Path, *arguments: str) -> list[str]:
        """Its lines; it must succeed and complain of nothing."""
        ran = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", script.name, *arguments, cwd=self.folder, env=self.env,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await ran.communicate()
        assert ran.returncode == 0, said.decode()
        return said.decode().splitlines()

    @property
    def env(self) -> dict[str, str]:
        """A way into the bucket, and a database to load into."""
        endpoints = self.world.endpoints
        return {
            **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
            "AWS_ACCESS_KEY_ID": endpoints.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": endpoints.s3_secret_key,
            "DATABASE_URL": self.world.database_url,
        }
