"""SQL of the generator: what it may say, what it said. Every write says its idempotency."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from services.generator.assign import Split
from services.generator.catalog import FlowWait, OrgConfig, Template
from services.generator.cells import PLAIN, compiled
from services.generator.records import Alias, Found, Generation, Person, Stored, write_of
from services.generator.select import Snapshot, uniform, usable
from shared import logs
from shared.clock import Clock, first_of
from shared.db.partitions import Partitions
from shared.db.pool import Database
from shared.errors import Transient
from shared.schemas.copy import VariantSource

log = logs.get(__name__)

_FORGET_EVERY_S = 3600.0
_FORGET_AGAIN_S = 300.0
FORGOTTEN_AT_ONCE = 5_000
_REPEAT_WINDOW = timedelta(days=30)


class Store:
    """All that the generator reads and writes. Every method raises Outage when the database is away."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self.days = Partitions(database, "generations")

    # One row an org: everything that is served of it. OFFSET 0: asked once a template, not for each of its snapshots.
    SELECT_ORGS = """
        SELECT o.org_id,
            (SELECT coalesce(json_object_agg(f.action_id, json_build_array(f.least_s, f.most_s)), '{}') FROM (
                SELECT action_id, min(delay_s) AS least_s,
                       CASE WHEN NOT bool_or(open_ended) THEN max(greatest(delay_s, latest_s)) END AS most_s
                FROM flow_messages
                WHERE org_id = o.org_id AND delay_s IS NOT NULL GROUP BY action_id) f) AS waits,
            (SELECT coalesce(json_agg(json_build_object(
                'template_id', t.template_id, 'state', t.state, 'property_prefix', t.property_prefix,
                'delay_s', t.delay_s, 'send_window_s', t.send_window_s,
                'stopped', t.stopped_at IS NOT NULL OR o.stopped_at IS NOT NULL,
                'choice', json_build_object('attributes', t.attributes, 'other_attrs', t.other_attrs,
                    'org_attributes', o.attributes, 'time_zone', o.time_zone, 'split', t.split, 'salt', t.split_salt,
                    'control_ratio', t.control_ratio, 'control_share', t.control_share, 'repeats', t.repeats),
                'variants', approved.variants, 'snapshot', policy.snapshot)), '[]')
             FROM templates t
             CROSS JOIN LATERAL (
                SELECT coalesce(array_agg(v.copy_id::text), '{}') AS copy_ids,
                       coalesce(json_agg(json_build_object('copy_id', v.copy_id, 'version', v.version,
                           'subject', s.subject, 'preheader', s.preheader, 'body', s.body)), '[]') AS variants
                FROM variants v JOIN variant_versions s ON s.copy_id = v.copy_id AND s.version = v.version
                WHERE v.org_id = t.org_id AND v.template_id = t.template_id AND v.state = 'approved'
                  AND t.state IN ('active', 'shipped')) approved
             CROSS JOIN LATERAL (
                SELECT served_snapshot(t.org_id, t.template_id, approved.copy_ids) AS snapshot_id OFFSET 0) chosen
             LEFT JOIN LATERAL (
                SELECT json_build_object('snapshot_id', p.snapshot_id, 'model', p.model, 'cells', p.cells,
                                         'otherwise', p.otherwise) AS snapshot
                FROM policy_snapshots p
                WHERE p.org_id = t.org_id AND p.snapshot_id = chosen.snapshot_id) policy ON true
             WHERE t.org_id = o.org_id) AS templates
        FROM orgs o WHERE o.org_id = ANY ($1::uuid[])
    """

    async def load_orgs(self, org_ids: Sequence[UUID]) -> Mapping[UUID, OrgConfig]:
        """What is served of these orgs now; one round trip."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(self.SELECT_ORGS, list(org_ids))
        return {
            row["org_id"]: OrgConfig(
                {one["template_id"]: _template(row["org_id"], one) for one in row["templates"]},
                {action_id: FlowWait(*wait) for action_id, wait in row["waits"].items()},
            )
            for row in rows
        }

    # The last branch tells the variant that each person got last, in the place of a generation's id.
    SELECT_STORED = """
        SELECT generation_id AS asked_id, org_id, generation_id, day, user_id, property_prefix, decision, reason,
               accepted_at, deadline_at, template_id, copy_id, variant_version
        FROM generations
        WHERE day = ANY ($1::date[]) AND generation_id = ANY ($2::uuid[])
        UNION ALL
        SELECT a.alias_id, g.org_id, g.generation_id, g.day, g.user_id, g.property_prefix, g.decision, g.reason,
               g.accepted_at, g.deadline_at, g.template_id, g.copy_id, g.variant_version
        FROM generation_aliases a JOIN generations g ON g.day = a.day AND g.generation_id = a.generation_id
        WHERE a.alias_id = ANY ($2::uuid[])
        UNION ALL
        SELECT NULL, l.org_id, l.copy_id, NULL, l.user_id, l.template_id, NULL, NULL, l.accepted_at, NULL,
               NULL, NULL, NULL
        FROM unnest($3::uuid[], $4::text[], $5::text[]) AS p (org_id, template_id, user_id)
        JOIN last_copies l USING (org_id, template_id, user_id)
    """

    async def find(self, days: Sequence[date], generation_ids: Sequence[UUID], people: Sequence[Person] = ()) -> Found:
        """The generations of these days that these ids name, themselves or as an alias, and what these people got."""
        columns: Sequence[Sequence[Any]] = [*zip(*people, strict=True)] or [(), (), ()]
        async with self._database.connection() as connection:
            rows = await connection.fetch(self.SELECT_STORED, list(days), list(generation_ids), *columns)
        found = Found()
        for values in map(dict, rows):
            if (asked_id := values.pop("asked_id")) is not None:
                found.stored[asked_id] = _stored(values)
            elif values["accepted_at"] > self._clock.now() - _REPEAT_WINDOW:
                person = Person(values["org_id"], values["property_prefix"], values["user_id"])
                found.last[person] = values["generation_id"]
        return found

    LONGEST_DELAY = """
        SELECT greatest((SELECT max(delay_s) FROM templates), (SELECT max(delay_s) FROM flow_messages))
    """

    async def longest_delay(self) -> timedelta:
        """How long before its email the earliest webhook may come, of all templates as they are set now."""
        async with self._database.connection() as connection:
            return timedelta(seconds=await connection.fetchval(self.LONGEST_DELAY) or 0)

    # A day's partition by its key; asked only after a loss.
    SELECT_UNWRITTEN = """
        SELECT g.org_id, g.generation_id, g.day, g.user_id, g.property_prefix, g.decision, g.reason, g.accepted_at,
               g.deadline_at, g.template_id, g.copy_id, g.variant_version
        FROM generations g
        WHERE g.day = $1 AND g.generation_id > $2 AND (g.accepted_at >= $3 OR g.deadline_at >= $4)
          AND NOT EXISTS (SELECT FROM write_outcomes o WHERE o.day = g.day AND o.generation_id = g.generation_id)
          AND NOT EXISTS (SELECT FROM integrations i JOIN pending_writes p ON p.account_key = i.account_key
                          WHERE i.org_id = g.org_id AND p.profile_id = g.user_id AND p.prefix = g.property_prefix
                            AND p.generation_id = g.generation_id)
        ORDER BY g.generation_id LIMIT $5
    """

    async def unwritten(self, day: date, after: UUID, since: datetime, limit: int) -> Sequence[Stored]:
        """Generations of this day, accepted `since` then or with their email still ahead, whose write neither waits nor
        has ended, in the order of their ids."""
        now = self._clock.now()
        async with self._database.connection() as connection:
            rows = await connection.fetch(self.SELECT_UNWRITTEN, day, after, since, now, limit)
        return [_stored(dict(row)) for row in rows]

    # Arrays in arrays cannot be unnested one level, so those columns travel as array literals.
    # Where it matters next time ($25), what was chosen is remembered; in one order, so that batches do not lock each
    # other.
    INSERT_GENERATIONS = """
        WITH inserted AS (INSERT INTO generations (
            day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, deadline_at, clean_at, decision,
            reason, copy_id, variant_version, property_prefix, written_for, snapshot_id, cell, eligible, probabilities,
            propensity, attrs, repairs, vars, drawn_copy_id)
        SELECT g.day, g.generation_id, g.org_id, g.template_id, g.user_id, g.tracking_id, g.accepted_at, g.deadline_at,
            g.clean_at, g.decision, g.reason, g.copy_id, g.variant_version, g.property_prefix, g.written_for,
            g.snapshot_id, g.cell, g.eligible::uuid[], g.probabilities::float8[], g.propensity, g.attrs::jsonb,
            g.repairs::text[], g.vars, g.drawn_copy_id
        FROM unnest($1::date[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
            $8::timestamptz[], $9::timestamptz[], $10::text[], $11::text[], $12::uuid[], $13::int[], $14::text[],
            $15::text[], $16::uuid[], $17::text[], $18::text[], $19::text[], $20::float8[], $21::text[], $22::text[],
            $23::bytea[], $24::uuid[])
          AS g (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, deadline_at, clean_at,
            decision, reason, copy_id, variant_version, property_prefix, written_for, snapshot_id, cell, eligible,
            probabilities, propensity, attrs, repairs, vars, drawn_copy_id)
        ON CONFLICT (day, generation_id) DO NOTHING
        RETURNING generation_id, org_id, template_id, user_id, copy_id, accepted_at),
        remembered AS (INSERT INTO last_copies AS l (org_id, template_id, user_id, copy_id, accepted_at)
        SELECT DISTINCT ON (org_id, template_id, user_id) org_id, template_id, user_id, copy_id, accepted_at
        FROM inserted WHERE generation_id = ANY ($25::uuid[])
        ORDER BY org_id, template_id, user_id, accepted_at DESC
        ON CONFLICT (org_id, template_id, user_id) DO UPDATE
            SET copy_id = excluded.copy_id, accepted_at = excluded.accepted_at
            WHERE l.accepted_at < excluded.accepted_at)
        SELECT generation_id FROM inserted
    """

    async def insert_generations_once(self, generations: Sequence[Generation]) -> set[UUID]:
        """The ids that were not there before; the others keep what is stored."""
        await self.days.ensure({generation.day for generation in generations})
        columns = list(zip(*map(_row, generations), strict=True))
        remembered = [one.generation_id for one in generations if one.remembered]
        async with self._database.connection() as connection:
            rows = await connection.fetch(self.INSERT_GENERATIONS, *columns, remembered)
        return {row["generation_id"] for row in rows}

    INSERT_ALIASES = """
        INSERT INTO generation_aliases (alias_id, org_id, generation_id, day, seen_at)
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::date[], $5::timestamptz[])
        ON CONFLICT (alias_id) DO NOTHING
    """

    async def insert_aliases_once(self, aliases: Sequence[Alias]) -> None:
        """Remember which generations these ids name."""
        rows = [(one.alias_id, one.org_id, one.generation_id, one.day, one.seen_at) for one in aliases]
        async with self._database.connection() as connection:
            await connection.execute(self.INSERT_ALIASES, *zip(*rows, strict=True))

    INSERT_SNAPSHOT = """
        INSERT INTO policy_snapshots (org_id, template_id, snapshot_id, model, cells, otherwise, created_at)
        VALUES ($1, $2, $3, $4, '{}', $5, $6)
        ON CONFLICT (org_id, snapshot_id) DO NOTHING
    """

    async def insert_uniform_once(self, org_id: UUID, template_id: str, snapshot: Snapshot) -> None:
        """Make the row that logged snapshot ids point to."""
        otherwise = dict(zip(map(str, snapshot.eligible), snapshot.otherwise, strict=True))
        at = self._clock.now()
        async with self._database.connection() as connection:
            await connection.execute(
                self.INSERT_SNAPSHOT, org_id, template_id, snapshot.snapshot_id, snapshot.model, otherwise, at
            )

    # What somebody is about to replace is not waited for, so it can never wait for us in a ring.
    FORGET_COPIES = """
        DELETE FROM last_copies WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM last_copies WHERE accepted_at < $1 ORDER BY accepted_at LIMIT $2 FOR UPDATE SKIP LOCKED))
    """

    async def forget_copies(self) -> bool:
        """A page of what people got too long ago to matter is gone; whether there may be more."""
        async with self._database.connection() as connection:
            status = await connection.execute(self.FORGET_COPIES, self._clock.now() - _REPEAT_WINDOW, FORGOTTEN_AT_ONCE)
        return status == f"DELETE {FORGOTTEN_AT_ONCE}"

    async def keep_forgetting(self, stop: asyncio.Event) -> None:
        """A runner: each hour what is too old goes, a page a second. Where that fails it is tried again after minutes,
        for it may have cost as much as it was given."""
        due_s = self._clock.monotonic()
        while not stop.is_set():
            if self._clock.monotonic() >= due_s:
                try:
                    wait_s = 0.0 if await self.forget_copies() else _FORGET_EVERY_S
                except Transient as error:
                    wait_s = _FORGET_AGAIN_S
                    log.warning("copies.not_forgotten", reason=error.reason)
                except Exception as error:  # a runner that ended would end its service
                    wait_s = _FORGET_AGAIN_S
                    log.error("copies.not_forgotten", exc_info=error)
                due_s = self._clock.monotonic() + wait_s
            await first_of(stop.wait(), within_s=1)


def _stored(values: dict[str, Any]) -> Stored:
    copy = [values.pop(name) for name in ("template_id", "copy_id", "variant_version")]
    return Stored(values["generation_id"], values["day"], values["accepted_at"], write_of(**values), *copy)


def _row(one: Generation) -> tuple[Any, ...]:
    snapshot = one.snapshot
    return (
        one.day, one.generation_id, one.org_id, one.template_id, one.user_id, one.tracking_id, one.accepted_at,
        one.deadline_at, one.clean_at, one.decision, one.reason, one.copy_id, one.variant_version, one.property_prefix,
        one.written_for, snapshot and snapshot.snapshot_id, one.cell, _literal(snapshot.eligible if snapshot else ()),
        _literal(one.probabilities), one.propensity, one.attrs_json, _quoted_literal(one.repairs),
        one.vars, one.drawn_copy_id,
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _literal(values: tuple[object, ...]) -> str:
    """A PostgreSQL array of numbers or uuids; `str` of a float is exact."""
    return f"{{{','.join(map(str, values))}}}"


def _quoted_literal(texts: Sequence[str]) -> str:
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return f"{{{','.join(f'{chr(34)}{text}{chr(34)}' for text in quoted)}}}" if texts else "{}"


def _template(org_id: UUID, row: Mapping[str, Any]) -> Template:
    variants = {
        (copy_id := UUID(one["copy_id"])): VariantSource(
            copy_id, one["version"], one["subject"], one["preheader"], one["body"]
        )
        for one in row["variants"]
    }
    return Template(
        row["template_id"],
        row["state"],
        row["property_prefix"],
        row["delay_s"],
        row["send_window_s"],
        variants,
        _snapshot(org_id, row["template_id"], row["snapshot"], [*variants]) if variants else None,
        row["stopped"],
        **_choice(org_id, row["template_id"], row["choice"]),
    )


def _choice(org_id: UUID, template_id: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a template says how to choose. Definitions that cannot be read cost the ranking, never the send."""
    try:
        definitions = row["org_attributes"], row["attributes"]
        cells = compiled(*definitions, other_attrs=row["other_attrs"], time_zone=row["time_zone"])
    except ValueError:  # what is imported is checked; this was written by somebody else
        log.error("attributes.unusable", org_id=org_id, template_id=template_id)
        cells = PLAIN
    return {
        "cells": cells,
        "split": Split(row["split"], row["control_ratio"], row["control_share"], row["salt"]),
        "avoids_repeats": row["repeats"] == "avoid",
    }


def _snapshot(org_id: UUID, template_id: str, row: Mapping[str, Any] | None, copy_ids: Sequence[UUID]) -> Snapshot:
    """The stored policy where it can be drawn from, else the uniform one."""
    if row is not None:
        try:
            snapshot = _stored_snapshot(row)
        except (KeyError, TypeError, ValueError):
            snapshot = None
        if snapshot is not None and usable(snapshot, copy_ids):
            return snapshot
        log.error("snapshot.unusable", org_id=org_id, template_id=template_id, snapshot_id=row["snapshot_id"])
        return replace(uniform(org_id, template_id, copy_ids), fallback=True)
    return uniform(org_id, template_id, copy_ids)


def _stored_snapshot(row: Mapping[str, Any]) -> Snapshot:
    eligible = tuple(sorted(map(UUID, row["otherwise"])))

    def in_order(shares: Mapping[str, Any] | list[Any]) -> tuple[float, ...]:
        if len(shares) != len(eligible):
            raise ValueError("a cell names other variants")
        if isinstance(shares, list):
            return tuple(map(float, shares))
        return tuple(float(shares[str(copy_id)]) for copy_id in eligible)

    cells = {cell: in_order(shares) for cell, shares in row["cells"].items()}
    return Snapshot(UUID(row["snapshot_id"]), row["model"], eligible, in_order(row["otherwise"]), cells, stored=True)
