"""`python -m demo.llm --weights FILE`: drafts for the shop's welcome mail by a small model on this machine.

llama.cpp's own server runs in this process, `justai variant draft` asks it as it would ask any other.
"""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import click
import xllamacpp
from rich.console import Console

from devstack import ServerFailed, start
from devstack.isolation import fresh_database
from devstack.services import CommandFailed, environment, justai, run_justai

ROOT = Path(__file__).parent.parent
RUN = ROOT / ".run" / "demo-llm"
SHOP = ROOT / "demo" / "shop"
ORG = "corner-coffee"
_NOWHERE = "amqp://127.0.0.1:1/"  # drafting needs no broker
_LIMIT_S = 240.0
_SETTINGS = {"timeout_s": "75", "total_s": "80", "tries": "1", "max_tokens": "500", "temperature": "0.6"}


@click.command()
@click.option("--weights", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="GGUF.")
@click.option("--number", default=3, show_default=True, help="How many drafts.")
@click.option("--threads", default=1, show_default=True, help="More wait for each other where other work is done too.")
def main(weights: Path, number: int, threads: int) -> None:
    """Draft variants of the demo's welcome template with a small real model, and show what the checks say of them."""
    console = Console(highlight=False, markup=False)
    shutil.rmtree(RUN, ignore_errors=True)
    RUN.mkdir(parents=True)
    try:
        with start(("postgres",), RUN / "servers", durable=False) as stack:
            stored = asyncio.run(_demo(console, stack.endpoints.database_url, weights, number, threads))
    except KeyboardInterrupt:
        sys.exit(130)
    except (ServerFailed, CommandFailed, TimeoutError, RuntimeError) as failure:
        console.print(f"The demo could not be played to its end: {failure or 'it took too long'}")
        sys.exit(1)
    sys.exit(0 if stored else 1)


async def _demo(console: Console, database_url: str, weights: Path, number: int, threads: int) -> int:
    began = time.monotonic()
    async with fresh_database(database_url) as url, asyncio.timeout(_LIMIT_S):
        server = _server(weights, threads)
        env = environment(database_url=url, amqp_url=_NOWHERE) | _model(f"{server.listening_address}/v1", weights)
        console.print(f"{weights.name} answers at {server.listening_address} after {time.monotonic() - began:.1f} s.")
        await run_justai(env, "org", "create", ORG, "Corner Coffee")
        await run_justai(env, "template", "import", ORG, str(SHOP / "welcome.yaml"))
        brief = ROOT / "demo" / "brief.yaml"
        console.rule("The brief")
        click.echo(brief.read_text())
        console.rule("The drafts, as they come")
        await _live(env, "variant", "draft", ORG, "welcome", "--brief", str(brief), "--number", str(number))
        names = await _drafted(url)
        for name in names:
            console.rule(f"What {name!r} says")
            click.echo(await run_justai(env, "variant", "show", ORG, "welcome", name))
            click.echo(await run_justai(env, "variant", "history", ORG, "welcome", name))
        del server
    if not names:
        console.print("No draft was good enough to be stored; the lines above say why.")
    return len(names)


def _server(weights: Path, threads: int) -> xllamacpp.Server:
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = [weights.stem]
    params.n_ctx, params.n_parallel, params.port = 4096, 1, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.sampling.seed = 1
    params.sampling.dry_multiplier = 0.8  # a model this small says the same for ever without
    params.verbosity = -1
    return xllamacpp.Server(params)


def _model(url: str, weights: Path) -> dict[str, str]:
    settings = {"provider": "openai", "url": url, "model": weights.stem, **_SETTINGS}
    return {f"JUSTAI_LLM_{name.upper()}": value for name, value in settings.items()}


async def _live(env: Mapping[str, str], *arguments: str) -> None:
    """Run our own command with its output on the terminal; a draft that fails is a part of the story."""
    process = await asyncio.create_subprocess_exec(
        *justai(*arguments), env={**os.environ, **env, "PYTHONUNBUFFERED": "1"}, cwd=ROOT
    )
    try:
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _drafted(url: str) -> list[str]:
    """Names of the stored drafts, in their order."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT v.name FROM variants v JOIN variant_events e USING (copy_id) "
            "WHERE e.comment LIKE 'drafted by %' ORDER BY e.event_id"
        )
    finally:
        await connection.close()
    return [row["name"] for row in rows]


if __name__ == "__main__":
    main()
