"""One-time links and other tokens: 256 random bits in a URL or a cookie, stored as a digest only. Pure."""

import base64
import hashlib
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Final

INVITE_LIFE: Final = timedelta(days=7)
RESET_LIFE: Final = timedelta(hours=1)
LET_IN_LIFE: Final = timedelta(minutes=15)
_TOKEN_BYTES: Final = 32
_EMAIL: Final = re.compile(r"[^\s@<>\"',;:\\()\[\]]+@[^\s@<>\"',;:\\()\[\]]+\.[^\s@<>\"',;:\\()\[\].]+")
_EMAIL_MAX_CHARS: Final = 254


class BadEmail(ValueError):
    """This is no email address; the text says what one looks like."""


def mint(random_bytes: Callable[[int], bytes]) -> str:
    """A new token, fit for a URL; handed out once."""
    return base64.urlsafe_b64encode(random_bytes(_TOKEN_BYTES)).rstrip(b"=").decode()


def digest(token: str) -> bytes:
    """What is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def email_of(text: str) -> str:
    """An address as accounts are known by: trimmed, lower case. Raises BadEmail."""
    email = text.strip().lower()
    if len(email) > _EMAIL_MAX_CHARS or not _EMAIL.fullmatch(email):
        raise BadEmail("is no email address like ann@example.com")
    return email


def invite_url(console_url: str, token: str) -> str:
    """Where an invited person goes."""
    return f"{console_url}/_invite/{token}"


def reset_url(console_url: str, token: str) -> str:
    """Where a person sets a new password."""
    return f"{console_url}/_reset/{token}"


def let_in_url(console_url: str, token: str) -> str:
    """Where an owner is signed in without password and provider."""
    return f"{console_url}/_let-in/{token}"
