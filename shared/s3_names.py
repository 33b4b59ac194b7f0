"""What may be said of a bucket: its name, its region, the URL of its server. Pure."""

import re
from typing import Final
from urllib.parse import urlsplit

BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
REGION: Final = re.compile(r"[a-z0-9-]{1,40}")
"""What may stand in the host name of Amazon's own servers: nothing that makes another host of it."""
_ALIASES: Final = ("-s3alias", "--ol-s3", "--op-s3", ".mrap")
"""How names end that AWS gives to access points: each leads into a bucket of another name."""
_AWS: Final = re.compile(r"(.*\.)?amazonaws\.com(\.cn)?")
_REGION_NAME: Final = r"[a-z]+(-[a-z]+)*-[0-9]+"
# A bucket's name in front of one of these makes another host of it, and what it makes is in neither form.
_AWS_S3: Final = re.compile(
    rf"https?://(s3(-fips)?(\.dualstack)?([.-]{_REGION_NAME})?|bucket\.vpce-[a-z0-9-]+\.s3\.{_REGION_NAME}\.vpce)"
    r"\.amazonaws\.com(\.cn)?(:[0-9]+)?/*",
    re.IGNORECASE,
)


def wrong_in_bucket(name: str) -> str | None:
    """Why this is no bucket's own name; None: it is one."""
    if not BUCKET.fullmatch(name):
        return "is no bucket's name: 3 to 63 lower-case letters, digits, dots and dashes"
    if name.endswith(_ALIASES):
        return "is the name of an access point; name its bucket"
    return None


def wrong_in_endpoint(url: str) -> str | None:
    """Why this names no server alone, so that two of them are one place unseen; None: it does. Off AWS a path is a
    server's own matter: some have their S3 below one."""
    try:
        host, _ = endpoint_of(url)
    except ValueError as error:
        return str(error)
    if host.endswith(".") or not host.isascii():
        return "must not end with a dot, nor hold other letters than those of ASCII, in its host"
    if _AWS.fullmatch(host) and not _AWS_S3.fullmatch(url):
        return "is, of Amazon's own, one like https://s3.eu-west-1.amazonaws.com; the bucket stands in its own field"
    return None


def wrong_for_ourselves(bucket: str, endpoint_url: str | None) -> str | None:
    """Why we go there with somebody's key or role alone; None: we may go as ourselves. A policy that lets us into a
    bucket does so for all orgs: only AWS, and a bucket's own name, say that a request leads where it seems to."""
    if endpoint_url is not None:
        return "is reached with an access key or a role alone: the exporter shows its own identity to AWS only"
    return wrong_in_bucket(bucket)


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
