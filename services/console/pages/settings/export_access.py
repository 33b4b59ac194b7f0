"""Access to the bucket: the policies that somebody copies into their AWS account, made for their bucket and prefix."""

from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.errors import AdminError, NotFound, Refused
from shared.admin.exports import exports
from shared.admin.exports import policies as export_policies
from shared.admin.operation import Nothing

pages = Pages()


@dataclass(frozen=True, slots=True)
class Shown:
    """A document, or why there is none."""

    text: str = ""
    missing: str = ""


@pages.page("GET", "/{org}/integration/export/access", role="viewer")
async def show(visit: Visit) -> web.StreamResponse:
    """All documents on one page."""
    try:
        target = await visit.run(exports.show, Nothing())
    except NotFound:
        return visit.render("settings/export_access.html", target=None)
    if not target.bucket:
        return visit.render("settings/export_access.html", target=None)
    role = await visit.run(export_policies.show_role, {})
    keep_days = visit.request.query.get("keep_days", "").strip()
    faulty = ""
    try:
        asked = {"keep_days": keep_days or None}
        lifecycle = await visit.run(export_policies.show_lifecycle, asked)
    except AdminError as error:
        faulty = error.message
        lifecycle = await visit.run(export_policies.show_lifecycle, {})
    bucket, key = await _bucket_policy(visit)
    return visit.render(
        "settings/export_access.html", 422 if faulty else 200, target=target, role=role, bucket_policy=bucket,
        key_statement=key, trust=_shown(role.trust_policy), permissions=_shown(role.permission_policy),
        lifecycle=_shown(lifecycle.lifecycle), keep_days=keep_days, faulty=faulty,
    )  # fmt: skip


async def _bucket_policy(visit: Visit) -> tuple[Shown, Shown]:
    try:
        found = await visit.run(export_policies.show_policy, {})
    except Refused as error:
        return Shown(missing=error.message), Shown()
    return _shown(found.bucket_policy), _shown(found.key_statement)


def _shown(document: dict[str, Any] | None) -> Shown:
    return Shown() if document is None else Shown(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
