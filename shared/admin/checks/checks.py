"""Troubleshooting: every item of the public page's list, answered for this org."""

from datetime import datetime

from shared.admin.checks.facts import read_facts
from shared.admin.checks.rules import Item, judge
from shared.admin.context import Context
from shared.admin.operation import Nothing, ResultModel, operation


class Checks(ResultModel):
    """In the list's order."""

    at: datetime
    items: list[Item]


@operation("checks.run", "GET", "/checks", "viewer", "Check what usually goes wrong: webhooks, properties, ids, flows.")
async def run_checks(context: Context, _: Nothing) -> Checks:
    facts = await read_facts(context.connection, context.org_id, context.now)
    return Checks(at=context.now, items=judge(facts))
