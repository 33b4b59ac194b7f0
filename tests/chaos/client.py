"""Flow webhooks as Klaviyo sends them: an open loop at a stated rate, each repeated until it is accepted."""

import asyncio
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import aiohttp

from shared.clock import Clock
from simulator.flow.retry import Verdict, verdict, wait_s
from tests.chaos.oracle import Answer
from tests.chaos.orgs import TEMPLATE, Org

_RETRIES, _SPAN_S = 17, 86_400.0
_LONGEST_WAIT_S = 4.0  # Klaviyo's later waits are longer than any fault of ours here
_CLIENT_TIMEOUT_S = 10.0
_GIVE_UP_S = 120.0  # longer than any fault here lasts
_AT_ONCE = 300


@dataclass(frozen=True, slots=True)
class Webhook:
    """One logical request; a repetition has the same bytes."""

    org: Org
    profile_id: str
    tracking_id: str
    body: bytes
    wait_s: int = 0  # for the copy


def tracking_id(org: Org, profile_id: str) -> str:
    """As the flow's webhook step says it."""
    return f"{profile_id}.{org.flow.flow_id}.{org.flow.treatment_action_id}"


def webhook(org: Org, profile_id: str, first_name: str, *, body_bytes: int = 0) -> Webhook:
    """Of one person who enters the org's flow; another first name is another request. `body_bytes`: at least so
    long."""
    tracking = tracking_id(org, profile_id)
    fields = {"first_name": first_name}
    body = {"template_id": TEMPLATE, "user_id": profile_id, "tracking_id": tracking, "attrs": {}, "fields": fields}
    if (left := body_bytes - len(json.dumps(body))) > 0:
        fields["note"] = "n" * left
    return Webhook(org, profile_id, tracking, json.dumps(body).encode())


def webhooks(
    orgs: Sequence[Org], count: int, seed: int, *, people: slice = slice(None), body_bytes: int = 0
) -> list[Webhook]:
    """From all orgs in turn; people are drawn, so that some come back with another name."""
    chance = random.Random(seed)
    return [
        webhook(
            org := orgs[number % len(orgs)], chance.choice(org.people[people]), f"Ann{seed}x{number}",
            body_bytes=body_bytes,
        )
        for number in range(count)
    ]  # fmt: skip


@dataclass
class Client:
    """Klaviyo's sending side. `answers` is what it saw, in the order of seeing."""

    http: aiohttp.ClientSession
    url: str
    clock: Clock
    answers: list[Answer] = field(default_factory=list)
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def load(self, load: Iterable[Webhook], per_s: float, *, give_up_s: float = _GIVE_UP_S) -> None:
        """Send so many a second, whatever is answered; return when each is accepted or given up."""
        started_s = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as sending:
            for number, one in enumerate(load):
                due_s = started_s + number / per_s - asyncio.get_running_loop().time()
                if due_s > 0:
                    await asyncio.sleep(due_s)
                sending.create_task(self.send(one, give_up_s=give_up_s))

    async def send(self, one: Webhook, *, give_up_s: float = _GIVE_UP_S) -> Answer:
        """The last answer to one webhook that is repeated until it is accepted. A 4xx that no repetition cures is the
        last answer too."""
        ends_s = asyncio.get_running_loop().time() + give_up_s
        attempt = 0
        while True:
            attempt += 1
            async with self.slots:  # before the time of its answer runs
                answer = await self._post(one)
            self.answers.append(answer)
            follows = verdict(answer.status or None, attempt, _RETRIES, retry_unanswered=True)
            if follows is Verdict.ACCEPTED:
                return answer
            if follows is not Verdict.RETRY or asyncio.get_running_loop().time() > ends_s:
                return answer
            await asyncio.sleep(min(wait_s(attempt, _RETRIES, _SPAN_S), _LONGEST_WAIT_S))

    async def _post(self, one: Webhook) -> Answer:
        loop = asyncio.get_running_loop()
        sent_s, status, generation_id, error, retry_after = loop.time(), 0, None, "", ""
        headers = {"X-Api-Key": one.org.api_key, "Content-Type": "application/json"}
        if one.wait_s:
            headers["Prefer"] = f"wait={one.wait_s}"
        try:
            async with self.http.post(
                f"{self.url}/api/generate/{one.org.slug}", data=one.body, headers=headers,
                timeout=aiohttp.ClientTimeout(total=_CLIENT_TIMEOUT_S),
            ) as response:  # fmt: skip
                answer = await response.json()
                status, generation_id = response.status, answer.get("generation_id")
                retry_after = response.headers.get("Retry-After", "")
        except (aiohttp.ClientError, TimeoutError, ValueError) as failed:
            status, error = 0, type(failed).__name__
        ended_s = loop.time()
        return Answer(
            one.org.slug, one.profile_id, one.tracking_id, ended_s, ended_s - sent_s, status, generation_id, error,
            self.clock.now(), retry_after,
        )  # fmt: skip

    def accepted_since(self, at_s: float, first: int = 0) -> list[Answer]:
        """Of what was sent from then on; `first`: how many answers there were, which need not be looked at again."""
        return [one for one in self.answers[first:] if one.accepted and one.at_s - one.took_s >= at_s]
