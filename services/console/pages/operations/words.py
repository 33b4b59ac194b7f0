"""How many, and when, on pages of operations. Pure."""

from datetime import UTC, datetime


def counted(count: int, one: str, many: str = "") -> str:
    """`1 email`, `2,000 emails`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def moment_of(text: str) -> datetime | None:
    """A moment that a message's header holds; None for anything else."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
