"""What drafts cost: tokens as the model's server counted them, and money where the prices are known. Pure."""

from dataclasses import dataclass

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars for a million tokens."""

    read: float
    written: float


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written. `uncounted`: answers whose server did not say."""

    read: int = 0
    written: int = 0
    uncounted: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.read + other.read, self.written + other.written, self.uncounted + other.uncounted)

    def shown(self, prices: Prices | None) -> str:
        """`1,200 tokens read, 300 written, 0.0081 USD`; without prices, only the tokens."""
        parts = [f"{self.read:,} tokens read", f"{self.written:,} written"]
        if prices is not None:
            cost = (self.read * prices.read + self.written * prices.written) / _MILLION
            parts.append(f"{'at least ' if self.uncounted else ''}{cost:.4f} USD")
        if self.uncounted:
            parts.append(f"{self.uncounted} answers not counted by the server")
        return ", ".join(parts)


def counted(read: object, written: object) -> Usage:
    """The usage of one answer, whatever its server sent in its place."""
    if type(read) is int and type(written) is int and read >= 0 and written >= 0:
        return Usage(read, written)
    return Usage(uncounted=1)
