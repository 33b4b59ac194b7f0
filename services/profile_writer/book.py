"""The rows of some keys while one transaction works on them: read once, changed by verdicts, written back once."""

from collections.abc import Iterable

from services.profile_writer.rows import Held, Key, Outcome, Pending, Verdict


class Book:
    """Knows what has changed since it was read."""

    def __init__(self, pending: Iterable[Pending] = (), held: Iterable[Held] = ()) -> None:
        self._pending: dict[Key, Pending | None] = {row.key: row for row in pending}
        self._held: dict[Key, Held | None] = {row.key: row for row in held}
        self._pending_before, self._held_before = dict(self._pending), dict(self._held)
        self.outcomes: list[Outcome] = []

    def pending(self, key: Key) -> Pending | None:
        return self._pending.get(key)

    def held(self, key: Key) -> Held | None:
        return self._held.get(key)

    def keys(self) -> set[Key]:
        """Of all rows that were read or recorded."""
        return {*self._pending, *self._held}

    def record(self, key: Key, verdict: Verdict) -> None:
        self._pending[key], self._held[key] = verdict.pending, verdict.held
        self.outcomes += verdict.outcomes

    def pending_changed(self) -> list[Pending]:
        """Rows to insert or replace, in the order of their keys."""
        return [row for _, row in sorted(self._pending.items()) if row and row != self._pending_before.get(row.key)]

    def pending_gone(self) -> list[Key]:
        return sorted(key for key, row in self._pending.items() if row is None and self._pending_before.get(key))

    def held_changed(self) -> list[Held]:
        """Rows to insert or replace, in the order of their keys."""
        return [row for _, row in sorted(self._held.items()) if row and row != self._held_before.get(row.key)]

    def held_gone(self) -> list[Key]:
        return sorted(key for key, row in self._held.items() if row is None and self._held_before.get(key))
