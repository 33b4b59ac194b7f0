"""Why one person got this copy: one generation's whole story."""

from dataclasses import replace
from typing import Annotated
from uuid import UUID

from pydantic import Field

from shared.admin.context import Asking, Context
from shared.admin.errors import NotFound
from shared.admin.operation import AskedModel, ResultModel, operation_after
from shared.admin.orgs.klaviyo import SELECT_INTEGRATION, client
from shared.admin.person.read_back import ReadBack, compare, marked
from shared.admin.person.story import Story
from shared.admin.person.why_store import Found, WhyStore
from shared.crypto import SealError
from shared.errors import Failure
from shared.schemas.decisions import wrote


class AskedStory(AskedModel):
    """`generation_id`: what the webhook's 202 named, or an alias; `days`: how far back to look; `read_back`: ask
    Klaviyo what the profile holds now, for which the key needs profiles:read."""

    generation_id: UUID
    days: Annotated[int, Field(ge=0, le=3660)] = 30
    read_back: bool = False


class ToldStory(ResultModel):
    """All that is known of it."""

    story: Story


async def _tell(asking: Asking, asked: AskedStory) -> Story:
    """With short transactions of its own: Klaviyo may be asked between them."""
    means = asking.means
    store = WhyStore(means.database, means.clock, asking.org_id)
    found = await store.find(asked.generation_id, asked.days)
    if not found:
        raise NotFound(
            f"No generation {asked.generation_id} within {asked.days} days; one of the last minutes may not be "
            "generated yet",
            field="generation_id",
        )
    story = await store.story(found[0], asked.generation_id)
    if asked.read_back:
        story = replace(story, read_back=await _read_back(asking, found[0], story, asked.days))
    return story


@operation_after(
    _tell, "generations.why", "GET", "/generations/{generation_id}", "editor",
    "Tell one generation's story: what was decided and why, what became of its write, what to do.",
)  # fmt: skip
async def why(context: Context, asked: AskedStory, story: Story) -> ToldStory:
    return ToldStory(story=story)


async def _read_back(asking: Asking, found: Found, story: Story, days: int) -> ReadBack:
    """What the profile holds, compared with what we wrote. Klaviyo's refusal is part of the answer, no failure."""
    means = asking.means
    async with means.database.transaction(asking.org_id) as connection:
        row = await connection.fetchrow(SELECT_INTEGRATION, asking.org_id)
    if row is None:
        return ReadBack("not_read", reason="no_integration")
    try:
        private_key = means.ring.open(row["sealed_key"], asking.place("klaviyo"))
        held = await client(asking, row["base_url"], private_key).profile_properties(story.user_id)
    except SealError:
        return ReadBack("not_read", reason="key_not_readable")
    except Failure as failure:
        return ReadBack("not_read", reason=f"{failure.reason}: {failure}")
    # Who else wrote there may be another org on the same account, which only whoever runs the system may be told.
    store = WhyStore(means.database, means.clock, None if asking.actor.kind == "cli" else asking.org_id)
    copies = {story.generation_id: await store.copy(found, story.prefix)}
    named = marked(story.prefix, held or {})
    if named is not None and named not in copies:
        copies |= {one.generation_id: await store.copy(one, story.prefix) for one in await store.find(named, days)}
    return compare(
        story.prefix, story.generation_id, held, copies,
        person=story.user_id, wrote=wrote(story.decided.decision, story.decided.reason),
    )  # fmt: skip
