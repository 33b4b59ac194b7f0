"""What ingest is made of."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from uuid import uuid4

import aiohttp

from services.ingest.attribution.recounter import Recounter, recount_one
from services.ingest.attribution.recounts import RecountRunner, StoredRecounts
from services.ingest.attribution.unmatched import Retrier, StoredUnmatched
from services.ingest.counting.results import Counter, StoredCounts
from services.ingest.counting.results import Pace as CountPace
from services.ingest.counting.shown import Pace as ShownPace
from services.ingest.counting.shown import ShownCounter, StoredShownCounts
from services.ingest.handler import Deps, ingest_files
from services.ingest.loading.staging import Stagings
from services.ingest.reading.text import Limits
from services.ingest.reconciling.flow_store import KeptFlows
from services.ingest.reconciling.flows import FlowWatch
from services.ingest.reconciling.reconciler import Reconciler
from services.ingest.reconciling.store import Comparisons
from services.ingest.retention import Days, Retention
from services.ingest.settings import Settings
from services.ingest.sources.batches import BatchFolders
from services.ingest.sources.folder import LocalFolders
from services.ingest.sources.folders import Folders, Opener
from services.ingest.sources.klaviyo_events import EventServers
from services.ingest.sources.klaviyo_store import EventSources
from services.ingest.sources.klaviyo_windows import WindowTimes
from services.ingest.sources.poller import Pace, Poller
from services.ingest.sources.probe import ProbeDeps, probe
from services.ingest.sources.s3 import Buckets
from services.ingest.sources.sftp import Servers
from services.ingest.sources.silence import SilenceWatch
from services.ingest.sources.store import Sources
from services.ingest.store import Ledger
from shared.api_keys import Peppers
from shared.clock import Clock
from shared.crypto import KeyRing
from shared.db.migrate import require
from shared.db.pool import Database, open_database
from shared.hosts import Hosts
from shared.keyring import KeptRing
from shared.klaviyo.client import KlaviyoClient
from shared.klaviyo.reports import Reports
from shared.klaviyo.wire import open_session
from shared.messaging.asking import answer_each
from shared.messaging.broker import connect
from shared.messaging.consumer import Consumer
from shared.messaging.publisher import Publisher, open_publisher
from shared.messaging.replies import ReplySender
from shared.messaging.topology import INGEST_FILE, PROBE_SOURCE
from shared.runtime import Service
from shared.schemas.jobs import IngestFileJob, ProbeSourceJob
from shared.stepper import Stepper

_COUNT_LEASE_S = 3600.0  # longer than the longest count or report


async def build(settings: Settings, stack: AsyncExitStack) -> Service:
    """The composition root."""
    url, amqp_url = settings.database_url.get_secret_value(), settings.amqp_url.get_secret_value()
    clock = settings.make_clock()
    await require(url)
    database = await stack.enter_async_context(
        open_database(url, name="ingest", role=settings.database_role, max_size=settings.database_pool)
    )
    publisher = await stack.enter_async_context(open_publisher(amqp_url, "ingest", INGEST_FILE, PROBE_SOURCE))
    connection = await stack.enter_async_context(connect(amqp_url, "ingest.consume"))
    replying = await stack.enter_async_context(connect(amqp_url, "ingest.reply"))
    session = await stack.enter_async_context(open_session())
    kept = await KeptRing.open(settings.seal_keys.get_secret_value(), "ingest", database)
    ring = kept.ring
    klaviyo = _klaviyo(settings, session, database, ring, clock)
    folders = _folders(settings, ring, {"klaviyo": klaviyo, "webhook": BatchFolders(database, clock)})
    sources = Sources(database)
    ledger = Ledger(database, lease=timedelta(seconds=settings.ingest_lease_s), max_attempts=settings.ingest_attempts)
    poller = Poller(sources, ledger, folders, partial(_publish, publisher), clock, uuid4, _pace(settings))
    deps = Deps(
        ledger=ledger,
        sources=sources,
        servers=folders,
        stagings=Stagings(
            database,
            window=timedelta(seconds=settings.ingest_window_s),
            peppers=Peppers(settings.api_key_peppers.get_secret_value()),
        ),
        clock=clock,
        new_id=uuid4,
        lease_s=settings.ingest_lease_s,
        limits=_limits(settings),
        max_file_bytes=settings.ingest_max_file_bytes,
        spool_dir=settings.ingest_spool_dir,
        queue_some=poller.queue_some,
    )
    tried = partial(probe, deps=ProbeDeps(sources.find, folders, clock, deps.limits))
    answering = partial(answer_each, answer=tried, send=ReplySender(replying).send)
    probes = Consumer(connection, publisher, PROBE_SOURCE, ProbeSourceJob, answering, clock)
    reconciler = _reconciler(settings, session, database, ring, clock)
    # Several consumers, each with one file in hand: a long file holds up few others.
    consumers = {
        f"files_{number}": Consumer(
            connection, publisher, INGEST_FILE, IngestFileJob, partial(ingest_files, deps=deps), clock
        )
        for number in range(settings.ingest_parallel_files)
    }
    return Service(
        name="ingest",
        runners={
            "poller": poller.run,
            "probes": probes.run,
            "silence": SilenceWatch(sources, clock).run,
            "reconciler": reconciler.run,
            "flows": _flow_watch(settings, session, database, ring, clock).run,
            "keyring": kept.run,
            **{name: stepper.run for name, stepper in _steppers(settings, database, clock).items()},
            **{name: consumer.run for name, consumer in consumers.items()},
        },
        checks={
            "database": database.ping,
            "publisher": publisher.ping,
            **{name: consumer.attached for name, consumer in consumers.items()},
        },
    )


def _reconciler(
    settings: Settings, session: aiohttp.ClientSession, database: Database, ring: KeyRing, clock: Clock
) -> Reconciler:
    return Reconciler(
        Comparisons(database),
        lambda base_url, key: Reports(session, base_url, key, clock),
        ring,
        clock,
        uuid4,
        every=timedelta(seconds=settings.ingest_reconcile_s),
        tick_s=settings.ingest_tick_s,
    )


def _flow_watch(
    settings: Settings, session: aiohttp.ClientSession, database: Database, ring: KeyRing, clock: Clock
) -> FlowWatch:
    return FlowWatch(
        KeptFlows(database),
        lambda base_url, key: KlaviyoClient(session, base_url, key, clock=clock),
        ring,
        clock,
        every=timedelta(seconds=settings.ingest_reconcile_s),
        tick_s=settings.ingest_tick_s,
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        settings.ingest_max_unpacked_bytes, settings.ingest_max_ratio, max_rejects=settings.ingest_max_rejects
    )


def _steppers(settings: Settings, database: Database, clock: Clock) -> dict[str, Stepper]:
    """What counts, and tries again, what files have told."""
    window, tick = timedelta(seconds=settings.ingest_window_s), timedelta(seconds=settings.ingest_tick_s)
    count_pace, shown_pace = _count_pace(settings), _shown_pace(settings)
    steppers: dict[str, Stepper] = {
        "recounter": Recounter(partial(recount_one, database), clock, tick),
        "recounts": RecountRunner(StoredRecounts(database, window), clock, tick),
        "counter": Counter(StoredCounts(database, uuid4, count_pace), clock, count_pace.tick),
        "shown": ShownCounter(StoredShownCounts(database, uuid4, shown_pace), clock, shown_pace.tick),
        "unmatched": Retrier(StoredUnmatched(database, uuid4, clock, window), clock, tick),
    }
    if settings.ingest_keep_days is not None:
        steppers["retention"] = Retention(Days(database), clock, settings.ingest_keep_days)
    return steppers


def _klaviyo(
    settings: Settings, session: aiohttp.ClientSession, database: Database, ring: KeyRing, clock: Clock
) -> EventServers:
    times = WindowTimes(
        window=timedelta(minutes=settings.ingest_klaviyo_window_min),
        overlap=timedelta(seconds=settings.ingest_klaviyo_overlap_s),
        late=timedelta(seconds=settings.ingest_klaviyo_late_s),
    )
    stored = EventSources(database)
    return EventServers(session, stored, ring, clock, times, per_min=settings.ingest_klaviyo_per_min)


def _folders(settings: Settings, ring: KeyRing, more: Mapping[str, Opener]) -> Folders:
    """The kinds of source that are read."""
    hosts = Hosts(settings.allow_private_hosts)
    connect_s, read_s = settings.ingest_connect_timeout_s, settings.ingest_read_timeout_s
    own_role = settings.ingest_s3_own_role
    return Folders(
        {
            "sftp": Servers(ring, connect_timeout_s=connect_s, read_timeout_s=read_s, hosts=hosts),
            "folder": LocalFolders(settings.ingest_folder_root, read_timeout_s=read_s),
            "s3": Buckets(ring, connect_timeout_s=connect_s, read_timeout_s=read_s, hosts=hosts, own_role=own_role),
            **more,
        }
    )


def _pace(settings: Settings) -> Pace:
    return Pace(
        tick_s=settings.ingest_tick_s,
        stable=timedelta(seconds=settings.ingest_stable_s),
        requeue=timedelta(seconds=settings.ingest_requeue_s),
        parallel=settings.ingest_parallel_polls,
    )


def _count_pace(settings: Settings) -> CountPace:
    return CountPace(
        tick=timedelta(seconds=settings.ingest_tick_s),
        fresh=timedelta(seconds=settings.ingest_count_s),
        older=timedelta(seconds=12 * settings.ingest_count_s),
        late=timedelta(seconds=settings.ingest_count_s / 10),
        report=timedelta(seconds=settings.ingest_report_s),
        lease=timedelta(seconds=_COUNT_LEASE_S),
    )


def _shown_pace(settings: Settings) -> ShownPace:
    return ShownPace(
        tick=timedelta(seconds=settings.ingest_tick_s),
        young=timedelta(seconds=settings.ingest_count_s / 5),
        older=timedelta(seconds=settings.ingest_count_s),
        lease=timedelta(seconds=_COUNT_LEASE_S),
    )


async def _publish(publisher: Publisher, job: IngestFileJob) -> None:
    """One message a file, so that replicas share them."""
    await publisher.send_jobs(INGEST_FILE, job.org_id, [job])
