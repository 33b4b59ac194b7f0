"""Headers of every answer, and who may send a form. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with it browsers send `Origin: null` with a form, which is our second line.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}

TRANSPORT: Final = {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"}

# For a page that shows an email as strangers wrote it, in `<iframe sandbox="">` of a page of ours: it runs nothing, and
# is nobody. Pictures may come from anywhere, as in a mail program.
PREVIEW_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; img-src https: data:; style-src 'unsafe-inline'; font-src https: data:; "
        "frame-ancestors 'self'"
    ),
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
}

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def may_change(method: str, headers: Mapping[str, str], own_origin: str) -> bool:
    """Whether this request may change something: it must come from a page of ours.

    Browsers say so in Sec-Fetch-Site, which no page can forge. One too old to send it must send an Origin that is ours;
    who sends neither is no browser that we know, and has the HTTP API with its keys.
    """
    if method in _READING:
        return True
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    return headers.get("Origin") == own_origin


def caller_address(peer: str | None, forwarded: Sequence[str], proxies: int) -> str:
    """Whose request this is. Each proxy of ours adds what it saw at the end of X-Forwarded-For (`forwarded`, its
    values in order); what stands before was said by the caller, and is not believed."""
    hops = [hop.strip() for hop in ",".join(forwarded).split(",")]
    if proxies and len(hops) >= proxies and hops[-proxies]:
        return hops[-proxies]
    return peer or "unknown"


def local_path(text: str) -> str | None:
    """A path of ours to go on to after signing in; None for anything that could lead elsewhere."""
    if not text.startswith("/") or text[1:2] in ("/", "\\") or "\\" in text or not text.isprintable():
        return None
    return text
