"""How long who failed to sign in must wait. Pure; the counts are kept in PostgreSQL, so that replicas share them.

After a few free failures each further one doubles the wait. An attempt is charged before its password is looked at,
so a thousand at once are not a thousand guesses; success gives it back.

| kind    | free | wait after them           | what it is against                        |
|---------|------|---------------------------|-------------------------------------------|
| account | 5    | 1, 2, 4 … 300 s           | guessing one person's password            |
| address | 20   | 1, 2, 4 … 300 s           | trying one password on many accounts      |
| code    | 5    | 30, 60 … 900 s            | guessing six digits, with a password known |
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from typing import Final, Literal

Kind = Literal["account", "address", "code"]

FORGOTTEN_AFTER: Final = timedelta(minutes=15)  # without a failure, counted from the end of the wait


@dataclass(frozen=True, slots=True)
class _Rule:
    free: int
    first_s: int
    most_s: int


_RULES: Final[dict[Kind, _Rule]] = {
    "account": _Rule(5, 1, 300),
    "address": _Rule(20, 1, 300),
    "code": _Rule(5, 30, 900),
}


@dataclass(frozen=True, slots=True)
class Delay:
    """What is known of one key."""

    failures: int
    blocked_until: datetime


def wait_s(known: Delay | None, now: datetime) -> float:
    """Seconds until the next attempt may be made; 0: now."""
    return max(0.0, (known.blocked_until - now).total_seconds()) if known else 0.0


def after_failure(kind: Kind, known: Delay | None, now: datetime) -> Delay:
    """What is known once one more attempt has failed."""
    rule = _RULES[kind]
    remembered = known is not None and now < known.blocked_until + FORGOTTEN_AFTER
    failures = (known.failures if known and remembered else 0) + 1
    over = failures - rule.free
    wait = min(rule.most_s, rule.first_s * 2 ** min(over, 20)) if over >= 0 else 0
    return Delay(failures, now + timedelta(seconds=wait))


def key_of(kind: Kind, what: str) -> bytes:
    """Under which an email, an address or a user id is counted: nobody shall read emails of strangers there."""
    return hashlib.sha256(f"{kind}:{_network(what) if kind == 'address' else what}".encode()).digest()


def _network(address: str) -> str:
    """An IPv6 caller owns its whole /64, so that is what is counted."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(IPv6Address(int(parsed) >> 64 << 64))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
