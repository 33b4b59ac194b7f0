"""How the writer's statements find their rows, whatever the planner knows of the tables: by key, and stop early.

With rows read and sorted whole a turn took 55 ms with 15,000 rows waiting, and takes as long with none by key. The
pool's settings `BY_KEY` close those ways, and one is left that they do not see.

Several indexes begin with the account. To a plan that was made while the table was empty, and that is kept for as
long as the connection, all of them look alike: an intake of 50 jobs read 50 times all that waited. So the rows of a
profile are asked for in the order of their prefixes, which the primary key alone has. (Comparing whole keys as rows
would have that order too, but such a scan stops only at the end of the account: 350 ms a turn with 300,000 rows.)
"""


def keyed(*placeholders: str) -> str:
    """Arrays of account keys, profile ids and, where there is a third, prefixes as rows `k`."""
    names = ("account_key", "profile_id", "prefix")[: len(placeholders)]
    return f"unnest({', '.join(f'{one}::text[]' for one in placeholders)}) AS k ({', '.join(names)})"


def row_at_key(table: str) -> str:
    """The row of each `k` as `found`, its `place` among the columns. The next prefix of the profile is found where its
    own is not there, so the condition `AT_KEY` belongs to it."""
    return f"""
        LATERAL (SELECT r.*, r.ctid AS place FROM {table} r
                 WHERE r.account_key = k.account_key AND r.profile_id = k.profile_id AND r.prefix >= k.prefix
                 ORDER BY r.prefix LIMIT 1) found
    """  # noqa: S608 - names of our own tables


AT_KEY = "found.account_key = k.account_key AND found.profile_id = k.profile_id AND found.prefix = k.prefix"


def rows_of_profile(table: str) -> str:
    """All rows of each `k`'s profile as `found`, whatever their prefix: hardly ever more than one or two. In the order
    of the primary key, for the same reason."""
    return f"""
        LATERAL (SELECT r.* FROM {table} r
                 WHERE r.account_key = k.account_key AND r.profile_id = k.profile_id
                 ORDER BY r.prefix LIMIT 100) found
    """  # noqa: S608 - names of our own tables


def delete_at_keys(table: str) -> str:
    """Deletes the rows of $1, $2, $3. Whoever runs it holds their accounts, so that their places do not change."""
    return f"""
        DELETE FROM {table} WHERE ctid = ANY(ARRAY(
            SELECT found.place FROM {keyed("$1", "$2", "$3")}, {row_at_key(table)} WHERE {AT_KEY}))
    """  # noqa: S608 - names of our own tables


def in_flight(account_key: str, now: str) -> str:
    """Whether another prefix of the profile of `p` is on its way: no profile is written twice at a time."""
    return f"""
        SELECT FROM (
            SELECT o.prefix, o.taken_by, o.next_attempt_at FROM pending_writes o
            WHERE o.account_key = {account_key} AND o.profile_id = p.profile_id
            ORDER BY o.prefix LIMIT 1000) other
        WHERE other.prefix <> p.prefix AND other.taken_by IS NOT NULL AND other.next_attempt_at > {now}
    """  # noqa: S608 - placeholders
