"""What may be said of a bucket: its name, its region, the URL of its server. Pure."""

import re
from typing import Final
from urllib.parse import urlsplit

BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
REGION: Final = re.compile(r"[a-z0-9-]{1,40}")
"""What may stand in the host name of Amazon's own servers: nothing that makes another host of it."""


def endpoint_of(url: str) -> tuple[str, int]:
    """Host and port of an endpoint. Raises ValueError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is no URL like https://s3.example.com") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ValueError("is no URL like https://s3.example.com")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must hold no login, query or fragment")
    return host, port or (443 if parts.scheme == "https" else 80)
