"""`justai source drop-key`: logins of our own SFTP server (deploy/sftp-drop).

Each is a file of public keys in a folder that the server reads. It may lie where no database is: on an operator's own
machine, from which a Secret is made.
"""

import base64
import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from cli.given_file import GIVEN_FILE, called, text_of
from cli.session import command, has_database, session
from shared.admin.sources.ssh_keys import BadKey, host_key

_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")  # as the table of orgs has it


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
        text = text_of(path)
        if "PRIVATE KEY" in text:
            raise click.ClickException(f"--key-file: {called(path)} is a private key; give the .pub file beside it.")
        return host_key(text)
    except UnicodeDecodeError:
        raise click.ClickException("--key-file: this is no text.") from None
    except BadKey as error:
        raise click.ClickException(f"--key-file: {str(error).replace('public host key', 'public key')}.") from None


async def _demand_org(slug: str) -> None:
    if has_database():
        async with session() as s:
            await s.org_id(slug)
    elif not _SLUG.fullmatch(slug):  # it becomes the name of a file
        raise click.ClickException(f"{slug!r} is no org's slug: lower-case letters, digits, - and _.")


@click.command("drop-key")
@click.argument("org_slug")
@click.option(
    "--keys-dir", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder of keys that deploy/sftp-drop reads, like deploy/secrets/drop/keys.",
)  # fmt: skip
@click.option(
    "--key-file",
    "added",
    multiple=True,
    type=GIVEN_FILE,
    help="A public key to let in, like id_ed25519.pub.",
)
@click.option("--rm", "removed", multiple=True, metavar="SHA256:…", help="A key to take away, by its fingerprint.")
@command
async def drop_key(org_slug: str, keys_dir: Path, added: tuple[Path, ...], removed: tuple[str, ...]) -> None:
    """Give an org a login at our own SFTP server, or take it away.

    Without options its keys are shown.

    The login's name is the org's slug. What is put there lands in the org's own folder, which a source of kind folder
    with --path in reads. A change counts within seconds; on Kubernetes, once the secret is made anew from the folder.
    Whether there is such an org is looked at where JUSTAI_DATABASE_URL is set.
    """
    await _demand_org(org_slug)
    keys = keys_of(keys_dir, org_slug)
    by_print = {fingerprint(key).split()[0]: key for key in keys}
    for one in removed:
        if one not in by_print:
            raise click.ClickException(f"--rm: {org_slug} has no key {one}.")
        keys.remove(by_print[one])
    keys += [key for path in added if (key := public_key(path)) not in keys]
    if added or removed:
        write(keys_dir, org_slug, keys)
    for key in keys:
        click.echo(fingerprint(key))
    if not keys:
        click.echo(f"{org_slug} has no login.")
