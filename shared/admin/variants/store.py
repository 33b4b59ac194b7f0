"""SQL of a variant's life: where it is, its versions, its history. Events and versions are only ever added."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.content.lifecycle import Event, Move, Standing
from shared.content.rules import DEFAULT, OrgRules
from shared.db.pool import Connection, Row
from shared.schemas.copy import Vars
from shared.schemas.template_file import VariantCopy

SELECT_STANDING = """
    SELECT v.copy_id, v.name, v.theme, v.state, v.version, v.proposed_version, v.proposed_state,
           t.state AS template_state, t.required_fields, o.review_required
    FROM variants v JOIN templates t USING (org_id, template_id) JOIN orgs o USING (org_id)
    WHERE v.org_id = $1 AND v.template_id = $2
    ORDER BY v.created_at, v.name
"""
HOLD_STANDING = f"{SELECT_STANDING} FOR UPDATE OF v"
SELECT_VERSIONS = """
    SELECT s.copy_id, s.version, s.subject, s.preheader, s.body, s.source_body, s.source_kind, s.author, s.created_at
    FROM variant_versions s JOIN variants v USING (copy_id)
    WHERE v.org_id = $1 AND v.template_id = $2
    ORDER BY s.copy_id, s.version
"""
SELECT_HISTORY = """
    SELECT version, event, actor, comment, created_at FROM variant_events
    WHERE org_id = $1 AND copy_id = $2 ORDER BY event_id
"""
INSERT_VARIANT = """
    INSERT INTO variants (org_id, copy_id, template_id, name, theme, state, version, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, 'draft', 1, $6, $6)
"""
INSERT_VERSION = """
    INSERT INTO variant_versions (org_id, copy_id, version, subject, preheader, body, source_body, source_kind, author,
                                  created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
UPDATE_STANDING = """
    UPDATE variants SET state = $3, version = $4, proposed_version = $5, proposed_state = $6, updated_at = $7
    WHERE org_id = $1 AND copy_id = $2
"""
INSERT_EVENT = """
    INSERT INTO variant_events (org_id, copy_id, version, event, actor, comment, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
SELECT_REQUIRED = "SELECT required_fields FROM templates WHERE org_id = $1 AND template_id = $2"
SELECT_RULES = """
    SELECT o.review_required, r.rules FROM orgs o LEFT JOIN content_rules r USING (org_id) WHERE o.org_id = $1
"""
UPSERT_RULES = """
    INSERT INTO content_rules (org_id, rules, updated_at) VALUES ($1, $2, $3)
    ON CONFLICT (org_id) DO UPDATE SET rules = excluded.rules, updated_at = excluded.updated_at
    WHERE content_rules.rules IS DISTINCT FROM excluded.rules
"""
UPDATE_REVIEW = "UPDATE orgs SET review_required = $2 WHERE org_id = $1 AND review_required IS DISTINCT FROM $2"


@dataclass(frozen=True, slots=True)
class Version:
    """One version: what its author wrote, and when."""

    number: int
    copy: VariantCopy
    served_body: str
    author: str
    created_at: datetime

    @property
    def texts(self) -> tuple[str, str, str]:
        """As written: what a file is compared with."""
        return self.copy.subject, self.copy.preheader, self.copy.source


@dataclass(frozen=True, slots=True)
class Stored:
    """One variant with all its versions, oldest first."""

    copy_id: UUID
    name: str
    theme: str
    standing: Standing
    served: bool
    required_fields: tuple[str, ...]
    review_required: bool
    versions: Sequence[Version]

    @property
    def state(self) -> str:
        """In words."""
        return self.standing.shown(served=self.served)

    def at(self, number: int) -> Version:
        """The version of this number, which exists."""
        return next(one for one in self.versions if one.number == number)


def others_of(stored: Iterable[Stored], without: str | None = None) -> dict[str, VariantCopy]:
    """What a copy is checked beside: every variant that is not archived, as it is proposed, else as it is served, by
    name; but for the one of this name or copy_id."""
    return {
        one.name: one.at(one.standing.pending or one.standing.version).copy
        for one in stored
        if one.standing.state != "archived" and without not in (one.name, str(one.copy_id))
    }


async def read_variants(connection: Connection, org_id: UUID, template_id: str, *, hold: bool = True) -> list[Stored]:
    """A template's variants; held against changes until the transaction ends, unless they are only looked at."""
    rows = await connection.fetch(HOLD_STANDING if hold else SELECT_STANDING, org_id, template_id)
    themes = {row["copy_id"]: (row["name"], row["theme"]) for row in rows}
    versions: dict[UUID, list[Version]] = {row["copy_id"]: [] for row in rows}
    for row in await connection.fetch(SELECT_VERSIONS, org_id, template_id):
        if row["copy_id"] in versions:
            versions[row["copy_id"]].append(_version(row, *themes[row["copy_id"]]))
    return [
        Stored(
            row["copy_id"],
            row["name"],
            row["theme"],
            Standing(row["state"], row["version"], row["proposed_version"], row["proposed_state"]),
            row["template_state"] in ("active", "shipped"),
            tuple(row["required_fields"]),
            row["review_required"],
            versions[row["copy_id"]],
        )
        for row in rows
    ]


def _version(row: Row, name: str, theme: str) -> Version:
    source = row["body"] if row["source_body"] is None else row["source_body"]
    is_mjml = row["source_kind"] == "mjml"
    copy = VariantCopy.model_construct(  # stored by whichever rules held then
        name=name,
        theme=theme,
        subject=row["subject"],
        preheader=row["preheader"],
        body="" if is_mjml else source,
        mjml=source if is_mjml else None,
    )
    return Version(row["version"], copy, row["body"], row["author"], row["created_at"])


async def history(connection: Connection, org_id: UUID, copy_id: UUID) -> list[Row]:
    """The rows of a variant's events, oldest first."""
    return list(await connection.fetch(SELECT_HISTORY, org_id, copy_id))


def events(rows: Sequence[Row]) -> list[Event]:
    """The same, as far as decisions look at them."""
    return [Event(row["version"], row["event"], row["actor"]) for row in rows]


async def insert_variant(
    connection: Connection, org_id: UUID, copy_id: UUID, template_id: str, variant: VariantCopy, at: datetime
) -> None:
    """A variant without a version yet; its name must be new to the template."""
    await connection.execute(INSERT_VARIANT, org_id, copy_id, template_id, variant.name, variant.theme, at)


async def insert_version(
    connection: Connection,
    org_id: UUID,
    copy_id: UUID,
    number: int,
    variant: VariantCopy,
    served: Vars,
    author: str,
    at: datetime,
) -> None:
    """Add a version; its number must be new."""
    source = None if served.body == variant.source else variant.source
    kind = "mjml" if variant.is_mjml else "html"
    await connection.execute(INSERT_VERSION, org_id, copy_id, number, *served, source, kind, author, at)


async def apply(
    connection: Connection, org_id: UUID, copy_id: UUID, move: Move, actor: str, at: datetime, comment: str = ""
) -> None:
    """Bring a variant to where the move leads, and remember who did it."""
    to = move.standing
    await connection.execute(
        UPDATE_STANDING, org_id, copy_id, to.state, to.version, to.proposed_version, to.proposed_state, at
    )
    await connection.execute(INSERT_EVENT, org_id, copy_id, move.version, move.event, actor, comment, at)


async def read_rules(connection: Connection, org_id: UUID) -> OrgRules:
    """The org's rules; the defaults where none were imported."""
    row = await connection.fetchrow(SELECT_RULES, org_id)
    if row is None or row["rules"] is None:
        return DEFAULT.model_copy(update={"review_required": bool(row and row["review_required"])})
    return OrgRules.model_validate({**row["rules"], "review_required": row["review_required"]})


async def write_rules(connection: Connection, org_id: UUID, rules: OrgRules, at: datetime) -> None:
    """Replace the org's rules. Repeating changes nothing."""
    await connection.execute(UPSERT_RULES, org_id, rules.model_dump(mode="json", exclude_defaults=True), at)
    await connection.execute(UPDATE_REVIEW, org_id, rules.review_required)
