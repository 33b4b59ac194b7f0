"""Everything that an org can have, once, so that another org's people can be shown to reach none of it."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from shared.admin.access import keys
from shared.admin.context import Actor, Asking, Means
from shared.admin.queues import dead
from shared.admin.run import run
from shared.admin.variants import saving as variant_saving
from shared.api_keys import Peppers
from shared.crypto import KeyRing
from shared.messaging.dead import Graveyard
from shared.messaging.publisher import open_publisher
from shared.messaging.topology import WRITE
from shared.people.roles import Role
from shared.schemas.jobs import WriteJob, encode_batch, hour_of
from tests.support.console import KEY, Stage
from tests.support.operations import Facts
from tests.support.templates import do, make_template

KLAVIYO_KEY: Final = "pk_nobody_answers_to_it"
SOURCE_KEY: Final = "a key that opens no server"
CANARY = "axolotl"
"""Stands in what each of another org's things holds, and in no name by which they can be asked for."""

THINGS: Final[Mapping[str, str]] = {
    "template": "template", "variant": "variant", "run": "run", "source": "source", "key": "key", "user": "member",
    "invite": "invite", "person": "person", "generation": "generation", "letter": "letter",
    "template_id": "template", "run_id": "run", "user_id": "person", "generation_id": "generation", "member": "member",
    "letter_id": "letter", "event": "event", "event_id": "event",
    "send": "send", "transmission_id": "send",
}  # fmt: skip
"""By a parameter's name, the kind of thing that it names."""
WORDS: Final[Mapping[str, str]] = {"kind": "write", "table": "lift", "engine": "duckdb"}
"""Parameters that name nothing of an org."""
OF_A_SOURCE: Final = (
    "/integration/sources/{name}", "/sources/{name}", "/integration/hooks/{name}", "/hooks/{name}",
)  # fmt: skip
"""Below these, `name` is a source's."""


INSERT_RUN = """
    INSERT INTO draft_runs (org_id, run_id, template_id, brief, number, asked_by, model, state, code, reason,
        created_at, deadline_at, ended_at)
    VALUES ($1, $2, $3, $4, 1, 'Grace', 'gpt-test', 'failed', 'provider', $6, $5, $5, $5)
"""
INSERT_SOURCE = """
    INSERT INTO sources (source_id, org_id, name, host, username, host_key, sealed_key)
    VALUES ($1, $2, $3, $4, $4, 'k', $5)
"""
SET_KLAVIYO_KEY = "UPDATE integrations SET sealed_key = $2, base_url = 'http://127.0.0.1:1' WHERE org_id = $1"
INSERT_FILE = """
    INSERT INTO ingest_files (file_id, org_id, source_id, path, size, mtime, state, first_seen_at, last_seen_at, error)
    VALUES ($1, $2, $3, $4, 10, $5, 'held', $5, $5, $6)
"""
INSERT_REJECT = "INSERT INTO ingest_rejects (org_id, file_id, line, reason, raw) VALUES ($1, $2, 3, $3, $3)"
SET_CANARIES = (
    "UPDATE generations SET attrs = jsonb_build_object('plan', $2::text) WHERE org_id = $1",
    "UPDATE templates SET control_body = '<p>' || $2 || '</p>' WHERE org_id = $1",
)
SELECT_TABLES = """
    SELECT table_name FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
    WHERE table_schema = 'public' AND column_name = 'org_id' AND table_type = 'BASE TABLE' ORDER BY 1
"""


@dataclass(frozen=True)
class Belongings:
    """Of one org. `ids`: by what a thing is, the names by which it can be asked for; `api_key`:
    one that may manage it."""

    stage: Stage
    slug: str
    ids: Mapping[str, Sequence[str]]
    api_key: str

    async def rows(self) -> dict[str, str]:
        """A digest of the org's rows in every table that has any."""
        org_id, found = self.stage.orgs[self.slug], {}
        async with self.stage.db.connection() as connection:
            for row in await connection.fetch(SELECT_TABLES):
                digest = await connection.fetchval(
                    f"SELECT md5(string_agg(t::text, E'\\n' ORDER BY t::text)) FROM {row['table_name']} t "
                    "WHERE org_id = $1",
                    org_id,
                )  # fmt: skip
                if digest is not None:
                    found[row["table_name"]] = digest
        return found


async def furnish(stage: Stage, slug: str, prefix: str, amqp_url: str, word: str) -> Belongings:
    """Give the org one of everything. `prefix`: what its names begin with; `word`: what all of it holds."""
    org_id, now = stage.orgs[slug], stage.now
    facts = Facts(stage.db, org_id, now)
    template_id, variant = f"{prefix}-welcome", f"{prefix}-Warm"
    copy_id = await make_template(stage, slug, template_id, name=f"{word} series", review=True)
    await facts.execute("UPDATE variants SET name = $2 WHERE org_id = $1", org_id, variant)
    texts = {"subject": word, "preheader": f"{word} things that everybody should know", "body": f"<p>{word}</p>"}
    await do(stage, slug, variant_saving.save, {"template_id": template_id, "variant": variant, **texts})
    run_id, source_id, file_id = uuid4(), uuid4(), uuid4()
    await facts.execute(INSERT_RUN, org_id, run_id, template_id, {"goal": word}, now, word)
    ring = KeyRing(f"k1:{KEY}")
    source_key = ring.seal(SOURCE_KEY, f"{org_id}/source/{source_id}")
    await facts.execute(INSERT_SOURCE, source_id, org_id, f"{prefix}-source", word, source_key)
    await facts.execute(INSERT_FILE, file_id, org_id, source_id, f"{prefix}.csv", now, word)
    await facts.execute(INSERT_REJECT, org_id, file_id, word)
    person = f"01{prefix.upper()}PERSON"
    await facts.account()
    await facts.execute(SET_KLAVIYO_KEY, org_id, ring.seal(KLAVIYO_KEY, f"{org_id}/klaviyo"))
    generation_id = await facts.generation(person, sent_s=130, template_id=template_id)
    await facts.event(person, "Opened Email", of=generation_id)
    await facts.profile(person)
    await facts.exported(hour_of(now))
    for statement in SET_CANARIES:
        await facts.execute(statement, org_id, word)
    seat: dict[str, Role] = {slug: "viewer"}
    member = await stage.person(f"{prefix.capitalize()}member", **seat)
    invited = f"{prefix}-invited@example.com"
    await stage.invite(slug, invited)
    asking = Asking(
        Means(stage.db, stage.wall, ring, Peppers(f"1:{KEY}"), new_id=uuid4, random_bytes=os.urandom,
              letters=Graveyard(amqp_url, "stage")),
        Actor("Grace", "person", "owner", org_id, slug), "request-1",
    )  # fmt: skip
    key = await run(asking, keys.create, keys.CreateKey(name=f"{prefix}-robot", scopes=("admin",)))
    await _bury(amqp_url, org_id, person, stage.now, word)
    [letter] = (await run(asking, dead.list_letters, dead.AskedLetters())).letters
    async with stage.db.connection() as connection:
        invite_id = await connection.fetchval("SELECT invite_id FROM invites WHERE org_id = $1", org_id)
        event_id = await connection.fetchval("SELECT event_id FROM events WHERE org_id = $1", org_id)
    ids = {
        "template": [template_id], "variant": [str(copy_id), variant], "run": [str(run_id)],
        "source": [f"{prefix}-source"], "file": [f"{prefix}.csv"], "key": [key.name, key.shown, str(key.key_id)],
        "member": [str(stage.users[member]), member], "invite": [str(invite_id), invited], "person": [person],
        "generation": [str(generation_id)], "letter": [letter.letter_id],
        "event": [event_id], "send": [f"T{generation_id}"],
    }  # fmt: skip
    return Belongings(stage, slug, ids, key.key)


async def _bury(amqp_url: str, org_id: UUID, person: str, at: datetime, reason: str) -> None:
    job = WriteJob(
        org_id=org_id, generation_id=uuid4(), day=at.date(), profile_id=person, prefix="jai", action="write",
        accepted_at=at, deadline_at=at,
    )  # fmt: skip
    async with open_publisher(amqp_url, "writer", WRITE) as publisher:
        await publisher.bury(WRITE, encode_batch([job]), queue="write", attempt=6, reason=reason, at=at.isoformat())


# --- paths that name them --------------------------------------------------------------------------------------------


def parameters_of(path: str) -> list[str]:
    """The parameters of a declared path but its org."""
    return [name for name in re.findall(r"\{([a-z_]+)\}", path) if name not in ("org", "org_slug")]


def thing_of(path: str, parameter: str) -> str | None:
    """The kind of thing that a parameter names; None for a word. Raises AssertionError for one that is not known."""
    if parameter in WORDS:
        return None
    if parameter == "name" and any(place in path for place in OF_A_SOURCE):
        return "source"
    assert parameter in THINGS, f"{path}: say in belongings what {{{parameter}}} names"
    return THINGS[parameter]


def put(path: str, chosen: Mapping[str, str]) -> str:
    """The path with these parameters."""
    return re.sub(r"\{([a-z_]+)\}", lambda found: chosen.get(found[1], found[0]), path)
