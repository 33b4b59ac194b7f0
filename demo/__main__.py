"""`python -m demo`: the main job, live, on real servers; `--once` for machines."""

import asyncio
import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from demo import report
from demo.chart import lift_svg
from demo.story import ORG, Results, play
from demo.world import World, open_world, write_json
from devstack import SERVERS, ServerFailed, start
from devstack.processes import ProcessDied
from devstack.services import CommandFailed

ROOT = Path(__file__).parent.parent
RUN = ROOT / ".run" / "demo"
RESULT = ROOT / "bench" / "results" / "demo.json"
CHART = ROOT / "bench" / "results" / "demo-lift.svg"
_PIPED_COLUMNS = 120  # nobody is there to widen the window
_FAILED = "Not every message was right, or the ranker learned nothing."


@click.command()
@click.option("--once", is_flag=True, help="Play once, write bench/results/demo.json, exit 0 only if all was right.")
@click.option("--people", default=300, show_default=True, help="Customers of the shop.")
@click.option("--factor", default=10.0, show_default=True, help="How many times as fast as real time the clock runs.")
@click.option("--logs", is_flag=True, help="Show the services' logs while the story plays.")
def main(once: bool, people: int, factor: float, logs: bool) -> None:
    """Play the story of a small shop: webhooks in, the right emails out, events back, records exported, and days in
    which the ranker learns what whom to send."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPED_COLUMNS
    for old in (RESULT, CHART):
        old.unlink(missing_ok=True)
    began = time.monotonic()
    shutil.rmtree(RUN, ignore_errors=True)
    RUN.mkdir(parents=True)
    try:
        with console.status("Starting PostgreSQL, RabbitMQ, S3 and SFTP…"):
            stack = start(SERVERS, RUN / "servers", durable=False)
        with stack:
            console.print(f"Servers are up after {time.monotonic() - began:.1f} s.")
            echo: Callable[[str], None] | None = (lambda line: console.print(line, markup=False)) if logs else None
            ok = asyncio.run(_demo(console, stack.endpoints, people, factor, echo, once=once))
    except KeyboardInterrupt:
        console.print("Stopped; nothing is left running.")
        sys.exit(130)
    except (ServerFailed, ProcessDied, CommandFailed, RuntimeError) as failure:
        console.print(f"[red]The demo could not be played to its end:[/] {failure}", markup=True)
        console.print(f"Logs: {RUN / 'logs'}")
        sys.exit(1)
    sys.exit(0 if ok else 1)


async def _demo(
    console: Console, endpoints: object, people: int, factor: float, echo: Callable[[str], None] | None, *, once: bool
) -> bool:
    async with open_world(endpoints, RUN, factor=factor, echo=echo, colour=console.is_terminal) as world:  # type: ignore[arg-type]  # Endpoints
        console.print(f"Seven services and a Klaviyo account in a box are running; logs in {RUN / 'logs'}")
        with progress(console) as bar:
            results = await play(world, people, shower(bar))
        report.show(console, results, factor=factor)
        CHART.parent.mkdir(exist_ok=True)
        CHART.write_text(lift_svg([(look.day, look.lift) for look in results.days.looks]))
        console.print(f"The lift as a picture: {CHART.relative_to(ROOT)}")
        ok = report.passed(results)
        if once:
            write_json(RESULT, {"name": "demo", "figures": report.figures(results)})
        console.print(
            "[green]Every message was right or planned, and the ranker learned.[/]" if ok else f"[red]{_FAILED}[/]"
        )
        if not once:
            await _stay(console, world, results)
        return ok


def progress(console: Console) -> Progress:
    """The bars of a story."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def shower(bar: Progress) -> Callable[[str, int, int], None]:
    """One bar per act of the story."""
    acts: dict[str, TaskID] = {}

    def show(what: str, done: int, of: int) -> None:
        act = what.split(":")[0]
        if act not in acts:
            acts[act] = bar.add_task(act, total=of)
        bar.update(acts[act], description=what, completed=done, total=of)

    return show


async def _stay(console: Console, world: World, results: Results) -> None:
    """Keep everything running for looking around, until Ctrl-C."""
    env_file = RUN / "demo.env"
    env_file.write_text("".join(f"{name}='{value}'\n" for name, value in world.env.items()))
    env_file.chmod(0o600)
    invite = await world.justai("console", "invite", ORG, "you@example.com", "--role", "owner")
    console.print(
        f"\nEverything keeps running until Ctrl-C. The console, {world.console_url}, lets you in once by this link:"
    )
    console.print(f"  {next(line for line in invite.splitlines() if line.startswith('http'))}", markup=False)
    console.print("Where to look next, in another terminal:")
    console.print(f"  set -a; . {env_file.relative_to(ROOT)}; set +a", markup=False)
    for command in (
        f"template show {ORG} welcome", f"snippet {ORG} welcome", f"webhook {ORG} welcome",
        f"source files {ORG} klaviyo-events", f"export hours {ORG}", "dead list", f"results {ORG} tasting --by persona",
        f"policy show {ORG} tasting",
    ):  # fmt: skip
        console.print(f"  .venv/bin/justai {command}", markup=False)
    console.print(f"  curl {world.gateway_url}/openapi.json", markup=False)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with contextlib.suppress(asyncio.CancelledError):
        await stop.wait()


if __name__ == "__main__":
    main()
