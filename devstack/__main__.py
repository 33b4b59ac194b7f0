"""Servers for people: `python -m devstack up` keeps them running until Ctrl-C, `python -m devstack env` prints where.

The data stays in `.run/devstack`. The env file holds passwords of these private servers; only its owner may read it.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import click

from devstack import SERVERS, ServerFailed, ServerName, start
from devstack.given import env_lines

RUN = Path(__file__).resolve().parent.parent / ".run"
ENV_FILE = RUN / "devstack.env"


@click.group()
def main() -> None:
    """PostgreSQL, RabbitMQ, S3 and SFTP for development."""
    # A closed terminal or `kill` must end like Ctrl-C does, with the servers stopped cleanly; so must Ctrl-C itself
    # where a shell has started us in the background and told us to ignore it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


@main.command()
@click.argument("names", nargs=-1, type=click.Choice(SERVERS))
@click.option("--data-dir", type=click.Path(path_type=Path), default=RUN / "devstack", show_default=True)
@click.option("--env-file", type=click.Path(path_type=Path), default=ENV_FILE, show_default=True)
def up(names: tuple[ServerName, ...], data_dir: Path, env_file: Path) -> None:
    """Run the servers (all, or those named) until Ctrl-C."""
    began = time.monotonic()
    names = names or SERVERS
    print(f"Starting {', '.join(names)} …", flush=True)
    try:
        with start(names, data_dir, durable=True) as stack:
            _write_env(env_file, env_lines(stack.endpoints))
            try:
                for name, source in stack.sources.items():
                    print(f"  {name:<9} {source}")
                print(f"Ready after {time.monotonic() - began:.1f} s. Addresses: set -a; . {env_file}; set +a")
                print("Ctrl-C stops them; the data stays.", flush=True)
                signal.pause()
            except KeyboardInterrupt:
                print("Stopping …", flush=True)
            finally:
                env_file.unlink(missing_ok=True)
    except ServerFailed as failure:
        raise click.ClickException(str(failure)) from None
    except KeyboardInterrupt:  # while starting, or a second one while stopping: nothing is left either way
        sys.exit(130)


@main.command()
@click.option("--env-file", type=click.Path(path_type=Path), default=ENV_FILE, show_default=True)
def env(env_file: Path) -> None:
    """Print the addresses of the running servers as an env file."""
    if not env_file.exists():
        raise click.ClickException("no servers are up; run `make up` in another terminal")
    print(env_file.read_text(), end="")


def _write_env(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text(text)


main()
