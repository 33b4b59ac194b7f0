"""Services that a console asks, as they run, on its database and broker."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from services.egress.app import build as build_egress
from services.egress.settings import Settings as EgressSettings
from services.ingest.app import build as build_ingest
from services.ingest.settings import Settings as IngestSettings
from tests.support.console import Stage
from tests.support.services import serving


@asynccontextmanager
async def exporter(stage: Stage) -> AsyncIterator[None]:
    about = stage.settings
    settings = EgressSettings(
        database_url=about.database_url, amqp_url=about.amqp_url, seal_keys=about.seal_keys,
        api_key_peppers=about.api_key_peppers, egress_connect_timeout_s=1, allow_private_hosts=True,
    )  # fmt: skip
    async with AsyncExitStack() as stack, serving(await build_egress(settings, stack)):
        yield


@asynccontextmanager
async def ingest(stage: Stage, **more: Any) -> AsyncIterator[None]:
    about = stage.settings
    settings = IngestSettings(
        database_url=about.database_url, amqp_url=about.amqp_url, seal_keys=about.seal_keys,
        api_key_peppers=about.api_key_peppers, ingest_connect_timeout_s=5, allow_private_hosts=True,
        **more,
    )  # fmt: skip
    async with AsyncExitStack() as stack, serving(await build_ingest(settings, stack)):
        yield
