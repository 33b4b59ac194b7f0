"""The second factor: six digits from an app, or a recovery code. Pure but for the random bytes it is given."""

import base64
import hashlib
from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from typing import Final
from uuid import UUID

import pyotp
import segno

STEP_S: Final = 30
RECOVERY_CODES: Final = 10
_SECRET_BYTES: Final = 20
_CODE_BYTES: Final = 10  # 80 bits: no slow hash is needed
_ISSUER: Final = "JustAI"


def new_secret(random_bytes: Callable[[int], bytes]) -> str:
    """Base32, as apps take it."""
    return base64.b32encode(random_bytes(_SECRET_BYTES)).decode()


def step_of(secret: str, code: str, now: datetime) -> int | None:
    """The 30-second step that this code belongs to: now, or one beside it; None: it is wrong."""
    digits = "".join(code.split())
    if len(digits) != 6 or not (digits.isascii() and digits.isdigit()):
        return None
    totp, step = pyotp.TOTP(secret), int(now.timestamp()) // STEP_S
    for near in (step, step - 1, step + 1):
        if pyotp.utils.strings_equal(totp.generate_otp(near), digits):
            return near
    return None


def provisioning_uri(secret: str, email: str) -> str:
    """What the QR code says."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=_ISSUER)


def qr_svg(uri: str) -> str:
    """As an inline SVG, dark on light whatever the page's colours, since cameras want it so."""
    out = BytesIO()
    segno.make(uri, error="m").save(
        out, kind="svg", scale=5, border=4, dark="#000", light="#fff", xmldecl=False, svgns=False, omitsize=True,
        title="QR code for the authenticator app",
    )  # fmt: skip
    return out.getvalue().decode()


def grouped(secret: str) -> str:
    """In fours, for who types it."""
    return " ".join(secret[at : at + 4] for at in range(0, len(secret), 4))


def new_recovery_codes(random_bytes: Callable[[int], bytes]) -> list[str]:
    """To be shown once: `abcd-efgh-ijkl-mnop`."""
    return [
        "-".join(text[at : at + 4] for at in range(0, len(text), 4))
        for text in (
            base64.b32encode(random_bytes(_CODE_BYTES)).decode().lower() for _ in range(RECOVERY_CODES)
        )
    ]  # fmt: skip


def recovery_digest(user_id: UUID, code: str) -> bytes:
    """What is stored of a code; however it was typed."""
    bare = "".join(char for char in code.lower() if char.isalnum())
    return hashlib.sha256(f"{user_id}:{bare}".encode()).digest()
