"""Logins of our own SFTP server (deploy/sftp-drop): a file of public keys for each org, in a folder that it reads."""

import base64
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from shared.admin.ssh_keys import BadKey, host_key


def fingerprint(key: str) -> str:
    """As `ssh-keygen -l` says it."""
    kind, blob = key.split()
    digest = hashlib.sha256(base64.b64decode(blob)).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')} ({kind})"


def keys_of(folder: Path, slug: str) -> list[str]:
    """The public keys that an org logs in with."""
    file = folder / slug
    return [line.removeprefix("restrict ") for line in file.read_text().splitlines() if line] if file.exists() else []


def write(folder: Path, slug: str, keys: Sequence[str]) -> None:
    """These and no others, from the next look of the server on; none: no login. The server never sees half a file."""
    if not keys:
        (folder / slug).unlink(missing_ok=True)
        return
    fd, name = tempfile.mkstemp(dir=folder, prefix=".")
    with os.fdopen(fd, "w") as file:
        file.writelines(f"restrict {key}\n" for key in keys)
    Path(name).chmod(0o644)
    Path(name).replace(folder / slug)


def public_key(path: Path) -> str:
    """The key in a file like `id_ed25519.pub`. Raises ClickException."""
    try:
        text = path.read_text()
        if "PRIVATE KEY" in text:
            raise click.ClickException(f"--key-file: {path} is a private key; give the .pub file beside it.")
        return host_key(text)
    except UnicodeDecodeError:
        raise click.ClickException("--key-file: this is no text.") from None
    except BadKey as error:
        raise click.ClickException(f"--key-file: {str(error).replace('public host key', 'public key')}.") from None
