"""Which names of profile properties are still free."""

from itertools import chain, count
from typing import Final

from shared.admin.context import Asking, Context
from shared.admin.operation import Nothing, ResultModel, operation_after
from shared.admin.orgs.sharing import prefixes_elsewhere

SELECT_OWN: Final = "SELECT DISTINCT property_prefix FROM templates WHERE org_id = $1 AND state <> 'archived'"


class FreePrefix(ResultModel):
    """`jai`, or the first of `jai2`, `jai3` and so on that is free."""

    property_prefix: str


async def _elsewhere(asking: Asking, _: Nothing) -> frozenset[str]:
    return await prefixes_elsewhere(asking)


@operation_after(
    _elsewhere, "templates.free_prefix", "GET", "/free-prefix", "viewer",
    "Propose a property prefix that no template has, and no other org on the same Klaviyo account.",
)  # fmt: skip
async def free_prefix(context: Context, _: Nothing, elsewhere: frozenset[str]) -> FreePrefix:
    rows = await context.connection.fetch(SELECT_OWN, context.org_id)
    taken = elsewhere.union(row["property_prefix"] for row in rows)
    found = next(one for one in chain(("jai",), (f"jai{n}" for n in count(2))) if one not in taken)
    return FreePrefix(property_prefix=found)
