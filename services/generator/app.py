"""The composition root of the generator."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

from services.generator.answer_store import AnswerStore
from services.generator.answers import Answers
from services.generator.catalog import Catalog
from services.generator.handler import Generator
from services.generator.render import Renderer
from services.generator.resend import Resending
from services.generator.settings import Settings
from services.generator.store import Store
from shared.db.listen import ConfigListener
from shared.db.migrate import require
from shared.db.pool import BY_KEY, open_database
from shared.messaging.broker import connect
from shared.messaging.consumer import Consumer
from shared.messaging.gather import Gather
from shared.messaging.memory import Memory
from shared.messaging.publisher import open_publisher
from shared.messaging.replies import ReplySender
from shared.messaging.topology import GENERATE, WRITE
from shared.runtime import Service
from shared.schemas.jobs import GenerateJob, WriteJob

_SERVED_TABLES = frozenset({"orgs", "templates", "variants", "policy_snapshots", "flow_messages"})


_BATCHES_AT_ONCE = 2
MEMORY = "write.memory"


async def build(settings: Settings, stack: AsyncExitStack) -> Service:
    database_url, amqp_url = settings.database_url.get_secret_value(), settings.amqp_url.get_secret_value()
    clock = settings.make_clock()
    await require(database_url)
    database = await stack.enter_async_context(
        open_database(
            database_url, name="generator", role=settings.database_role, max_size=settings.database_pool, planner=BY_KEY
        )
    )
    publisher = await stack.enter_async_context(open_publisher(amqp_url, "generator", GENERATE, WRITE))
    connection = await stack.enter_async_context(connect(amqp_url, "generator.consume"))
    store = Store(database, clock)
    catalog = Catalog(store, clock, max_bytes=settings.generator_catalog_mb * 1_000_000)
    listener = ConfigListener(
        database_url,
        _SERVED_TABLES,
        name="generator.listen",
        on_change=catalog.forget,
        on_listening=lambda listening: catalog.listen(listening=listening),
    )

    async def publish(writes: Sequence[WriteJob]) -> None:
        await publisher.send_sharded(WRITE, writes)

    handler = Generator(store, catalog, Renderer(settings.generator_compiled_copies), publish)
    gathered = Gather(handler, most_jobs=GENERATE.batch_jobs, at_once=_BATCHES_AT_ONCE)
    replying = await stack.enter_async_context(connect(amqp_url, "generator.reply"))
    answers = Answers(AnswerStore(database).find, ReplySender(replying).send)
    consumer = Consumer(connection, publisher, GENERATE, GenerateJob, answers.after(gathered), clock)

    resending = Resending(Memory(connection, MEMORY), store, publish, clock)

    return Service(
        name="generator",
        runners={
            "consume": consumer.run,
            "listen": listener.run,
            "partitions": partial(store.days.keep, clock),
            "forget": store.keep_forgetting,
            "answers": answers.run,
            "resend": resending.run,
        },
        checks={"database": database.ping, "broker": publisher.ping, "consume": consumer.attached},
    )
