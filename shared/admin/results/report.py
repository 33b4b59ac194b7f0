"""What sums of days cannot say of a template: computed from the log as `justai results` computes it, and kept."""

import asyncio
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from shared.admin.results.as_json import earnings_json, results_json
from shared.admin.results.earned import judge_earned
from shared.admin.results.earned_store import read_earned
from shared.admin.results.judging import arms_of, design_of, judge_results
from shared.admin.results.store import Asked, read
from shared.db.pool import Database
from shared.inference.lift import WORTH

BACK: Final = timedelta(days=90)
"""As far back as a report looks, and as `justai results` does by default."""


async def make_report(
    database: Database, org_id: UUID, org_slug: str, template_id: str, now: datetime, zone: ZoneInfo
) -> dict[str, Any]:
    """The JSON of `justai results` over the last 90 days, with `design`: the design effect of its intervals.
    Days and weeks are those of `zone`."""
    asked = Asked(org_id, template_id, now - BACK, now, zone)
    known = await read(database, asked)
    earned = await read_earned(database, asked)

    def judge() -> dict[str, Any]:
        earnings = judge_earned(earned, WORTH) if earned is not None else None
        found = judge_results(known, asked, earnings, attr=None, control_share=None, worth=WORTH)
        return results_json(found, org_slug) | {
            "conversions": earnings_json(earnings, known.names) if earnings is not None else None,
            "design": design_of(*arms_of(known.facts), known.people),
        }

    return await asyncio.to_thread(judge)
