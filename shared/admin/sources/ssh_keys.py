"""Whether a key for SFTP can be used at all, told when it is given instead of at the first poll. Pure."""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization


class BadKey(ValueError):
    """This is no key that can be used; the text says why and never quotes it."""


def host_key(text: str) -> str:
    """A server's public key as `ssh-ed25519 AAAA…`, also out of a line of `ssh-keyscan` or known_hosts."""
    words = text.split()
    at = next((number for number, word in enumerate(words) if word.startswith(("ssh-", "ecdsa-", "rsa-"))), None)
    if at is None or len(words) < at + 2:
        raise BadKey("a public host key looks like `ssh-ed25519 AAAA…`; `ssh-keyscan <host>` shows it")
    key = f"{words[at]} {words[at + 1]}"
    try:
        serialization.load_ssh_public_key(key.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise BadKey(f"this {words[at]} key is damaged or of a kind that is not known here") from None
    return key


def private_key(text: str) -> str:
    """A private key without a passphrase, in OpenSSH's or PEM form, as it was given."""
    if "PRIVATE KEY-----" not in text:
        what = "a public key: give the other file" if text.startswith(("ssh-", "ecdsa-")) else "no private key"
        raise BadKey(f"this is {what}")
    load = serialization.load_ssh_private_key if "OPENSSH" in text else serialization.load_pem_private_key
    try:
        load(text.strip().encode() + b"\n", password=None)
    except TypeError:
        raise BadKey("this private key has a passphrase; a service cannot be asked for it") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        if "password" in str(error).lower():
            raise BadKey("this private key has a passphrase; a service cannot be asked for it") from None
        raise BadKey("this private key is damaged or of a kind that is not known here") from None
    return text
