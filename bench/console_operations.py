"""What the pages of operations, review and troubleshooting of `make bench-console` are about."""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

from shared.db.pool import Database
from shared.messaging.publisher import open_publisher
from shared.messaging.topology import WRITE
from shared.schemas.jobs import WriteJob, encode_batch

_LETTERS = 100  # few, where things go well; the broker hands over some thousand a second
_STATEMENTS = (
    """
    INSERT INTO integrations (org_id, account_key, sealed_key, last4, scopes, verified_at, updated_at)
    VALUES ($1, 'acct:X', 's', 'last', '{flows:read,profiles:write}', $2, $2)
    """,
    """
    INSERT INTO klaviyo_accounts (account_key, runnable_at) SELECT 'acct:X', $2::timestamptz WHERE $1::uuid IS NOT NULL
    """,
    # A flow of each fifth template, as the account was read last.
    """
    INSERT INTO flow_messages (org_id, flow_id, flow_name, flow_status, action_id, message_id, message_name, delay_s,
        synced_at)
    SELECT $1, 'F' || n, 'Flow ' || n, 'live', 'A' || n, 'M' || n, 'Email', 300, $2 FROM generate_series(1, 200) n
    """,
    "UPDATE templates SET flow_id = 'F' || substr(template_id, 2) WHERE org_id = $1 AND $2::timestamptz IS NOT NULL",
    # 5,000 writes wait.
    """
    INSERT INTO pending_writes (account_key, profile_id, prefix, org_id, action, lane, day, generation_id, written_for,
        accepted_at, deadline_at, clean_at, next_attempt_at)
    SELECT 'acct:X', 'w' || n, 'jai', $1, 'write', n % 4, ($2 AT TIME ZONE 'UTC')::date, gen_random_uuid(), 't1.f.a',
        $2, $2 + interval '5 minutes', $2 + interval '2 hours', $2 FROM generate_series(1, 5000) n
    """,
    """
    INSERT INTO export_targets (org_id, bucket, created_at, updated_at) VALUES ($1, 'acme', $2, $2)
    """,
    """
    INSERT INTO export_hours (org_id, table_name, hour, reason, due_at, state, exported_seq, rows, bytes, exported_at)
    SELECT $1, 'generations', hour, 'schedule', hour, 'exported', 1, 80000, 20000000, hour
    FROM generate_series(date_trunc('hour', $2::timestamptz, 'UTC') - interval '90 days',
        date_trunc('hour', $2::timestamptz, 'UTC') - interval '1 hour', interval '1 hour') hour
    """,
    """
    INSERT INTO audit_log (org_id, at, actor, actor_kind, operation, target, asked, request_id)
    SELECT $1, $2::timestamptz - n * interval '3 minutes', 'ann@example.com', 'person',
        (ARRAY['templates.import', 'keys.create', 'variants.approve'])[1 + n % 3], 't' || n % 1000,
        '{"template_id": "t1"}', 'r' || n FROM generate_series(20000, 1, -1) n
    """,
    # In half of the templates a variant waits for review.
    """
    WITH made AS (
        INSERT INTO variants (org_id, copy_id, template_id, name, state, proposed_version, proposed_state,
            created_at, updated_at)
        SELECT $1, gen_random_uuid(), template_id, 'Proposal', 'draft', 1, 'in_review', $2, $2
        FROM templates WHERE org_id = $1 AND template_id ~ '[02468]$' RETURNING copy_id
    ), written AS (
        INSERT INTO variant_versions (org_id, copy_id, version, subject, preheader, body, author, created_at)
        SELECT $1, copy_id, 1, 'Hello {{ first_name }}', '', '<p>Hello</p>', 'bob@example.com', $2 FROM made
    )
    INSERT INTO variant_events (org_id, copy_id, version, event, actor, created_at)
    SELECT $1, copy_id, 1, event, 'bob@example.com', $2 FROM made, unnest('{written,submitted}'::text[]) event
    """,
)


async def seed(db: Database, org_id: UUID, now: datetime) -> None:
    """An account whose queue is long, three months of exports, an audit log, and 500 versions in review."""
    async with db.transaction(timeout_s=120) as connection:
        for statement in _STATEMENTS:
            await connection.execute(statement, org_id, now, timeout=120)


async def bury(amqp_url: str, org_id: UUID, now: datetime) -> None:
    """Dead letters, of three reasons."""
    async with open_publisher(amqp_url, "bench", WRITE) as publisher:
        for number in range(_LETTERS):
            job = WriteJob(
                org_id=org_id, generation_id=uuid4(), day=now.date(), profile_id=f"p{number}", prefix="jai",
                action="write", accepted_at=now, deadline_at=now + timedelta(minutes=5),
            )  # fmt: skip
            reason = ("profile_not_found", "body_too_large", "no_answer")[number % 3]
            await publisher.bury(
                WRITE, encode_batch([job]), queue="write", attempt=6, reason=reason, at=now.isoformat()
            )
