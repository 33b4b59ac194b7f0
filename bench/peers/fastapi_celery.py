"""FastAPI with Celery as their documents show it: a pydantic body, a key in a header, `task.delay()`.

delay() blocks, so the route is a plain `def`, which FastAPI runs in threads. Celery publishes without a confirm
unless it is told to: it promises less than the gateway, and is not charged for it.
"""

import json
import os
import sys
from typing import Any

import uvicorn
from celery import Celery
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel

ORG_OF = json.loads(os.environ["BENCH_KEYS"])
celery = Celery("bench", broker=os.environ["JUSTAI_AMQP_URL"])
celery.conf.task_default_queue = "bench.celery"
celery.conf.task_default_queue_type = "quorum"
celery.conf.task_ignore_result = True


class Webhook(BaseModel):
    template_id: str
    user_id: str
    tracking_id: str
    attrs: dict[str, str] = {}
    fields: dict[str, str] = {}


@celery.task(name="generate")
def work(job: dict[str, Any]) -> None:
    """Never run here: only the sending is measured."""


app = FastAPI()


@app.post("/api/generate/{org_slug}", status_code=202)
def generate(org_slug: str, webhook: Webhook, x_api_key: str = Header()) -> dict[str, str]:
    if ORG_OF.get(x_api_key) != org_slug:
        raise HTTPException(403)
    work.delay(webhook.model_dump())
    return {"status": "accepted"}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="warning")
