"""One webhook, one trace: the real services in one process, spans caught where a collector would get them."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from devstack.ports import LOOPBACK, free_ports
from services.gateway.app import build as build_gateway
from services.gateway.settings import Settings as GatewaySettings
from services.generator.app import build as build_generator
from services.generator.settings import Settings as GeneratorSettings
from shared import tracing
from tests.component.gateway.rig import Rig as GatewayRig
from tests.component.gateway.rig import webhook
from tests.component.profile_writer.rig import Rig, rigged, settings_of, writing
from tests.support.services import serving
from tests.support.waiting import eventually

SERVE = """
    WITH active AS (UPDATE templates SET state = 'active')
    UPDATE variants SET state = 'approved', version = 1
"""


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@asynccontextmanager
async def taking_webhooks(rig: Rig) -> AsyncIterator[str]:
    """A gateway and a generator beside the rig; the gateway's URL."""
    [port] = free_ports(1)
    shared: dict[str, Any] = settings_of(rig).model_dump(include=set(GeneratorSettings.model_fields) - {"drain_s"})
    gateway = GatewaySettings(**shared, gateway_listen=f"{LOOPBACK}:{port}", gateway_linger_s=0.01)
    async with AsyncExitStack() as stack:
        for service in (
            await build_generator(GeneratorSettings(**shared), stack), await build_gateway(gateway, stack)
        ):  # fmt: skip
            await stack.enter_async_context(serving(service))
        yield f"http://{LOOPBACK}:{port}"


async def one_email(rig: Rig) -> UUID:
    """Post a webhook and wait until its copy is on the profile; the generation's id."""
    [person] = rig.people(1)
    async with rig.db.connection() as connection:
        await connection.execute(SERVE)
    async with (
        taking_webhooks(rig) as url,
        writing(rig),
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http,
    ):
        key = await GatewayRig(url, rig.database_url, rig.db, rig.amqp_url, http, rig.org_id, rig.org_id).new_key(
            rig.org_id
        )
        body = webhook(user_id=person, tracking_id=f"{person}.FLOW01.70000001", fields={"name": "Ann"})
        async with http.post(f"{url}/api/generate/shop", data=body, headers={"X-Api-Key": key}) as answer:
            generation_id = UUID((await answer.json())["generation_id"])
        await eventually(lambda: rig.properties(person).get("jai_generation") == str(generation_id), within_s=20)
        await eventually(lambda: rig.outcomes(1), within_s=20)
    return generation_id


def by_name(spans: Mapping[str, ReadableSpan] | tuple[ReadableSpan, ...]) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans if isinstance(span, ReadableSpan)}


async def test_a_webhook_is_one_trace_from_http_over_queues_and_database_to_klaviyo(
    database_url: str, amqp_url: str, exporter: InMemorySpanExporter
) -> None:
    recorder = tracing.OpenTelemetry("test", SimpleSpanProcessor(exporter))
    async with rigged(database_url, amqp_url) as rig:
        with tracing.recording(recorder):
            generation_id = await one_email(rig)

    spans = by_name(exporter.get_finished_spans())
    assert {
        "webhook", "publish", "generate", "find what is stored", "store generations", "publish writes", "write",
        "klaviyo patch", "write ended",
    } <= spans.keys()  # fmt: skip
    assert {span.context.trace_id for span in spans.values() if span.context} == {generation_id.int}
    root = spans.pop("webhook")
    assert root.parent is None
    assert root.context is not None
    assert {span.parent.span_id for span in spans.values() if span.parent} == {root.context.span_id}
    assert dict(spans["write ended"].attributes or {}) == {"outcome": "written", "reason": ""}
    for before, after in (("publish", "generate"), ("store generations", "write"), ("write", "klaviyo patch")):
        assert (spans[before].start_time or 0) <= (spans[after].start_time or 0)
    said = " ".join(span.to_json() for span in (root, *spans.values()))
    assert "Ann" not in said  # no person's values


async def test_nothing_is_recorded_where_nobody_asked(
    database_url: str, amqp_url: str, exporter: InMemorySpanExporter
) -> None:
    recorder = tracing.OpenTelemetry("test", SimpleSpanProcessor(exporter))
    async with rigged(database_url, amqp_url) as rig:
        with tracing.recording(recorder, share=0.0):
            await one_email(rig)

    assert exporter.get_finished_spans() == ()
    assert not tracing.is_on()


async def test_a_collector_gets_what_waits_when_a_service_stops_and_one_that_is_away_costs_nothing() -> None:
    taken: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        taken.append(await request.read())
        return web.Response(body=b"", content_type="application/x-protobuf")

    app, [port] = web.Application(), free_ports(1)
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, port).start()
        async with tracing.sending("gateway", f"http://{LOOPBACK}:{port}", 1.0):
            tracing.webhook(str(uuid4()), time.time_ns(), org="shop")
    finally:
        await runner.cleanup()
    async with tracing.sending("gateway", f"http://{LOOPBACK}:{port}", 1.0):
        tracing.webhook(str(uuid4()), time.time_ns(), org="shop")

    assert len(taken) == 1
    assert b"justai-gateway" in taken[0]
