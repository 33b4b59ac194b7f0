"""`python -m simulator`: serve an empty box and print where it is, as one JSON line on standard output."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from pathlib import Path

import click
import uvloop
from pydantic import ValidationError

from shared.clock import clock_from_spec
from simulator.app import serving
from simulator.ledger_file import LedgerFile
from simulator.settings import SimulatorSettings
from simulator.world import World


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option("--clock-spec", envvar="JUSTAI_CLOCK", default="system", show_default=True, help="Shared clock.")
@click.option("--seed", default=1, show_default=True, help="Seed of all chance: ids, phases, behaviour.")
@click.option("--export-root", type=click.Path(file_okay=False, path_type=Path), help="Exports go below this folder.")
@click.option(
    "--ledger", "ledger_path", type=click.Path(dir_okay=False, path_type=Path),
    help="Append a JSON line per API request, applied profile write and email to this file; see simulator.ledger_file.",
)  # fmt: skip
@click.option("--set", "switches", multiple=True, metavar="NAME=VALUE", help="A setting, e.g. hold_on_retry=true.")
def main(
    host: str, port: int, clock_spec: str, seed: int, export_root: Path | None, ledger_path: Path | None,
    switches: tuple[str, ...],
) -> None:  # fmt: skip
    """Serve an empty Klaviyo account in a box. Build its world over /_sim."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    try:
        clock = clock_from_spec(clock_spec)
        settings = SimulatorSettings.model_validate(dict(_switch(text) for text in switches))
    except ValidationError as error:
        faults = "; ".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors())
        raise click.BadParameter(faults, param_hint="--set") from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        ledger_file = LedgerFile(ledger_path) if ledger_path is not None else None
    except OSError as error:
        raise click.BadParameter(str(error), param_hint="--ledger") from None
    world = World(clock, settings, seed, export_root, ledger_file)
    uvloop.run(_serve(world, host, port))


def _switch(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set takes NAME=VALUE, not {text!r}")
    return name, value


async def _serve(world: World, host: str, port: int) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with serving(world, host, port) as box:
        with contextlib.suppress(BrokenPipeError):
            click.echo(json.dumps({"url": box.url, "pid": os.getpid()}))
        await stop.wait()


if __name__ == "__main__":
    main()
