"""The box's system webhooks: signed batches, and again what was not taken."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from shared.clock import FrozenClock
from simulator.account import Account
from tests.contract.simulator_box import Caller
from tests.support.klaviyo_events import Mail
from tests.support.loopback import hosted

SECRET = "s" * 20


class Receiver:
    def __init__(self) -> None:
        self.url, self.status = "", 202
        self.got: list[tuple[dict[str, str], bytes]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        return web.Response(status=self.status)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made, app = Receiver(), web.Application()
    app.router.add_post("/hook", made.answer)
    async with hosted(app) as url:
        made.url = f"{url}/hook"
        yield made


async def test_events_come_signed_in_batches_until_they_are_taken(
    caller: Caller, account: Account, clock: FrozenClock, receiver: Receiver
) -> None:
    for number in range(5):
        Mail(account, clock.now(), f"01P{number}").received()
    path, body = f"/accounts/{account.id}/deliver", {"url": receiver.url, "secret": SECRET, "batch": 2}
    receiver.status = 503

    refused = await caller.sim("POST", path, body)
    receiver.status, receiver.got = 202, []
    taken = await caller.sim("POST", path, body)
    nothing = await caller.sim("POST", path, body)

    assert (refused["statuses"], taken["statuses"], nothing["events"]) == ([503] * 3, [202] * 3, 0)
    for headers, raw in receiver.got:
        expected = hmac.new(SECRET.encode(), raw + headers["Klaviyo-Timestamp"].encode(), hashlib.sha256).hexdigest()
        assert headers["Klaviyo-Signature"] == expected
        assert json.loads(raw)["meta"]["klaviyo_webhook_id"] == headers["Klaviyo-Webhook-Id"]
    items = [item for _, raw in receiver.got for item in json.loads(raw)["data"]]
    assert [item["topic"] for item in items] == ["event:klaviyo.received_email"] * 5
    assert len({item["external_id"] for item in items}) == 5
