"""Composition root of the exporter."""

import sys
from contextlib import AsyncExitStack
from functools import partial

from services.egress.handler import Deps, export_hours
from services.egress.places import Places
from services.egress.probe import ProbeDeps, probe_target
from services.egress.retention import Retention, StoredDays
from services.egress.rows import Reader
from services.egress.s3 import S3, S3Options, quickly
from services.egress.scheduler import Scheduler
from services.egress.settings import Settings
from services.egress.store import Store
from services.egress.sweep import Sweeper
from shared.db import migrate
from shared.db.pool import open_database
from shared.hosts import Hosts
from shared.keyring import KeptRing
from shared.messaging.asking import answer_each
from shared.messaging.broker import connect
from shared.messaging.consumer import Consumer
from shared.messaging.publisher import open_publisher
from shared.messaging.replies import ReplySender
from shared.messaging.topology import EXPORT_HOUR, PROBE_TARGET
from shared.runtime import Service
from shared.schemas.jobs import ExportHourJob, ProbeTargetJob

_SWITCH_S = 0.0005
"""Reading, filling and writing take turns at the interpreter. With Python's own 5 ms, whoever came for a moment waited
for most of an export: of 50,000 rows, 81 µs a row became 28."""


async def build(settings: Settings, stack: AsyncExitStack) -> Service:
    """Everything opened, nothing running yet."""
    sys.setswitchinterval(_SWITCH_S)
    database_url, amqp_url = settings.database_url.get_secret_value(), settings.amqp_url.get_secret_value()
    await migrate.require(database_url)
    clock = settings.make_clock()
    db = await stack.enter_async_context(
        open_database(database_url, name="egress", role=settings.database_role, max_size=settings.database_pool)
    )
    publisher = await stack.enter_async_context(open_publisher(amqp_url, "egress", EXPORT_HOUR, PROBE_TARGET))
    connection = await stack.enter_async_context(connect(amqp_url, "egress.consume"))
    replying = await stack.enter_async_context(connect(amqp_url, "egress.reply"))
    folder = settings.egress_folder
    kept = await KeptRing.open(settings.seal_keys.get_secret_value(), "egress", db)
    store = Store(db, kept.ring, clock if folder is not None else None)
    options = S3Options(
        hosts=Hosts(settings.allow_private_hosts),
        connect_timeout_s=settings.egress_connect_timeout_s,
        read_timeout_s=settings.egress_read_timeout_s,
        checksums=settings.egress_checksums,
        sts_endpoint_url=settings.egress_sts_endpoint_url,
    )
    places = Places(S3(options, stack), folder)
    deps = Deps(store, Reader(db), places, clock, settings.egress_lease_s, settings.egress_spool_dir)
    consumer = Consumer(connection, publisher, EXPORT_HOUR, ExportHourJob, partial(export_hours, deps=deps), clock)
    tried = partial(probe_target, deps=ProbeDeps(store.target, Places(S3(quickly(options), stack), folder).bucket))
    answering = partial(answer_each, answer=tried, send=ReplySender(replying).send)
    probes = Consumer(connection, publisher, PROBE_TARGET, ProbeTargetJob, answering, clock)
    scheduler = Scheduler(
        store,
        publisher,
        clock,
        settle_s=settings.egress_settle_s,
        tick_s=settings.egress_tick_s,
        requeue_s=settings.egress_requeue_s,
    )
    sweeper = Sweeper(store, places.bucket, clock)
    runners = {
        "exports": consumer.run, "scheduler": scheduler.run, "probes": probes.run, "uploads": sweeper.run,
        "keyring": kept.run,
    }  # fmt: skip
    if settings.egress_keep_days is not None:
        runners["retention"] = Retention(StoredDays(db), clock, settings.egress_keep_days).run
    return Service(
        "egress",
        runners=runners,
        checks={"database": db.ping, "exports": consumer.attached},
    )
