"""Servers for people: `python -m devstack up` keeps them running until Ctrl-C, `python -m devstack env` prints where.

The data stays in `.run/devstack`. The env file holds passwords of these private servers; only its owner may read it.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import click

from devstack import SERVERS, ServerFailed, start
from devstack.given import env_lines

RUN = Path(__file__).resolve().parent.parent / ".run"
ENV_FILE = RUN / "devstack.env"


@click.group()
def main() -> None:
    """PostgreSQL, RabbitMQ, S3 and SFTP for development."""
    # A closed terminal or `kill` must end like Ctrl-C does, with the servers stopped cleanly.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


@main.command()
@click.option("--data-dir", type=click.Path(path_type=Path), default=RUN / "devstack", show_default=True)
def up(data_dir: Path) -> None:
    """Run the servers until Ctrl-C."""
    began = time.monotonic()
    print("Starting " + ", ".join(SERVERS) + " …", flush=True)
    try:
        stack = start(SERVERS, data_dir, durable=True)
    except ServerFailed as failure:
        raise click.ClickException(str(failure)) from None
    except KeyboardInterrupt:
        sys.exit(130)
    with stack:
        _write_env(env_lines(stack.endpoints))
        try:
            for name, source in stack.sources.items():
                print(f"  {name:<9} {source}")
            print(f"Ready after {time.monotonic() - began:.1f} s. Addresses: set -a; . {ENV_FILE}; set +a")
            print("Ctrl-C stops them; the data stays.", flush=True)
            signal.pause()
        except KeyboardInterrupt:
            print("\nStopping …", flush=True)
        finally:
            ENV_FILE.unlink(missing_ok=True)


@main.command()
def env() -> None:
    """Print the addresses of the running servers as an env file."""
    if not ENV_FILE.exists():
        raise click.ClickException("no servers are up; run `make up` in another terminal")
    print(ENV_FILE.read_text(), end="")


def _write_env(text: str) -> None:
    ENV_FILE.parent.mkdir(exist_ok=True)
    ENV_FILE.unlink(missing_ok=True)
    ENV_FILE.touch(mode=0o600)
    ENV_FILE.write_text(text)


main()
