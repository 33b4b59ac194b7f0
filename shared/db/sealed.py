"""Every place where a sealed secret is stored, and how all of them are wrapped anew. A test holds the list against the
schema, so that none is forgotten: what is not on it would be lost with the old key.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from shared.crypto import KeyRing, SealError
from shared.db.pool import Connection, Database

BATCH: Final = 200
"""Rows of one transaction: some 20 ms, so that nobody waits for a lock of ours."""


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """`place`: SQL for what the ring is told when it opens; `owner`: SQL for whose it is, to be shown."""

    what: str
    table: str
    column: str
    key: str
    key_type: str
    place: str
    owner: str = "(SELECT slug FROM orgs o WHERE o.org_id = t.org_id)"


COLUMNS: Final = (
    SealedColumn("'Klaviyo key'", "integrations", "sealed_key", "org_id", "uuid", "t.org_id || '/klaviyo'"),
    SealedColumn("CASE t.kind WHEN 's3' THEN 'S3 secret' ELSE 'SFTP key' END || ' of source ' || t.name",
                 "sources", "sealed_key", "source_id", "uuid", "t.org_id || '/source/' || t.source_id"),
    SealedColumn("'S3 secret'", "export_targets", "sealed_secret", "org_id", "uuid", "t.org_id || '/export'"),
    SealedColumn("'secret of a webhook'",
                 "event_hooks", "sealed_secret", "source_id", "uuid", "t.org_id || '/hook/' || t.hook_id"),
    SealedColumn("'secret of a webhook, the one before'",
                 "event_hooks", "sealed_before", "source_id", "uuid", "t.org_id || '/hook/' || t.hook_id"),
    SealedColumn("'second factor'", "users", "sealed_totp", "user_id", "uuid",
                 "'users/' || t.user_id || '/totp'", owner="t.email"),
    SealedColumn("'sign-in at the provider'", "sessions", "sealed_id_token", "digest", "bytea",
                 "'sessions/' || encode(t.digest, 'hex') || '/id_token'",
                 owner="(SELECT email FROM users u WHERE u.user_id = t.user_id)"),
)  # fmt: skip

# An empty one is still to be set: what a configuration file says of it stands here without its secret.
SELECT_SEALED: Final = (
    " UNION ALL ".join(
        f"SELECT {one.what} AS what, coalesce({one.owner}, '') AS owner, "  # noqa: S608  # of the list above
        f"t.{one.column} AS sealed, {one.place} AS place "
        f"FROM {one.table} t WHERE t.{one.column} <> ''"
        for one in COLUMNS
    )
    + " ORDER BY owner, what"
)


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """What a batch came to. `shut`: those that do not open, as what they are and whose."""

    done: int
    shut: list[str]


async def count_others(database: Database, key: str) -> int:
    """How many secrets are sealed with another key than this."""
    async with database.connection() as connection:
        return sum([int(await connection.fetchval(_count(one), key)) for one in COLUMNS])


async def rewrap(database: Database, ring: KeyRing) -> AsyncIterator[Rewrapped]:
    """Wrap everything anew with the ring's first key, batch by batch, each its own transaction: what was done stays
    done, and whoever is interrupted begins again where it ended. What somebody changed meanwhile is left alone: its new
    secret was sealed by them, and another round finds it where that was with an old key. Raises Failure."""
    for column in COLUMNS:
        after = None
        while True:
            async with database.transaction() as connection:
                rows = await connection.fetch(_select(column), after, ring.names[0], BATCH)
                if not rows:
                    break
                after = rows[-1]["id"]
                result = await _rewrap(connection, column, ring, rows)
            yield result


async def _rewrap(connection: Connection, column: SealedColumn, ring: KeyRing, rows: list[Any]) -> Rewrapped:
    ids, olds, news, shut = [], [], [], []
    for row in rows:
        try:
            new = ring.rewrap(row["sealed"], row["place"])
        except SealError as error:
            shut.append(f"{row['what']} of {row['owner']}: {error}")
            continue
        ids.append(row["id"])
        olds.append(row["sealed"])
        news.append(new)
    # By the old sealed text. Times of change stay: it is the same secret, and one that was refused is refused still.
    done = await connection.execute(
        f"UPDATE {column.table} t SET {column.column} = n.new "  # noqa: S608  # of the list above
        f"FROM unnest($1::{column.key_type}[], $2::text[], $3::text[]) AS n (id, old, new) "
        f"WHERE t.{column.key} = n.id AND t.{column.column} = n.old",
        ids, olds, news,
    )  # fmt: skip
    return Rewrapped(int(done.split()[-1]), shut)


def _select(one: SealedColumn) -> str:
    return f"""
        SELECT t.{one.key} AS id, t.{one.column} AS sealed, {one.place} AS place, {one.what} AS what,
               coalesce({one.owner}, '') AS owner
        FROM {one.table} t
        WHERE t.{one.column} <> '' AND ($1::{one.key_type} IS NULL OR t.{one.key} > $1)
          AND split_part(t.{one.column}, '.', 2) <> $2
        ORDER BY t.{one.key} LIMIT $3
    """  # noqa: S608  # of the list above


def _count(one: SealedColumn) -> str:
    return f"SELECT count(*) FROM {one.table} WHERE {one.column} <> '' AND split_part({one.column}, '.', 2) <> $1"  # noqa: S608  # the same
