"""A comparison with Klaviyo's totals, for every org there is."""

from shared.db.pool import Database

_STATEMENTS = (
    "INSERT INTO integrations (org_id, account_key, base_url, sealed_key, last4, scopes, verified_at, updated_at)"
    " SELECT org_id, 'acct:A', 'https://a.klaviyo.com', 's', 'abcd', '{}', created_at, created_at FROM orgs"
    " ON CONFLICT DO NOTHING",
    "INSERT INTO reconcile_orgs (org_id, due_at, tried_at, compared_at, sent_since, sent_until, happened_since,"
    " happened_until) SELECT org_id, created_at, created_at, created_at, created_at, created_at, created_at, created_at"
    " FROM orgs",
    "INSERT INTO reconciliations (org_id, compared_at, basis, message_id, measure, ours, theirs, people, cause)"
    " SELECT org_id, created_at, 'sent', 'MSG1', 'opens', 90, 120, 60, 'source_silent' FROM orgs UNION ALL"
    " SELECT org_id, created_at, 'sent', 'MSG2', 'delivered', 70, 70, NULL, 'agrees' FROM orgs",
)


async def add_totals(database: Database) -> None:
    """Compared when the org was made."""
    async with database.connection() as connection:
        for statement in _STATEMENTS:
            await connection.execute(statement)
