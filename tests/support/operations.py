"""What the pages of operations show, put into the database by hand."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from shared.db.pool import Database
from shared.draw import fraction
from shared.schemas.copy import VariantSource, Vars
from shared.schemas.ids import generation_day
from shared.vars_codec import encode_vars

INSERT_GENERATION = """
    INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, deadline_at,
        clean_at, decision, reason, property_prefix, written_for, eligible, probabilities, propensity, attrs, copy_id)
    VALUES ($1, $2, $3, $4, $5, $5 || '.FLOW01.70000012', $6, $7, $8, $9, $10, 'jai', $4 || '.FLOW01.70000012', $11,
        $12, $13, '{"plan": "gold"}', $14)
"""
INSERT_SEND = """
    INSERT INTO sends (org_id, transmission_id, profile_id, sent_at, day, attribution, generation_id, generation_day,
        template_id, delivered, bounced, unsubscribed, spam, human_opens, machine_opens, human_clicks, bot_clicks)
    VALUES ($1, 'T' || $2::uuid, $3, $4, $5, 'message', $2, $6, $7, true, false, false, false, 1, 0, 0, 0)
"""
INSERT_EVENT = """
    INSERT INTO events (day, org_id, event_id, metric, profile_id, event_at, transmission_id, file_id, line, url,
        machine_open)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, false)
"""
INSERT_VARIANT = """
    INSERT INTO variants (org_id, copy_id, template_id, name, state, created_at, updated_at)
    SELECT org_id, copy_id, template_id, $2, 'approved', accepted_at, accepted_at FROM generations
    WHERE generation_id = $1
"""
INSERT_VERSION = """
    INSERT INTO variant_versions (org_id, copy_id, version, subject, preheader, body, created_at)
    SELECT org_id, copy_id, 1, $2, $3, $4, accepted_at FROM generations WHERE generation_id = $1
"""
INSERT_TOLD = """
    WITH s AS (
        INSERT INTO sources (source_id, org_id, name, host, username, host_key, sealed_key)
        VALUES (gen_random_uuid(), $1, 'events', 'h', 'u', 'k', 's') RETURNING source_id
    ), f AS (
        INSERT INTO ingest_files (file_id, org_id, source_id, path, size, mtime, state, first_seen_at, last_seen_at)
        SELECT gen_random_uuid(), $1, source_id, $2, 1, $3, 'done', $3, $3 FROM s RETURNING file_id
    )
    UPDATE events SET file_id = f.file_id, line = 12 FROM f WHERE org_id = $1
"""
INSERT_STATE = """
    INSERT INTO profile_state (account_key, profile_id, prefix, org_id, state, day, generation_id, written_for,
        accepted_at, clean_at)
    VALUES ('acct:X', $1, $2, $3, $4, $5, $6, 'welcome.FLOW01.70000012', $7, $8)
"""


@dataclass(frozen=True)
class Facts:
    """Of one org. Moments are so many seconds before `now`."""

    database: Database
    org_id: UUID
    now: datetime

    async def execute(self, sql: str, *arguments: object) -> None:
        async with self.database.transaction() as connection:
            await connection.execute(sql, *arguments)

    async def generation(
        self, user_id: str = "01PERSON", *, ago_s: float = 600, decision: str = "treatment", decided: str = "explore",
        outcome: str | None = "written", reason: str | None = None, written_s: float = 2, delay_s: float = 120,
        sent_s: float | None = None, template_id: str = "welcome", clean_s: float = 7200,
    ) -> UUID:  # fmt: skip
        """`written_s`, `delay_s`, `sent_s`, `clean_s`: after its acceptance; without `sent_s`, no email is known."""
        at = self.now - timedelta(seconds=ago_s)
        # One whose draw falls on the copy that it got: for others no drawn number is told.
        generation_id = next(one for one in iter(uuid4, None) if fraction(one.bytes, b"draw") < 0.7)
        day = generation_day(at)
        for table in ("generations", "write_outcomes"):
            await self.execute("SELECT ensure_partition($1, $2)", table, day)
        treated = decision == "treatment"
        copies = [uuid4(), uuid4()] if treated else []
        await self.execute(
            INSERT_GENERATION, day, generation_id, self.org_id, template_id, user_id, at,
            at + timedelta(seconds=delay_s), at + timedelta(seconds=clean_s), decision, decided,
            copies, [0.7, 0.3] if treated else [], 0.7 if treated else None, copies[0] if treated else None,
        )  # fmt: skip
        if outcome is not None:
            await self.execute(
                "INSERT INTO write_outcomes VALUES ($1, $2, $3, $4, $5, $6, 1)",
                day, generation_id, self.org_id, outcome, reason, at + timedelta(seconds=written_s),
            )  # fmt: skip
        if sent_s is not None:
            sent_at = at + timedelta(seconds=sent_s)
            await self.execute(
                INSERT_SEND, self.org_id, generation_id, user_id, sent_at, sent_at.date(), day, template_id
            )
        return generation_id

    async def event(self, user_id: str, metric: str, *, of: UUID | None = None, url: str | None = None) -> None:
        """Of the email of a generation, or of none. Clicks and opens are a person's."""
        await self.execute("SELECT ensure_partition('events', $1)", self.now.date())
        await self.execute(
            INSERT_EVENT, self.now.date(), self.org_id, str(uuid4()), metric, user_id, self.now,
            None if of is None else f"T{of}", uuid4(), url,
        )  # fmt: skip

    async def content(self, generation_id: UUID, copy: Vars, name: str = "Warm") -> None:
        """The generation rendered this, of a variant that is nobody else's."""
        async with self.database.connection() as connection:
            copy_id = await connection.fetchval(
                "SELECT copy_id FROM generations WHERE generation_id = $1", generation_id
            )
        await self.execute(INSERT_VARIANT, generation_id, name)
        await self.execute(INSERT_VERSION, generation_id, *copy)
        await self.execute(
            "UPDATE generations SET variant_version = 1, vars = $2 WHERE generation_id = $1",
            generation_id, encode_vars(copy, VariantSource(copy_id, 1, *copy)),
        )  # fmt: skip

    async def told_by(self, path: str) -> None:
        """A file of the source `events` told of all events so far, in its line 12."""
        await self.execute(INSERT_TOLD, self.org_id, path, self.now)

    async def account(self) -> None:
        """The org is connected, and its account was written to."""
        await self.execute(
            "INSERT INTO integrations (org_id, account_key, sealed_key, last4, updated_at) "
            "VALUES ($1, 'acct:X', 's', 'last', $2)",
            self.org_id, self.now,
        )  # fmt: skip
        await self.execute("INSERT INTO klaviyo_accounts (account_key) VALUES ('acct:X') ON CONFLICT DO NOTHING")

    async def profile(self, user_id: str, prefix: str = "jai", *, state: str = "holding") -> None:
        """What the profile is believed to hold; its send window ends in an hour."""
        await self.execute(
            INSERT_STATE, user_id, prefix, self.org_id, state, self.now.date(), uuid4(), self.now,
            self.now + timedelta(hours=1),
        )  # fmt: skip

    async def exported(self, hour: datetime, *, state: str = "exported", error: str | None = None) -> None:
        """An hour that was exported once, or was tried, and its generations are kept."""
        await self.execute("SELECT ensure_partition('generations', $1)", generation_day(hour))
        await self.execute(
            "INSERT INTO export_hours (org_id, table_name, hour, reason, due_at, state, dirty_seq, exported_seq, rows, "
            "bytes, exported_at, error) VALUES ($1, 'generations', $2, 'schedule', $2, $3, 1, $4, 120, 48000, $5, $6)",
            self.org_id, hour, state, 1 if state == "exported" else 0, self.now if state == "exported" else None,
            error,
        )  # fmt: skip
