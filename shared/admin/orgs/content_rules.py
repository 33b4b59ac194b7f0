"""What an org says of its copy (shared/content/rules.py), and what the attrs of its webhooks mean."""

import hashlib
import json
from typing import Any

from pydantic import Field

from shared.admin.context import Context
from shared.admin.errors import Conflict
from shared.admin.operation import AskedModel, Nothing, ResultModel, operation
from shared.admin.variants import store as variant_store
from shared.content.rules import OrgRules
from shared.schemas.attributes import OrgAttributes, stored

UPDATE_ATTRIBUTES = """
    UPDATE orgs SET attributes = $2, time_zone = $3
    WHERE org_id = $1 AND (attributes::text, time_zone) IS DISTINCT FROM ($2::json::text, $3)
"""
# Before the rules are read: two who set them at once would each find them as they had seen them.
HOLD_ORG = "SELECT FROM orgs WHERE org_id = $1 FOR NO KEY UPDATE"
SELECT_ATTRIBUTES = "SELECT attributes, time_zone FROM orgs WHERE org_id = $1"


class SetRules(AskedModel):
    """All rules; what is left out has its default again. They hold from the next check, import or approval."""

    rules: OrgRules
    expected: str | None = Field(
        None,
        max_length=64,
        description="The `digest` of the rules that were looked at: where they have changed since, 409, `changed`.",
    )


class Rules(ResultModel):
    """An org's rules; the defaults where none were set. `digest` is of all of them."""

    rules: OrgRules
    digest: str
    changed: bool = False


class SetAttributes(AskedModel):
    """All definitions, for all templates; what is left out is a plain text again."""

    definitions: OrgAttributes


class Definitions(ResultModel):
    """By name, and the time zone of dates; null: UTC. The order of options counts."""

    time_zone: str | None
    attributes: dict[str, Any] = Field(description="As they are set.")
    changed: bool = False


# Owners alone: whoever writes copy must not be able to switch its reviews off.
@operation("rules.set", "PUT", "/rules", "owner", "Set banned words and claims, promo codes, end dates, reviews.")
async def set_rules(context: Context, asked: SetRules) -> Rules:
    await context.connection.execute(HOLD_ORG, context.org_id)
    before = await variant_store.read_rules(context.connection, context.org_id)
    if asked.expected not in (None, _digest(before)):
        raise Conflict(
            "The rules have changed since you looked at them; open them again and make your change there",
            code="changed",
        )
    await variant_store.write_rules(context.connection, context.org_id, asked.rules, context.now)
    return Rules(rules=asked.rules, digest=_digest(asked.rules), changed=before != asked.rules)


@operation("rules.show", "GET", "/rules", "viewer", "Show the rules for copy.")
async def show_rules(context: Context, _: Nothing) -> Rules:
    rules = await variant_store.read_rules(context.connection, context.org_id)
    return Rules(rules=rules, digest=_digest(rules))


def _digest(rules: OrgRules) -> str:
    """The same for the same rules, in whichever order a file or the database has the names of templates."""
    return hashlib.sha256(json.dumps(rules.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]


@operation("attributes.set", "PUT", "/attributes", "editor", "Define what the attrs of webhooks mean.")
async def set_attributes(context: Context, asked: SetAttributes) -> Definitions:
    read = asked.definitions
    done = await context.connection.execute(
        UPDATE_ATTRIBUTES, context.org_id, stored(read.attributes), read.time_zone
    )  # fmt: skip
    return await _definitions(context, changed=done != "UPDATE 0")


@operation("attributes.show", "GET", "/attributes", "viewer", "Show what the attrs of webhooks mean.")
async def show_attributes(context: Context, _: Nothing) -> Definitions:
    return await _definitions(context, changed=False)


async def _definitions(context: Context, *, changed: bool) -> Definitions:
    (row,) = await context.connection.fetch(SELECT_ATTRIBUTES, context.org_id)
    return Definitions(time_zone=row["time_zone"], attributes=row["attributes"], changed=changed)
