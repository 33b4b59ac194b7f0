"""The composition root of the profile writer."""

from contextlib import AsyncExitStack
from functools import partial
from random import SystemRandom
from uuid import UUID, uuid4

from services.profile_writer.bulk.bulk import BulkRoad
from services.profile_writer.bulk.following import Following
from services.profile_writer.bulk.job_store import JobStore
from services.profile_writer.bulk.making import Making
from services.profile_writer.bulk.store import BulkStore
from services.profile_writer.content import Contents, Integration
from services.profile_writer.handler import Intake
from services.profile_writer.settings import Settings
from services.profile_writer.store import Store
from services.profile_writer.turns.scheduler import Scheduler
from services.profile_writer.turns.sender import Patch, Sender
from services.profile_writer.turns.turn import Turns
from services.profile_writer.upkeep.move_store import MoveStore
from services.profile_writer.upkeep.store import UpkeepStore
from services.profile_writer.upkeep.sweep_store import SweepStore
from services.profile_writer.upkeep.sweeper import Sweeper
from services.profile_writer.upkeep.teller import Teller
from services.profile_writer.upkeep.upkeep import Upkeep
from shared.db.listen import ConfigListener
from shared.db.migrate import require
from shared.db.pool import BY_KEY, open_database
from shared.keyring import KeptRing
from shared.klaviyo.bulk import BulkImports
from shared.klaviyo.client import KlaviyoClient
from shared.klaviyo.wire import open_session
from shared.messaging.broker import connect
from shared.messaging.consumer import Consumer
from shared.messaging.gather import Gather
from shared.messaging.publisher import open_publisher
from shared.messaging.topology import WRITE
from shared.runtime import Service
from shared.schemas.jobs import WriteJob

_BULK_SIDE_BY_SIDE = 2  # accounts whose bulk road is looked at at the same time; each may hold 40 MB of bodies
_INTAKES_AT_ONCE = 2
_RARE_CONNECTIONS = 2  # beside the pool of the setting: what reads whole tables, rarely, is planned like any statement
_INTAKE_JOBS = 1000  # of all shards together: one transaction, which turns of its accounts wait for


async def build(settings: Settings, stack: AsyncExitStack) -> Service:
    database_url, amqp_url = settings.database_url.get_secret_value(), settings.amqp_url.get_secret_value()
    clock = settings.make_clock()
    await require(database_url)
    opening = partial(open_database, database_url, name="profile_writer", role=settings.database_role)
    database = await stack.enter_async_context(opening(max_size=settings.database_pool, planner=BY_KEY))
    whole_tables = await stack.enter_async_context(opening(max_size=_RARE_CONNECTIONS))
    publisher = await stack.enter_async_context(open_publisher(amqp_url, "profile_writer", WRITE))
    connection = await stack.enter_async_context(connect(amqp_url, "profile_writer.consume"))
    session = await stack.enter_async_context(open_session(connections=0))

    def klaviyo(integration: Integration) -> Patch:
        return KlaviyoClient(session, integration.base_url, integration.private_key or "", clock=clock)

    def imports(integration: Integration) -> BulkImports:
        return BulkImports(session, integration.base_url, integration.private_key or "", clock)

    store, rng, margin_s = Store(database), SystemRandom(), settings.writer_deadline_margin_s
    turns = Turns(store, settings, clock, rng, uuid4)
    kept = await KeptRing.open(settings.seal_keys.get_secret_value(), "profile_writer", database)
    contents = Contents(database, kept.ring)
    sweeper = Sweeper(SweepStore(store), clock, wake=lambda: scheduler.wake())
    sender = Sender(contents, klaviyo, clock, sweeper.stops)
    scheduler = Scheduler(turns, sender, clock, side_by_side=settings.writer_turns)
    bulk, import_jobs = BulkStore(database, store), JobStore(database, store)
    road = BulkRoad(
        bulk,
        Making(bulk, import_jobs, store, contents, imports, clock, rng, uuid4, margin_s=margin_s),
        Following(bulk, import_jobs, store, contents, imports, clock, rng, margin_s=margin_s),
        clock,
        side_by_side=_BULK_SIDE_BY_SIDE,
    )
    moves = MoveStore(whole_tables, store, margin_s=margin_s)
    upkeep_store = UpkeepStore(whole_tables, store)
    upkeep = Upkeep(upkeep_store, moves, clock, wake=scheduler.wake)
    intake = Intake(store, clock, margin_s=margin_s, wake=scheduler.wake)
    gathered = Gather(intake, most_jobs=_INTAKE_JOBS, at_once=_INTAKES_AT_ONCE)
    consumer = Consumer(connection, publisher, WRITE, WriteJob, gathered, clock)

    def changed(org_id: UUID | None) -> None:
        sweeper.changed(org_id)
        upkeep.changed(org_id)

    listener = ConfigListener(
        database_url,
        frozenset({"integrations", "templates", "orgs"}),
        name="profile_writer.listen",
        on_change=changed,
        on_listening=lambda listening: changed(None) if listening else None,
    )
    return Service(
        name="profile_writer",
        runners={
            "intake": consumer.run,
            "schedule": scheduler.run,
            "bulk": road.run,
            "upkeep": upkeep.run,
            "tell": Teller(upkeep_store, clock, second_road=settings.writer_import_road).run,
            "sweep": sweeper.run,
            "listen": listener.run,
            "partitions": partial(store.outcome_days.keep, clock),
            "keyring": kept.run,
        },
        checks={"database": database.ping, "intake": consumer.attached},
    )
