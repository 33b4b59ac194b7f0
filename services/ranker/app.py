"""What the ranker is made of."""

from contextlib import AsyncExitStack

from services.ranker.fitter import Fitter, Pace
from services.ranker.settings import Settings
from services.ranker.store import Store
from shared.db import migrate
from shared.db.pool import open_database
from shared.runtime import Service


async def build(settings: Settings, stack: AsyncExitStack) -> Service:
    """The composition root."""
    url = settings.database_url.get_secret_value()
    await migrate.require(url)
    database = await stack.enter_async_context(
        open_database(url, name="ranker", role=settings.database_role, max_size=settings.database_pool)
    )
    pace = Pace(
        tick_s=settings.ranker_tick_s,
        refit_s=settings.ranker_refit_s,
        lease_s=settings.ranker_lease_s,
        retry_s=settings.ranker_retry_s,
    )
    fitter = Fitter(Store(database), settings.make_clock(), pace)
    return Service("ranker", runners={"fitter": fitter.run}, checks={"database": database.ping})
