"""Troubleshooting: every item of the public page's list, answered for this org."""

from datetime import datetime

from shared.admin.checks.facts import Sharing, read_facts
from shared.admin.checks.rules import Item, judge
from shared.admin.context import Asking, Context
from shared.admin.operation import Nothing, ResultModel, operation_after
from shared.admin.orgs import sharing


class Checks(ResultModel):
    """In the list's order."""

    at: datetime
    items: list[Item]


async def _sharing(asking: Asking, _: Nothing) -> Sharing:
    """Of other orgs, so before the transaction that sees none."""
    return Sharing(await sharing.prefixes_elsewhere(asking), await sharing.may_share(asking))


@operation_after(
    _sharing, "checks.run", "GET", "/checks", "viewer",
    "Check what usually goes wrong: webhooks, properties, ids, flows.",
)  # fmt: skip
async def run_checks(context: Context, _: Nothing, shared: Sharing) -> Checks:
    facts = await read_facts(context.connection, context.org_id, context.now, shared)
    return Checks(at=context.now, items=judge(facts))
