"""Versions of variants by id, kept in memory: a version never changes, and thousands of rows name the same few."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from uuid import UUID

from shared.db.pool import Connection
from shared.schemas.copy import VariantSource

SELECT_VERSIONS = """
    SELECT v.copy_id, v.version, v.subject, v.preheader, v.body
    FROM unnest($1::uuid[], $2::int[]) AS k (copy_id, version)
    JOIN variant_versions v ON v.copy_id = k.copy_id AND v.version = k.version
"""

VersionId = tuple[UUID, int]
"""A variant's copy_id, and which of its versions."""


class Versions:
    """The `most` that were used last; at 20 KB each a thousand are 20 MB."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[VersionId, VariantSource] = OrderedDict()  # the one used last is the last

    async def get(
        self, wanted: Collection[VersionId], connecting: Callable[[], AbstractAsyncContextManager[Connection]]
    ) -> Mapping[VersionId, VariantSource]:
        """Those that are stored; connects only for what is not kept. What is kept is held on to before the first wait:
        others ask side by side, and may make room meanwhile."""
        found = {one: self._kept[one] for one in wanted if one in self._kept}
        if unknown := [one for one in wanted if one not in found]:
            async with connecting() as connection:
                rows = await connection.fetch(SELECT_VERSIONS, *map(list, zip(*unknown, strict=True)))
            found |= {(row["copy_id"], row["version"]): VariantSource(**row) for row in rows}
        for one, source in found.items():
            self._kept[one] = source
            self._kept.move_to_end(one)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return found
