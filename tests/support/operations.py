"""What the pages of operations show, put into the database by hand."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from shared.db.pool import Database
from shared.schemas.ids import generation_day

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
    INSERT INTO events (day, org_id, event_id, metric, profile_id, event_at, transmission_id, file_id, line)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1)
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
        at, generation_id = self.now - timedelta(seconds=ago_s), uuid4()
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

    async def event(self, user_id: str, metric: str, *, of: UUID | None = None) -> None:
        """Of the email of a generation, or of none."""
        await self.execute("SELECT ensure_partition('events', $1)", self.now.date())
        await self.execute(
            INSERT_EVENT, self.now.date(), self.org_id, str(uuid4()), metric, user_id, self.now,
            None if of is None else f"T{of}", uuid4(),
        )  # fmt: skip

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
        """An hour that was exported once, or was tried."""
        await self.execute(
            "INSERT INTO export_hours (org_id, table_name, hour, reason, due_at, state, dirty_seq, exported_seq, rows, "
            "bytes, exported_at, error) VALUES ($1, 'generations', $2, 'schedule', $2, $3, 1, $4, 120, 48000, $5, $6)",
            self.org_id, hour, state, 1 if state == "exported" else 0, self.now if state == "exported" else None,
            error,
        )  # fmt: skip
