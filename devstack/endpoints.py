"""Where the servers are. The one thing that tests, the demo and the benchmarks learn from this package."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Literal, Self

ServerName = Literal["postgres", "rabbitmq", "s3", "sshd"]
SERVERS: tuple[ServerName, ...] = ("postgres", "rabbitmq", "s3", "sshd")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses and credentials, complete enough to connect. Fields of a server that was not asked for are empty.

    The roles behind them are administrators of their own private server: a PostgreSQL superuser, a RabbitMQ user who
    may create virtual hosts, an S3 identity that may create buckets, the operating system user for SFTP.
    """

    database_url: str = ""  # postgresql://user:password@host:port/database
    amqp_url: str = ""  # amqp://user:password@host:port/virtual-host
    amqp_management_url: str = ""  # http://user:password@host:port, base of /api
    amqp_metrics_url: str = ""  # http://host:port, base of /metrics; only of a private process
    s3_endpoint: str = ""  # http://host:port, path style
    s3_access_key: str = ""
    s3_secret_key: str = ""
    sftp_host: str = ""
    sftp_port: int = 0
    sftp_user: str = ""
    sftp_client_key_path: str = ""  # private key, OpenSSH format, no passphrase
    sftp_host_key: str = ""  # public key to pin: "ssh-ed25519 AAAA…"
    sftp_root: str = ""  # the served folder as this machine sees it
    sftp_remote_root: str = ""  # the same folder as an SFTP client sees it

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))
