"""Identifiers in Klaviyo's shapes, all drawn from one seeded generator so that a run can be repeated."""

import random
import string
import uuid
from datetime import datetime

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
SHORT_ALPHABET = string.ascii_letters + string.digits


class Ids:
    """Draws ids; `random` is the box's only source of chance."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - made-up ids of a simulator, no secrets

    def short(self) -> str:
        """A 6-character id, as old profiles, flows, messages, metrics and templates have."""
        return "".join(self.random.choices(SHORT_ALPHABET, k=6))

    def number(self) -> str:
        """A decimal id, as flow actions have."""
        return str(self.random.randrange(10_000_000, 99_999_999))

    def event(self) -> str:
        return "".join(self.random.choices(SHORT_ALPHABET, k=11))

    def ulid(self, at: datetime) -> str:
        """A 26-character ULID that carries `at`, as new profiles and Transmission IDs have."""
        value = (int(at.timestamp() * 1000) << 80) | self.random.getrandbits(80)
        return "".join(CROCKFORD[(value >> shift) & 31] for shift in range(125, -5, -5))

    def uuid4(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def uuid_at(self, at: datetime) -> str:
        """A version-1 UUID of the second `at`, as events carry."""
        ticks = int(at.timestamp()) * 10_000_000 + 0x01B21DD213814000
        low, middle, high = ticks & 0xFFFFFFFF, (ticks >> 32) & 0xFFFF, (ticks >> 48) & 0x0FFF | 0x1000
        return str(uuid.UUID(fields=(low, middle, high, 0x80, 0x01, self.random.getrandbits(48))))

    def private_key(self) -> str:
        return "pk_" + "".join(self.random.choices("0123456789abcdef", k=34))
