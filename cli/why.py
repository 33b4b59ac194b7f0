"""`justai why`: one generation's whole story, by its id."""

from uuid import UUID

import aiohttp
import click
import orjson

from cli.session import command, session
from cli.why_story import lines
from shared.admin.person import why as admin_why
from shared.admin.person.why_store import Found, WhyStore


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
    """Tell one generation's story: what was decided and why, what its write came to, what to do.

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
    async with session() as s, aiohttp.ClientSession() as http:
        store = WhyStore(s.db, s.clock, await s.org_id(org_slug) if org_slug else None)
        found = await _found(store, asked_id, org_slug, days)
        asked = admin_why.AskedStory(generation_id=asked_id, days=days, read_back=read_back)
        story = (await s.run(admin_why.why, asked, found.org, http=http)).story
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
