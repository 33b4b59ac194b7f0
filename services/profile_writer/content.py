"""What a write says and with which key: read when it is about to leave, never carried in messages."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from services.profile_writer.rows import Pending
from shared import logs
from shared.crypto import KeyRing, SealError
from shared.db.pool import Database
from shared.db.versions import Versions
from shared.schemas.copy import VariantSource
from shared.snippet import properties
from shared.vars_codec import decode_vars

log = logs.get(__name__)

_SOURCES_MAX: Final = 4096  # versions of variants in memory; at 20 KB each about 80 MB


@dataclass(frozen=True, slots=True)
class Integration:
    """One org's connection. `private_key` None: what is stored does not open with our key ring."""

    org_id: UUID
    base_url: str
    private_key: str | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Texts:
    """What some writes say: by generation id, the six properties of each. A generation that is `stopped` (its template
    or org is, as of this look) is not handed out; one that is in neither has no readable copy."""

    by_id: Mapping[UUID, dict[str, str]]
    stopped: frozenset[UUID] = frozenset()


class Contents:
    """Reads generations, variant sources and integrations."""

    def __init__(self, db: Database, ring: KeyRing, *, sources_max: int = _SOURCES_MAX) -> None:
        self._db, self._ring, self._versions = db, ring, Versions(sources_max)
        self._opened: dict[tuple[UUID, datetime], Integration] = {}

    SELECT_INTEGRATIONS = """
        SELECT org_id, base_url, sealed_key, updated_at FROM integrations WHERE org_id = ANY($1)
    """

    async def integrations(self, org_ids: Collection[UUID]) -> dict[UUID, Integration]:
        """The orgs' connections; opened once per stored key."""
        async with self._db.connection() as connection:
            rows = await connection.fetch(self.SELECT_INTEGRATIONS, list(org_ids))
        found: dict[UUID, Integration] = {}
        for row in rows:
            version = (row["org_id"], row["updated_at"])
            if version not in self._opened:
                stale = [known for known in self._opened if known[0] == row["org_id"]]
                for known in stale:
                    del self._opened[known]
                opened = self._open(row["org_id"], row["base_url"], row["sealed_key"], row["updated_at"])
                if opened.private_key is not None:  # else the ring may learn of its key while we run
                    self._opened[version] = opened
            else:
                opened = self._opened[version]
            found[row["org_id"]] = opened
        return found

    def _open(self, org_id: UUID, base_url: str, sealed_key: str, updated_at: datetime) -> Integration:
        try:
            private_key: str | None = self._ring.open(sealed_key, f"{org_id}/klaviyo")
        except SealError:
            private_key = None
        return Integration(org_id, base_url, private_key, updated_at)

    SELECT_VARS = """
        SELECT g.generation_id, g.copy_id, g.variant_version, g.vars,
               t.stopped_at IS NOT NULL OR o.stopped_at IS NOT NULL AS stopped
        FROM unnest($1::date[], $2::uuid[]) AS k (day, generation_id)
        JOIN generations g ON g.day = k.day AND g.generation_id = k.generation_id
        LEFT JOIN templates t ON t.org_id = g.org_id AND t.template_id = g.template_id
        LEFT JOIN orgs o ON o.org_id = g.org_id
        WHERE g.vars IS NOT NULL
    """

    async def texts(self, rows: Sequence[Pending]) -> Texts:
        """What these rows write, read right before it leaves. The last gate of a stop: whoever sends copy has it from
        here, so none that was stopped before this look can leave, whatever notification was lost."""
        writes = [row for row in rows if row.action == "write"]
        if not writes:
            return Texts({})
        by_id = {row.ref.generation_id: row for row in writes}
        async with self._db.connection() as connection:
            stored = await connection.fetch(
                self.SELECT_VARS, [row.ref.day for row in writes], [row.ref.generation_id for row in writes]
            )
            stopped = frozenset(one["generation_id"] for one in stored if one["stopped"])
            stored = [one for one in stored if not one["stopped"]]
            wanted = {(one["copy_id"], one["variant_version"]) for one in stored}
            sources = await self._versions.get(wanted, lambda: nullcontext(connection))
        texts: dict[UUID, dict[str, str]] = {}
        for one in stored:
            row, source = by_id[one["generation_id"]], sources.get((one["copy_id"], one["variant_version"]))
            try:
                if source is not None:
                    texts[row.ref.generation_id] = self._properties(row, one["vars"], source)
            except Exception as error:  # noqa: BLE001  # whatever is damaged in it, its neighbours are written
                log.error("copy.unreadable", generation_id=row.ref.generation_id, error=type(error).__name__)
        return Texts(texts, stopped)

    @staticmethod
    def _properties(row: Pending, blob: bytes, source: VariantSource) -> dict[str, str]:
        copy = decode_vars(blob, source)
        # Whose copy it is, is the very id that the write goes to, as the webhook's {{ person.KlaviyoID }} said it.
        values = (*copy, str(row.ref.generation_id), row.written_for, row.key.profile_id)
        return dict(zip(properties(row.key.prefix), values, strict=True))
