"""Takes people through flows: webhook, delay, email, as Klaviyo does, on the box's clock.

Waits of the flow are virtual; the timeout of one HTTP call is real, since a socket knows no scaled clock.
"""

import asyncio
import ipaddress
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from simulator.account import Account
from simulator.flow.definitions import Flow, FlowAction, FlowMessage
from simulator.flow.ledger import Entry, outcome
from simulator.flow.mailer import send_email
from simulator.flow.retry import Verdict, verdict, wait_s
from simulator.flow.templating import BrokenTemplate, render_webhook
from simulator.people.behaviour import EventMaker
from simulator.people.events import Sent
from simulator.world import World

log = logging.getLogger("simulator.flow")

ANSWER_MAX_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Admission:
    """How many entered the flow, and why the others did not."""

    entered: list[str]
    refused: dict[str, str]


class FlowRunner:
    """One per box. `start` before the first trigger, `close` at the end; every person inside is one task."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._in_flight = asyncio.Semaphore(world.settings.webhook_concurrency)

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=True)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def trigger(
        self, account: Account, flow: Flow, profile_ids: Iterable[str], *, spread_s: float = 0.0,
        event: Mapping[str, Any] | None = None,
    ) -> Admission:  # fmt: skip
        """Let people into a live flow, evenly over `spread_s` virtual seconds.

        A person inside is not let in a second time (one step at a time); one who is through may come again.
        """
        ledger, now = self._world.ledgers[account.id], self._world.clock.now()
        admission = Admission([], {})
        wanted = list(profile_ids)
        for number, profile_id in enumerate(wanted):
            if refusal := self._refusal(account, flow, profile_id):
                admission.refused[profile_id] = refusal
                continue
            enters_at = now + timedelta(seconds=spread_s * number / len(wanted))
            entry = Entry(self._world.ids.uuid4(), flow.id, profile_id, enters_at, event)
            ledger.entries.append(entry)
            ledger.inside.add((flow.id, profile_id))
            admission.entered.append(profile_id)
            self._spawn(self._walk(account, flow, entry))
        return admission

    def _refusal(self, account: Account, flow: Flow, profile_id: str) -> str:
        if flow.status != "live":
            return "flow_not_live"
        if profile_id not in account.profiles:
            return "no_such_profile"
        if (flow.id, profile_id) in self._world.ledgers[account.id].inside:
            return "already_inside"
        return ""

    def _spawn(self, walk: Any) -> None:
        task = asyncio.get_running_loop().create_task(walk)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("flow.walk_failed", exc_info=error)

    async def _walk(self, account: Account, flow: Flow, entry: Entry) -> None:
        try:
            await self._until(entry.entered_at)
            due = entry.entered_at
            action = flow.actions[0] if flow.actions else None
            while action is not None:
                step, action = action, flow.action(action.follower_of(entry.profile_id) or "")
                if step.type == "time-delay":
                    due = step.over_at(due)
                    await self._until(due)
                elif step.status != "live":
                    continue
                elif step.type == "send-webhook":
                    await self._webhook(account, flow, step, entry)
                    due = self._world.clock.now()
                elif step.message is not None:
                    self._email(account, flow, step.message, entry, due)
        finally:
            entry.finished = True
            self._world.ledgers[account.id].inside.discard((flow.id, entry.profile_id))

    async def _until(self, at: datetime) -> None:
        await self._world.clock.sleep((at - self._world.clock.now()).total_seconds())

    async def _webhook(self, account: Account, flow: Flow, action: FlowAction, entry: Entry) -> None:
        body = self._body(account, action, entry)
        if body is None:
            entry.state = Verdict.SKIPPED
            return
        if await self._attempt(account, flow, action, entry, body) is Verdict.RETRY:
            retries = self._retry(account, flow, action, entry, body)
            if self._world.settings.hold_on_retry:
                await retries
            else:
                self._spawn(retries)

    def _body(self, account: Account, action: FlowAction, entry: Entry) -> bytes | None:
        """The rendered body, or None when Klaviyo would not even send it. A retry carries the same bytes."""
        person = account.profiles.get(entry.profile_id)
        if person is None or action.message is None:
            return None
        settings = self._world.settings
        try:
            text = render_webhook(
                action.message.body, person.id, person.state, entry.event, autoescape=settings.webhook_autoescape
            )
            if settings.invalid_json == "skip":
                json.loads(text)
        except (BrokenTemplate, json.JSONDecodeError):
            return None
        return text.encode()

    async def _retry(self, account: Account, flow: Flow, action: FlowAction, entry: Entry, body: bytes) -> None:
        settings, verdict_now = self._world.settings, Verdict.RETRY
        while verdict_now is Verdict.RETRY:
            await self._world.clock.sleep(
                wait_s(entry.attempts, settings.webhook_retries, settings.webhook_retry_span_s)
            )
            verdict_now = await self._attempt(account, flow, action, entry, body)

    async def _attempt(self, account: Account, flow: Flow, action: FlowAction, entry: Entry, body: bytes) -> Verdict:
        settings, clock = self._world.settings, self._world.clock
        async with self._in_flight:
            entry.attempts += 1
            entry.posted_at = entry.posted_at or clock.now()
            status, answer = await self._post(flow, action, body)
        entry.last_status = status
        reached = verdict(status, entry.attempts, settings.webhook_retries, retry_unanswered=settings.retry_unanswered)
        entry.state = "retrying" if reached is Verdict.RETRY else reached
        if reached is Verdict.ACCEPTED:
            entry.accepted_at = clock.now()
            entry.generation_id = _generation_in(answer)
            if entry.generation_id is not None:
                fed = [message.id for message in flow.emails_after(action)]
                self._world.ledgers[account.id].accept(fed, entry.profile_id, entry.generation_id, entry.accepted_at)
        return reached

    async def _post(self, flow: Flow, action: FlowAction, body: bytes) -> tuple[int | None, bytes]:
        """Status and answer of one call; None for no answer in time, no server, or a URL that Klaviyo refuses."""
        assert action.message is not None and self._session is not None  # noqa: S101, PT018 - callers checked, `start` ran
        settings = self._world.settings
        if not url_allowed(action.message.url, allow_http=settings.allow_http):
            return None, b""
        headers = {"Content-Type": "application/json", **action.message.headers, "X-Klaviyo-Flow-ID": flow.id}
        timeout = aiohttp.ClientTimeout(total=settings.webhook_timeout_s)
        try:
            async with self._session.post(
                action.message.url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                return answer.status, await answer.content.read(ANSWER_MAX_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None, b""

    def _email(self, account: Account, flow: Flow, message: FlowMessage, entry: Entry, due: datetime) -> None:
        world = self._world
        ledger = world.ledgers[account.id]
        posted = send_email(
            account, ledger, entry, message, due, world.ids.ulid(due), world.settings.visibility_delay_s
        )
        if posted is None:
            return
        if flow.webhook_before(message) is not None:  # an email that no webhook feeds shows nobody's generation
            ledger.sends.append(posted.send)
            if world.ledger_file is not None:
                shown = outcome(posted.send.real, posted.send, world.decisions, account.first_written_at)
                world.ledger_file.email(account.id, posted.send, shown)
        if posted.shown is None:
            return
        email = posted.state.fields.get("email") or f"{entry.profile_id.lower()}@people.example"
        sent = Sent(
            posted.send.transmission_id, message.id, message.name, flow.id, entry.profile_id, email,
            posted.shown.subject, due,
        )  # fmt: skip
        maker = EventMaker(
            world.ids, account.behaviour, {metric.name: metric.id for metric in account.metrics.values()}
        )
        for event in maker.after(sent, posted.shown.html, dict(posted.state.properties)):
            account.events.add(event)


def url_allowed(url: str, *, allow_http: bool) -> bool:
    """https everywhere; plain http only where it is allowed and only to this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return bool(parts.hostname)
    if parts.scheme != "http" or not allow_http or not parts.hostname:
        return False
    if parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return False


def _generation_in(answer: bytes) -> str | None:
    """The `generation_id` that the gateway's answer names, if it names one."""
    try:
        named = json.loads(answer).get("generation_id")
    except (ValueError, AttributeError):
        return None
    return named if isinstance(named, str) and named else None
