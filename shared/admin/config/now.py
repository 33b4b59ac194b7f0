"""What is set up of an org now: what a configuration is compared with, and written from."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from shared.admin.templates.writing import file_of
from shared.admin.variants import store as variant_store
from shared.admin.variants.store import Stored
from shared.content.rules import OrgRules
from shared.db.pool import Connection

SELECT_ORG = "SELECT slug, name, time_zone, attributes FROM orgs WHERE org_id = $1"
# Against another who applies; not against rows that only refer to the org.
HOLD_ORG = f"{SELECT_ORG} FOR NO KEY UPDATE"
SELECT_TEMPLATES = """
    SELECT template_id, name, state, property_prefix, delay_s, send_window_s, flow_id, treatment_action_id,
           control_action_id, required_fields, policy, conversions, attributes, other_attrs, split, control_ratio,
           split_salt, control_share, repeats, control_subject, control_preheader, control_body
    FROM templates WHERE org_id = $1 ORDER BY template_id
"""
HOLD_TEMPLATES = """
    SELECT template_id FROM templates WHERE org_id = $1 AND template_id = ANY ($2::text[])
    ORDER BY template_id FOR NO KEY UPDATE
"""
SELECT_SOURCES = """
    SELECT name, kind, nullif(host, '') AS host, CASE WHEN kind = 'sftp' THEN port END AS port,
           nullif(username, '') AS user, path, pattern, nullif(host_key, '') AS host_key, nullif(bucket, '') AS bucket,
           nullif(region, '') AS region, nullif(endpoint_url, '') AS endpoint_url, nullif(access_key, '') AS access_key,
           poll_s, enabled, mapping,
           sealed_key <> '' OR kind IN ('folder', 'klaviyo') OR (kind = 's3' AND access_key = '') AS has_key
    FROM sources WHERE org_id = $1 AND removed_at IS NULL AND kind IN ('sftp', 'folder', 's3', 'klaviyo')
    ORDER BY name
"""
SELECT_TARGET = """
    SELECT bucket, prefix, endpoint_url, region, access_key, role_arn, bucket_owner, encryption, kms_key_id, cadence,
           record, tables, layout, success_file, sealed_secret <> '' AS has_secret
    FROM export_targets WHERE org_id = $1
"""
UTC = "UTC"


@dataclass(frozen=True, slots=True)
class StoredTemplate:
    """Its row, and its variants by name."""

    row: dict[str, Any]
    variants: dict[str, Stored]


@dataclass(frozen=True, slots=True)
class Now:
    """Everything that a configuration file can say, as it is."""

    slug: str
    name: str
    time_zone: str
    rules: OrgRules
    attributes: dict[str, Any]
    sources: dict[str, dict[str, Any]]
    target: dict[str, Any] | None
    templates: dict[str, StoredTemplate]


async def read_now(connection: Connection, org_id: UUID, *, hold: Collection[str] | None = None) -> Now:
    """`hold`: the org against others who apply, and these templates against others who change them, until the
    transaction ends."""
    (org,) = await connection.fetch(SELECT_ORG if hold is None else HOLD_ORG, org_id)
    held = [] if hold is None else await connection.fetch(HOLD_TEMPLATES, org_id, sorted(hold))
    names = {row["template_id"] for row in held}
    target = await connection.fetchrow(SELECT_TARGET, org_id)
    templates = {}
    for row in await connection.fetch(SELECT_TEMPLATES, org_id):
        template_id = row["template_id"]
        variants = await variant_store.read_variants(connection, org_id, template_id, hold=template_id in names)
        templates[template_id] = StoredTemplate(dict(row), {one.name: one for one in variants})
    return Now(
        slug=org["slug"],
        name=org["name"],
        time_zone=org["time_zone"] or UTC,
        rules=await variant_store.read_rules(connection, org_id),
        attributes=org["attributes"],
        sources={row["name"]: dict(row) for row in await connection.fetch(SELECT_SOURCES, org_id)},
        target=None if target is None else dict(target),
        templates=templates,
    )


def documents_of(now: Now) -> Iterator[dict[str, Any]]:
    """All of it as a file has it: the org first, then each template. Without secrets, people and keys."""
    org: dict[str, Any] = {"org": {"slug": now.slug, "name": now.name, "time_zone": now.time_zone}}
    rules = now.rules.model_dump(exclude_defaults=True)
    org["rules"] = {"review_required": now.rules.review_required, **rules}
    if now.attributes:
        org["attributes"] = now.attributes
    if now.sources:
        org["sources"] = [_source(one) for _, one in sorted(now.sources.items())]
    if now.target is not None and now.target["bucket"]:  # the folder of the installation is nobody's setting
        target = {name: value for name, value in now.target.items() if name != "has_secret"}
        org["export"] = {name: value for name, value in target.items() if value not in (None, "", [], False)}
    yield org
    for _, template in sorted(now.templates.items()):
        shown = [one for one in template.variants.values() if one.standing.state != "archived"]
        yield file_of(template.row, sorted(shown, key=lambda one: one.name))


def _source(row: dict[str, Any]) -> dict[str, Any]:
    source = {name: value for name, value in row.items() if name not in ("has_key", "mapping") and value is not None}
    return source | ({"mapping": row["mapping"]} if row["mapping"] else {})
