"""Finds or starts the real servers that tests, the demo and benchmarks need, and ends what it started.

with devstack.start(("postgres", "rabbitmq"), data_dir, durable=False) as stack:
    connect(stack.endpoints.database_url)
"""

from devstack.endpoints import SERVERS, Endpoints, ServerName
from devstack.local import ServerFailed
from devstack.stack import Stack, start

__all__ = ["SERVERS", "Endpoints", "ServerFailed", "ServerName", "Stack", "start"]
