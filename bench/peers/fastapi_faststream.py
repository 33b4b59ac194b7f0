"""FastAPI with FastStream as their documents show it: a pydantic body, a key in a header, one confirmed publish."""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Header, HTTPException
from faststream.rabbit import QueueType, RabbitBroker, RabbitQueue
from pydantic import BaseModel

ORG_OF = json.loads(os.environ["BENCH_KEYS"])
QUEUE = RabbitQueue("bench.faststream", queue_type=QueueType.QUORUM, durable=True)
broker = RabbitBroker(os.environ["JUSTAI_AMQP_URL"])


class Webhook(BaseModel):
    template_id: str
    user_id: str
    tracking_id: str
    attrs: dict[str, str] = {}
    fields: dict[str, str] = {}


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with broker:
        await broker.declare_queue(QUEUE)
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/api/generate/{org_slug}", status_code=202)
async def generate(org_slug: str, webhook: Webhook, x_api_key: str = Header()) -> dict[str, str]:
    if ORG_OF.get(x_api_key) != org_slug:
        raise HTTPException(403)
    await broker.publish(webhook, QUEUE, persist=True, mandatory=True)
    return {"status": "accepted"}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="warning")
