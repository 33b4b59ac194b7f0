"""`justai why`: one generation's whole story, by its id."""

from dataclasses import replace
from uuid import UUID

import aiohttp
import click
import orjson

from cli.read_back import ReadBack, compare, marked
from cli.session import Session, command, session
from cli.why_store import Found, WhyStore
from cli.why_story import Story, lines
from shared.admin.klaviyo import SELECT_INTEGRATION
from shared.crypto import SealError
from shared.errors import Failure
from shared.klaviyo.client import KlaviyoClient
from shared.schemas.decisions import wrote


@click.command()
@click.argument("generation_id")
@click.option("--org", "org_slug", help="Only among this org's generations.")
@click.option(
    "--days", type=click.IntRange(0, 3660), default=30, show_default=True, help="How many days back to look for it."
)
@click.option(
    "--read-back", is_flag=True, help="Ask Klaviyo what the profile holds now; the org's key needs profiles:read."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object in place of the text.")
@command
async def why(generation_id: str, org_slug: str | None, days: int, read_back: bool, as_json: bool) -> None:
    """Tell one generation's story: what was decided and why, what became of its write, what to do.

    GENERATION_ID is what the webhook's 202 named, or an alias that it named. It stands in the export too, on the
    profile (`<prefix>_generation`), and in logs.
    """
    try:
        asked_id = UUID(generation_id)
    except ValueError:
        raise click.ClickException(
            f"GENERATION_ID: {generation_id!r} is no uuid. The webhook's 202 names it, and the profile's property "
            "<prefix>_generation."
        ) from None
    async with session() as s:
        store = WhyStore(s, await s.org_id(org_slug) if org_slug else None)
        found = await _found(store, asked_id, org_slug, days)
        story = await store.story(found, asked_id)
        if read_back:
            story = replace(story, read_back=await _read_back(s, found, story, days))
        now = s.clock.now()
    if as_json:
        click.echo(orjson.dumps(story, default=str, option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo("\n".join(lines(story, now)))


async def _found(store: WhyStore, asked_id: UUID, org_slug: str | None, days: int) -> Found:
    found = await store.find(asked_id, days)
    if len({one.org_id for one in found}) > 1:
        orgs = ", ".join(sorted(one.org for one in found))
        raise click.ClickException(f"Several orgs have a generation {asked_id} ({orgs}): name one with --org.")
    if not found:
        oldest = await store.oldest_day()
        kept = f"they are stored since {oldest}" if oldest else "none is stored yet"
        whose = f"of org {org_slug} (without --org, all are looked through) " if org_slug else ""
        raise click.ClickException(
            f"No generation {asked_id} {whose}within {days} days. Generations are kept until somebody drops their "
            f"day's partition; {kept}. One of the last minutes may not be generated yet: the gateway names the id "
            "first. If it stays unknown: is the generate queue long, a generator down? `justai dead list`"
        )
    return found[0]


async def _read_back(s: Session, found: Found, story: Story, days: int) -> ReadBack:
    """What the profile holds, compared with what we wrote. Klaviyo's refusal is part of the answer, no failure."""
    async with s.db.transaction(found.org_id) as connection:
        row = await connection.fetchrow(SELECT_INTEGRATION, found.org_id)
    if row is None:
        return ReadBack("not_read", reason="no_integration")
    try:
        private_key = s.ring.open(row["sealed_key"], f"{found.org_id}/klaviyo")
        async with aiohttp.ClientSession() as http:
            held = await KlaviyoClient(http, row["base_url"], private_key, clock=s.clock).profile_properties(
                story.user_id
            )
    except SealError:
        return ReadBack("not_read", reason="key_not_readable")
    except Failure as failure:
        return ReadBack("not_read", reason=f"{failure.reason}: {failure}")
    # Who else wrote there may be another org on the same account.
    store = WhyStore(s)
    copies = {story.generation_id: await store.copy(found, story.prefix)}
    named = marked(story.prefix, held or {})
    if named is not None and named not in copies:
        copies |= {one.generation_id: await store.copy(one, story.prefix) for one in await store.find(named, days)}
    return compare(
        story.prefix, story.generation_id, held, copies, wrote=wrote(story.decided.decision, story.decided.reason)
    )
