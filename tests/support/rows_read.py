"""How many rows of a table were read: what tells a look-up from a search, whatever the clock says."""

from shared.db.pool import Database

# What a backend has not told yet is told when its transaction ends.
TELL = "SELECT pg_stat_force_next_flush()"
SELECT_READ = """
    SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint FROM pg_stat_user_tables
    WHERE relname ~ $1
"""


async def rows_read(database: Database, tables: str) -> int:
    """Of tables whose names match, so far. Only for one who is alone with the connection that read them."""
    async with database.connection() as connection:
        await connection.execute(TELL)
        read: int = await connection.fetchval(SELECT_READ, tables)
    return read
