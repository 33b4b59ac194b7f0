"""What is stored about one person, and deleting it.

The clean-up of the Klaviyo profile is hastened first, then the rows go: a copy whose generation is gone can be sent no
more, so nothing lands on the profile in between that the clean-up does not take away. Rollups, which are sums, stay.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field, SecretStr, StringConstraints

from shared.admin.context import Asking, Context
from shared.admin.hold import hold_events
from shared.admin.operation import AskedModel, ResultModel, operation_after
from shared.admin.outcomes.shown_store import SET_PLANNED_ONCE
from shared.admin.person.known import has_rows, nobody, on_profile
from shared.admin.person.rejected import Naming, delete_rejects, rejects_naming
from shared.admin.person.told import Told, delete_told, told_of
from shared.person_proof import proof_of

# An hour's objects that name the person: control rows only where the record, or another table, has them. What is being
# exported just now may have them.
_OF_THE_PERSON = """
    e.org_id = $1 AND e.table_name IN ('generations', 'outcomes') AND EXISTS (
        SELECT FROM mine m WHERE date_trunc('hour', m.accepted_at, 'UTC') = e.hour AND (m.decision = 'treatment' OR
            m.decision = 'control' AND (e.table_name = 'outcomes' OR e.schema_version >= 2 OR e.state = 'exporting')))
"""
COUNT = f"""
    WITH mails AS MATERIALIZED (SELECT transmission_id FROM sends WHERE org_id = $1 AND profile_id = $2),
    mine AS MATERIALIZED (SELECT accepted_at, decision FROM generations WHERE org_id = $1 AND user_id = $2)
    SELECT
        (SELECT count(*) FROM mine) AS generations,
        (SELECT min(accepted_at) FROM mine) AS first_at,
        (SELECT max(accepted_at) FROM mine) AS last_at,
        (SELECT count(*) FROM mails) AS sends,
        (SELECT count(*) FROM events WHERE org_id = $1 AND transmission_id IN (SELECT transmission_id FROM mails))
        + (SELECT count(*) FROM events WHERE org_id = $1 AND profile_id = $2 AND transmission_id IS NULL)
        + (SELECT count(*) FROM event_repeats WHERE org_id = $1 AND said ->> 'profile_id' = $2 AND said IS NOT NULL)
            AS events,
        (SELECT count(*) FROM conversions
            WHERE org_id = $1 AND transmission_id IN (SELECT transmission_id FROM mails)) AS conversions,
        (SELECT count(*) FROM last_copies WHERE org_id = $1 AND user_id = $2) AS last_copies,
        (SELECT count(DISTINCT e.hour) FROM export_hours e WHERE {_OF_THE_PERSON}) AS export_hours
"""  # noqa: S608 - our own words
# Taking the account first, as whoever sends does: else a turn under way would write its own moment over ours.
LOCK_ACCOUNTS = """
    SELECT account_key FROM klaviyo_accounts a
    WHERE EXISTS (SELECT FROM profile_state s
                  WHERE s.account_key = a.account_key AND s.profile_id = $2 AND s.org_id = $1)
       OR EXISTS (SELECT FROM pending_writes p
                  WHERE p.account_key = a.account_key AND p.profile_id = $2 AND p.org_id = $1)
    ORDER BY account_key FOR UPDATE
"""
HASTEN = """
    UPDATE profile_state SET clean_at = least(clean_at, $3), decided_until = least(decided_until, $3)
    WHERE org_id = $1 AND profile_id = $2 AND account_key = ANY($4) AND state <> 'clean'
"""
# Whose write is in flight, or leaves before the rows are gone: its answer is what the profile holds from then on.
HASTEN_PENDING = """
    UPDATE pending_writes SET clean_at = least(clean_at, $3)
    WHERE org_id = $1 AND profile_id = $2 AND account_key = ANY($4)
"""
FORGET_CLEAN = """
    DELETE FROM profile_state WHERE org_id = $1 AND profile_id = $2 AND account_key = ANY($3) AND state = 'clean'
"""
WAKE = "UPDATE klaviyo_accounts SET runnable_at = least(runnable_at, $2) WHERE account_key = ANY($1)"

DELETE_CONVERSIONS = """
    DELETE FROM conversions WHERE org_id = $1
      AND transmission_id IN (SELECT transmission_id FROM sends WHERE org_id = $1 AND profile_id = $2)
"""
# What a file says of an event that is somebody else's now, or still theirs.
DELETE_SAID = """
    DELETE FROM event_repeats WHERE org_id = $1 AND said ->> 'profile_id' = $2 AND said IS NOT NULL
"""
# Before the events that they repeat; they may quote what a file said of them.
DELETE_REPEATS = """
    DELETE FROM event_repeats WHERE org_id = $1 AND (event_id, day) IN (SELECT event_id, day FROM events
        WHERE org_id = $1
          AND transmission_id IN (SELECT transmission_id FROM sends WHERE org_id = $1 AND profile_id = $2))
"""
DELETE_OTHER_REPEATS = """
    DELETE FROM event_repeats WHERE org_id = $1 AND (event_id, day) IN (SELECT event_id, day FROM events
        WHERE org_id = $1 AND profile_id = $2 AND transmission_id IS NULL)
"""
DELETE_EVENTS = """
    DELETE FROM events WHERE org_id = $1
      AND transmission_id IN (SELECT transmission_id FROM sends WHERE org_id = $1 AND profile_id = $2)
"""
DELETE_OTHER_EVENTS = "DELETE FROM events WHERE org_id = $1 AND profile_id = $2 AND transmission_id IS NULL"
DELETE_SENDS = "DELETE FROM sends WHERE org_id = $1 AND profile_id = $2"
DELETE_LAST_COPIES = "DELETE FROM last_copies WHERE org_id = $1 AND user_id = $2"
DELETE_ALIASES = """
    DELETE FROM generation_aliases a USING generations g
    WHERE g.org_id = $1 AND g.user_id = $2 AND a.org_id = $1 AND a.day = g.day AND a.generation_id = g.generation_id
"""
# Before the generations that they are of. The same webhook within the hour has the same id again, and its own write.
DELETE_OUTCOMES = """
    DELETE FROM write_outcomes o USING generations g
    WHERE g.org_id = $1 AND g.user_id = $2 AND o.org_id = $1 AND o.day = g.day AND o.generation_id = g.generation_id
"""
# As who inserts does: an exporter that has claimed an hour is seen below, and one that has not waits for the deletion.
LOCK_HOURS = """
    SELECT pg_advisory_xact_lock_shared(export_hour_lock($1, hour)) FROM (
        SELECT DISTINCT date_trunc('hour', accepted_at, 'UTC') AS hour FROM generations
        WHERE org_id = $1 AND user_id = $2 ORDER BY 1) one
"""
# Hours that were never exported are exported without the person as it is.
MARK_HOURS = f"""
    WITH mine AS MATERIALIZED (SELECT accepted_at, decision FROM generations WHERE org_id = $1 AND user_id = $2),
    held AS MATERIALIZED (
        SELECT e.table_name, e.hour, e.exported_at IS NOT NULL OR e.state = 'exporting' AS known
        FROM export_hours e WHERE {_OF_THE_PERSON} ORDER BY e.hour, e.table_name FOR UPDATE
    ), marked AS (
        UPDATE export_hours e SET dirty_seq = e.dirty_seq + 1, due_at = $3, error = NULL,
            reason = CASE WHEN h.known THEN 'person_deleted' ELSE e.reason END,
            people_deleted = e.people_deleted + h.known::int,
            state = CASE WHEN e.state = 'exporting' THEN e.state ELSE 'pending' END
        FROM held h WHERE e.org_id = $1 AND e.table_name = h.table_name AND e.hour = h.hour
        RETURNING e.hour
    )
    SELECT count(DISTINCT hour) FROM marked
"""  # noqa: S608 - our own words
DELETE_GENERATIONS = "DELETE FROM generations WHERE org_id = $1 AND user_id = $2"
# Jobs that ended are kept for their latency, which needs no names.
FORGET_IN_JOBS = """
    UPDATE bulk_jobs SET profile_ids = array_replace(profile_ids, $2, 'deleted')
    WHERE org_id = $1 AND state = 'ended' AND $2 = ANY(profile_ids)
"""

ProfileId = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class OnePerson(AskedModel):
    """`user_id`: a Klaviyo profile's id. `quick`: events of emails that are not known as theirs, and rows of files that
    are no events, are looked for only where nothing else is stored, for that reads all days of events, and all such
    rows."""

    user_id: ProfileId
    quick: bool = False


class DeletePerson(AskedModel):
    """`user_id`: a Klaviyo profile's id; a secret here, so that no log keeps whom somebody wanted forgotten."""

    user_id: SecretStr = Field(min_length=1, max_length=200)


class Held(ResultModel):
    """Rows about one person. `events`: and what files say otherwise of an event; `on_profile`: sets of our properties
    that the Klaviyo profile holds, or may hold; `export_hours`: exported hours that name them."""

    generations: int
    first_at: datetime | None
    last_at: datetime | None
    sends: int
    events: int
    conversions: int
    last_copies: int
    rejects: int
    export_hours: int
    on_profile: int


class Deleted(ResultModel):
    """What was touched, in rows. `clean_ups`: sets of properties that are taken off the Klaviyo profile now, in the
    order of the account's quota; `export_hours`: hours that are exported again without them. `proof`: an id made of the
    person's and the installation's secret: who knows the person finds the deletion in the audit log, nobody else does.
    `changed`: always, though all counts are 0: by the proof and its moment, what is told of them from before stays out.
    """

    generations: int
    sends: int
    events: int
    conversions: int
    last_copies: int
    rejects: int
    export_hours: int
    clean_ups: int
    proof: UUID
    changed: bool

    @property
    def nothing_was_there(self) -> bool:
        """All counts are 0."""
        touched = self.generations + self.sends + self.events + self.conversions
        return touched + self.last_copies + self.rejects + self.clean_ups == 0


@dataclass(frozen=True, slots=True)
class _Counted:
    """What no index finds of a person. `told`: events of emails that are not known as theirs."""

    on_profile: int
    remembered: int
    told: int = 0
    rejects: int = 0


async def _look_first(asking: Asking, asked: OnePerson) -> _Counted:
    on_the_profile, remembered = await on_profile(asking, asked.user_id)
    if asked.quick and (remembered or await has_rows(asking, asked.user_id)):
        return _Counted(on_the_profile, remembered)
    told, rejects = await told_of(asking, asked.user_id), await rejects_naming(asking, asked.user_id)
    return _Counted(on_the_profile, remembered, sum(map(len, told.values())), sum(map(len, rejects.values())))


@operation_after(
    _look_first, "person.show", "GET", "/people/{user_id}", "editor",
    "Count what is stored about one person, by Klaviyo profile id.",
)  # fmt: skip
async def show(context: Context, asked: OnePerson, found_first: _Counted) -> Held:
    """Raises NotFound for one of whom nothing is stored."""
    await context.connection.execute(SET_PLANNED_ONCE)
    row = await context.connection.fetchrow(COUNT, context.org_id, asked.user_id)
    if row is None:
        raise AssertionError("an aggregate has one row")
    if not any((found_first.remembered, found_first.told, found_first.rejects, *row.values())):
        raise nobody(asked.user_id)
    events = row["events"] + found_first.told
    return Held(**dict(row) | {"events": events}, rejects=found_first.rejects, on_profile=found_first.on_profile)


async def _look_and_clean(asking: Asking, asked: DeletePerson) -> tuple[int, Told, Naming]:
    user_id = asked.user_id.get_secret_value()
    told, rejects = await told_of(asking, user_id), await rejects_naming(asking, user_id)
    return await _clean(asking, asked), told, rejects


async def _clean(asking: Asking, asked: DeletePerson) -> int:
    """As the worker's role, since an account belongs to no org; each statement names the org."""
    org_id, user_id, now = asking.org_id, asked.user_id.get_secret_value(), asking.means.clock.now()
    async with asking.means.database.transaction() as connection:
        accounts = [row["account_key"] for row in await connection.fetch(LOCK_ACCOUNTS, org_id, user_id)]
        await connection.execute(FORGET_CLEAN, org_id, user_id, accounts)
        hastened = _counted(await connection.execute(HASTEN, org_id, user_id, now, accounts))
        await connection.execute(HASTEN_PENDING, org_id, user_id, now, accounts)
        if hastened:
            await connection.execute(WAKE, accounts, now)
    return hastened


@operation_after(
    _look_and_clean, "person.delete", "POST", "/people/delete", "owner",
    "Delete what is stored about one person, clean their profile, and export their hours again.",
)  # fmt: skip
async def delete(context: Context, asked: DeletePerson, found_first: tuple[int, Told, Naming]) -> Deleted:
    clean_ups, told, naming = found_first
    connection, org_id, user_id = context.connection, context.org_id, asked.user_id.get_secret_value()
    # A file that has not committed yet may bring what cannot be seen here, or emails anew that are deleted here.
    await hold_events(context)

    async def gone(*statements: str) -> int:
        return sum([_counted(await connection.execute(one, org_id, user_id)) for one in statements])

    conversions = await gone(DELETE_CONVERSIONS)
    events = await gone(DELETE_SAID) + await delete_told(context, connection, user_id, told)
    await gone(DELETE_REPEATS, DELETE_OTHER_REPEATS)
    events += await gone(DELETE_EVENTS, DELETE_OTHER_EVENTS)
    sends, last_copies = await gone(DELETE_SENDS), await gone(DELETE_LAST_COPIES)
    rejects = await delete_rejects(connection, org_id, user_id, naming)
    await connection.execute(LOCK_HOURS, org_id, user_id)
    export_hours: int = await connection.fetchval(MARK_HOURS, org_id, user_id, context.now)
    await gone(DELETE_ALIASES, DELETE_OUTCOMES, FORGET_IN_JOBS)
    generations = await gone(DELETE_GENERATIONS)
    return Deleted(
        generations=generations, sends=sends, events=events, conversions=conversions, last_copies=last_copies,
        rejects=rejects, export_hours=export_hours, clean_ups=clean_ups,
        proof=proof_of(context.means.peppers, org_id, user_id),
        changed=True,
    )  # fmt: skip


def _counted(status: str) -> int:
    """`DELETE 3` is 3."""
    return int(status.rpartition(" ")[2])
