"""Processor time of what runs beside the services that are measured."""

from collections.abc import Collection

import psutil

SERVERS = {"postgres": "postgres", "beam.smp": "rabbitmq"}
"""By the name of their processes."""


def others_cpu_s(services: Collection[int]) -> dict[str, float]:
    """CPU seconds so far of the real servers and of the load with all that looks on, ended children included."""
    found = dict.fromkeys((*SERVERS.values(), "load"), 0.0)
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        try:
            if process.pid not in services:
                found[SERVERS.get(process.name(), "load")] += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:  # its time is its parent's by now
            continue
    return found
