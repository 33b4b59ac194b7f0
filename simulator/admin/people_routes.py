"""The buttons of `/_sim` that concern people: who there is, who enters a flow, what they saw and did."""

import asyncio
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from simulator.account import Account
from simulator.admin import bodies
from simulator.flow.definitions import EmailText, Flow
from simulator.flow.ledger import rows, summary
from simulator.flow.runner import FlowRunner
from simulator.flow.templating import BrokenTemplate, render_email
from simulator.people.behaviour import Behaviour
from simulator.people.export import due_events, export_file, finish_file, write_file
from simulator.people.hooks import due, signed_batch
from simulator.profile import Profile
from simulator.world import World

AccountOf = Callable[[World, web.Request], Account]
FlowOf = Callable[[Account, web.Request], Flow]


class People:
    def __init__(self, world: World, runner: FlowRunner, account_of: AccountOf, flow_of: FlowOf) -> None:
        self._world, self._runner = world, runner
        self._account_of, self._flow_of = account_of, flow_of
        self._halves: dict[str, bytes] = {}

    def _account(self, request: web.Request) -> Account:
        return self._account_of(self._world, request)

    def _person(self, account: Account, profile_id: str) -> Profile:
        if (person := account.profiles.get(profile_id)) is None:
            raise ValueError(f"no profile {profile_id}")
        return person

    async def add_profiles(self, request: web.Request) -> Any:
        wanted, account = bodies.ProfilesBody.model_validate_json(await request.read()), self._account(request)
        made = []
        for person in wanted.profiles:
            attributes = {name: value for name, value in person.model_dump().items() if value is not None}
            made.append(self._world.add_profile(account, attributes, attributes.pop("id", None)))
        return {"ids": made}

    async def profile(self, request: web.Request) -> Any:
        """A profile as it is, whatever the keys' scopes allow."""
        person = self._person(self._account(request), request.match_info["profile"])
        state = person.state
        return {"id": person.id, **state.fields, "properties": state.properties, "updated": person.updated_at}

    async def merge(self, request: web.Request) -> Any:
        wanted, account = bodies.MergeBody.model_validate_json(await request.read()), self._account(request)
        person = self._person(account, request.match_info["profile"])
        if wanted.into is None:
            account.remove(person.id, None)
        else:
            account.merge(person.id, self._person(account, wanted.into).id, wanted.carried, self._world.clock.now())
        return {"gone": person.id, "into": wanted.into}

    async def behaviour(self, request: web.Request) -> Any:
        account = self._account(request)
        account.behaviour = Behaviour.model_validate_json(await request.read())
        return account.behaviour.model_dump()

    async def trigger(self, request: web.Request) -> Any:
        wanted, account = bodies.TriggerBody.model_validate_json(await request.read() or b"{}"), self._account(request)
        flow = self._flow_of(account, request)
        people = list(account.profiles) if wanted.profile_ids == "all" else wanted.profile_ids
        admission = self._runner.trigger(account, flow, people, spread_s=wanted.spread_s, event=wanted.event)
        return {"entered": len(admission.entered), "refused": admission.refused}

    async def progress(self, request: web.Request) -> Any:
        """Where the people of a flow are: by webhook state, how many are through, how many emails left."""
        account = self._account(request)
        flow, ledger = self._flow_of(account, request), self._world.ledgers[account.id]
        entries = [entry for entry in ledger.entries if entry.flow_id == flow.id]
        return {
            "now": self._world.clock.now(),
            "entered": len(entries),
            "webhooks": dict(Counter(str(entry.state) for entry in entries)),
            "finished": sum(entry.finished for entry in entries),
            "sent": sum(send.entry.flow_id == flow.id for send in ledger.sends),
        }

    async def outcomes(self, request: web.Request) -> Any:
        """The number above all. `flow_id` narrows; `rows=1` adds a row per email."""
        account = self._account(request)
        table = list(
            rows(
                self._world.ledgers[account.id],
                self._world.decisions,
                account.first_written_at,
                request.query.get("flow_id"),
            )
        )
        answer = summary(table)
        return answer | {"rows": table} if request.query.get("rows") else answer

    async def events(self, request: web.Request) -> Any:
        """How many events are visible by now, and how many are still to come, by metric."""
        store = self._account(request).events
        counts = store.counts(self._world.clock.now())
        return {"visible": counts, "to_come": len(store.events) - sum(counts.values()), "exported": len(store.exported)}

    async def export(self, request: web.Request) -> Any:
        """Drop the next file of events."""
        wanted, account = bodies.ExportBody.model_validate_json(await request.read()), self._account(request)
        folder = self._folder(wanted.folder)
        now = self._world.clock.now()
        events = due_events(account.events, now, account.behaviour.duplicate, self._world.ids)
        file = export_file(account.id, events, now, wanted.layout, wanted.format, compress=wanted.gzip)
        path = await asyncio.to_thread(write_file, folder, file, half=wanted.half)
        if wanted.half:
            self._halves[str(path)] = file.content
        return {"path": str(path), "rows": file.rows, "events": file.events, "bytes": len(file.content)}

    async def finish_export(self, request: web.Request) -> Any:
        wanted = bodies.FinishBody.model_validate_json(await request.read())
        if (content := self._halves.pop(wanted.path, None)) is None:
            raise ValueError(f"path: no half-written file {wanted.path}")
        await asyncio.to_thread(finish_file, Path(wanted.path), content)
        return {"path": wanted.path, "bytes": len(content)}

    async def deliver(self, request: web.Request) -> Any:
        """Send what is due to a system webhook's address. A batch that is not answered 2xx comes again next time."""
        wanted, account = bodies.DeliverBody.model_validate_json(await request.read()), self._account(request)
        store, statuses = account.events, []
        waiting = due(store.events, store.delivered, self._world.clock.now())
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            for at in range(0, len(waiting), wanted.batch):
                events, now = waiting[at : at + wanted.batch], self._world.clock.now()
                made = signed_batch(account.id, events, wanted.secret, wanted.webhook_id, now, wanted.stamp)
                async with session.post(wanted.url, data=io.BytesIO(made.body), headers=dict(made.headers)) as answer:
                    statuses.append(answer.status)
                    if answer.status < 300:
                        store.delivered.update(event.id for event in events)
        return {"statuses": statuses, "events": len(waiting)}

    def _folder(self, wanted: str) -> Path:
        root = self._world.export_root
        if root is None:
            return Path(wanted)
        folder = (root / wanted).resolve()
        if not folder.is_relative_to(root.resolve()):
            raise ValueError(f"folder: {wanted} is outside the export root")
        return folder

    async def render(self, request: web.Request) -> Any:
        wanted, account = bodies.RenderBody.model_validate_json(await request.read()), self._account(request)
        person = self._person(account, wanted.profile_id)
        text = EmailText(wanted.subject, wanted.preview_text, wanted.html)
        if wanted.message_id is not None:
            found = account.find_message(wanted.message_id)
            if found is None:
                raise ValueError(f"no message {wanted.message_id}")
            text = found[1].email
        try:
            shown = render_email(text, person.id, person.as_of(wanted.at or self._world.clock.now()))
        except BrokenTemplate as error:
            return {"broken": str(error)}
        return {"subject": shown.subject, "preview_text": shown.preview_text, "html": shown.html}
