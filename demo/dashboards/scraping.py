"""Prometheus' scrape file, carried out by the shop's clock.

Prometheus knows only real time, and the shop's clock runs many times as fast. So figures are asked for here, every 15
seconds of that clock, labelled as the scrape file says, and handed to Prometheus afterwards as history.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp

from shared.clock import Clock, first_of

_SAMPLE: Final = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_TIMEOUT_S: Final = 5.0  # real


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask, and what Prometheus adds to each of its figures."""

    url: str
    labels: Mapping[str, str]


def targets(scrape_file: Mapping[str, Any], where: Mapping[str, str]) -> list[Target]:
    """All targets of the scrape file; `where`: the base URL behind each host name. Raises ValueError on a host that is
    not there, and on a rule that is not understood here."""
    found = []
    for job in scrape_file["scrape_configs"]:
        query = urlencode([(name, value) for name, values in job.get("params", {}).items() for value in values])
        path = job.get("metrics_path", "/metrics") + (f"?{query}" if query else "")
        for address in (one for static in job["static_configs"] for one in static["targets"]):
            host = address.partition(":")[0]
            if host not in where:
                raise ValueError(f"{job['job_name']}: nobody runs {host}")
            labels = {"job": job["job_name"], "instance": address}
            for rule in job.get("relabel_configs", ()):
                labels |= _relabelled(address, rule)
            found.append(Target(where[host] + path, labels))
    return found


def _relabelled(address: str, rule: Mapping[str, Any]) -> dict[str, str]:
    if rule.keys() != {"source_labels", "regex", "target_label"} or rule["source_labels"] != ["__address__"]:
        raise ValueError(f"this rule is not understood here: {rule}")
    matched = re.fullmatch(rule["regex"], address)
    return {} if matched is None else {rule["target_label"]: matched[1]}


def stamped(exposition: str, labels: Mapping[str, str], at_s: float) -> Iterator[str]:
    """The samples of one answer as lines with these labels and their moment. Raises ValueError on what is no sample."""
    added = ",".join(f'{name}="{value}"' for name, value in labels.items())
    for line in exposition.splitlines():
        if not line or line.startswith("#"):
            continue
        matched = _SAMPLE.fullmatch(line)
        if matched is None:
            raise ValueError(f"this is no sample: {line!r}")
        name, own, value = matched.groups()
        yield f"{name}{{{own + ',' if own else ''}{added}}} {value} {at_s:.3f}\n"


async def scrape(asked: Sequence[Target], clock: Clock, every_s: float, history: Path, stop: asyncio.Event) -> int:
    """Ask all of them every `every_s` virtual seconds until `stop`; each answer becomes lines of `history`. How often
    somebody was asked."""
    rounds = 0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as http:
        with history.open("w") as file:
            while not stop.is_set():
                rounds += 1
                begun_s = clock.now().timestamp()
                answers = await asyncio.gather(*(_ask(http, target) for target in asked))
                for target, answer in zip(asked, answers, strict=True):
                    file.writelines(_lines(target, answer, begun_s))
                left_s = begun_s + every_s - clock.now().timestamp()
                await first_of(clock.sleep(max(0.0, left_s)), stop.wait())
            file.write("# EOF\n")
    return rounds * len(asked)


async def _ask(http: aiohttp.ClientSession, target: Target) -> str | None:
    with suppress(aiohttp.ClientError, TimeoutError):
        async with http.get(target.url) as response:
            return await response.text() if response.status == 200 else None
    return None


def _lines(target: Target, answer: str | None, at_s: float) -> Iterable[str]:
    yield from stamped(f"up {int(answer is not None)}", target.labels, at_s)
    if answer is not None:
        yield from stamped(answer, target.labels, at_s)
