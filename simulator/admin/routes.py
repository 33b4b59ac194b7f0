"""`/_sim`: plain JSON in and out, for demos, tests and benchmarks. Meant for the machine it runs on."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from shared.clock import FrozenClock
from simulator.account import Account
from simulator.admin import bodies, people_routes
from simulator.admin.build import build_flow, change_action, described
from simulator.api.operations import ALL_SCOPES, BY_ID, PAGE_SCOPES
from simulator.faults import Fault
from simulator.flow.definitions import Flow
from simulator.flow.runner import FlowRunner
from simulator.settings import SimulatorSettings
from simulator.world import World

Model = TypeVar("Model", bound=BaseModel)
Route = Callable[[web.Request], Awaitable[Any]]


class Missing(LookupError):
    """A path names something that is not there."""


async def read(request: web.Request, model: type[Model]) -> Model:
    """The request's body as a model. Raises pydantic's ValidationError."""
    return model.model_validate_json(await request.read() or b"{}")


def json_answer(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def answering(route: Route) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def respond(request: web.Request) -> web.Response:
        try:
            return json_answer(await route(request))
        except ValidationError as error:
            faults = [{"at": ".".join(map(str, it["loc"])), "problem": it["msg"]} for it in error.errors()]
            return json_answer({"error": faults}, 400)
        except Missing as error:
            return json_answer({"error": str(error)}, 404)
        except ValueError as error:
            return json_answer({"error": str(error)}, 400)

    return respond


def account_of(world: World, request: web.Request) -> Account:
    account_id = request.match_info["account"]
    if (account := world.accounts.get(account_id)) is None:
        raise Missing(f"no account {account_id}")
    return account


def flow_of(account: Account, request: web.Request) -> Flow:
    flow_id = request.match_info["flow"]
    if (flow := account.flows.get(flow_id)) is None:
        raise Missing(f"no flow {flow_id}")
    return flow


def add_admin_routes(app: web.Application, world: World, runner: FlowRunner) -> None:
    buttons = Buttons(world)
    people = people_routes.People(world, runner, account_of, flow_of)
    account, flow = "/_sim/accounts/{account}", "/_sim/accounts/{account}/flows/{flow}"
    for method, path, route in (
        ("GET", "/_sim/health", buttons.health),
        ("GET", "/_sim/settings", buttons.settings),
        ("PUT", "/_sim/settings", buttons.change_settings),
        ("POST", "/_sim/clock/advance", buttons.advance),
        ("GET", "/_sim/requests", buttons.requests),
        ("GET", "/_sim/faults", buttons.faults),
        ("POST", "/_sim/faults", buttons.add_fault),
        ("DELETE", "/_sim/faults", buttons.clear_faults),
        ("POST", "/_sim/decisions", buttons.decisions),
        ("POST", "/_sim/accounts", buttons.add_account),
        ("POST", f"{account}/keys", buttons.add_key),
        ("DELETE", f"{account}/keys/{{key}}", buttons.revoke_key),
        ("POST", f"{account}/foreign-traffic", buttons.foreign_traffic),
        ("GET", f"{account}/windows", buttons.windows),
        ("POST", f"{account}/flows", buttons.add_flow),
        ("PATCH", flow, buttons.change_flow),
        ("PATCH", f"{flow}/actions/{{action}}", buttons.change_action),
        ("POST", f"{account}/campaigns", buttons.add_campaign),
        ("POST", f"{account}/profiles", people.add_profiles),
        ("GET", f"{account}/profiles/{{profile}}", people.profile),
        ("POST", f"{account}/profiles/{{profile}}/merge", people.merge),
        ("PUT", f"{account}/behaviour", people.behaviour),
        ("POST", f"{flow}/trigger", people.trigger),
        ("GET", f"{flow}/progress", people.progress),
        ("GET", f"{account}/outcomes", people.outcomes),
        ("GET", f"{account}/events", people.events),
        ("POST", f"{account}/export", people.export),
        ("POST", f"{account}/export/finish", people.finish_export),
        ("POST", f"{account}/deliver", people.deliver),
        ("POST", f"{account}/render", people.render),
    ):
        app.router.add_route(method, path, answering(route))


class Buttons:
    """Everything about the box itself; what concerns people is in `people_routes`."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def health(self, request: web.Request) -> Any:
        world = self._world
        return {"now": world.clock.now(), "started_at": world.started_at, "accounts": list(world.accounts)}

    async def settings(self, request: web.Request) -> Any:
        return self._world.settings.model_dump()

    async def change_settings(self, request: web.Request) -> Any:
        """Replaces the members given; the others stay."""
        changed = self._world.settings.model_dump() | orjson.loads(await request.read())
        self._world.settings = SimulatorSettings.model_validate(changed)
        return self._world.settings.model_dump()

    async def advance(self, request: web.Request) -> Any:
        wanted, clock = await read(request, bodies.AdvanceBody), self._world.clock
        if not isinstance(clock, FrozenClock):
            raise ValueError("only a frozen clock can be advanced")
        clock.advance(wanted.seconds)
        return {"now": clock.now()}

    async def requests(self, request: web.Request) -> Any:
        """`since` is the number of the last request already read, `operation` narrows, `limit` is 1000 by default."""
        query = request.query
        shown = self._world.log.since(int(query.get("since", 0)), query.get("operation"), int(query.get("limit", 1000)))
        return {"total": self._world.log.total, "requests": [entry.as_json() for entry in shown]}

    async def faults(self, request: web.Request) -> Any:
        return [fault.model_dump() for fault in self._world.faults]

    async def add_fault(self, request: web.Request) -> Any:
        fault = await read(request, Fault)
        if fault.operation is not None and fault.operation not in BY_ID:
            raise ValueError(f"no operation {fault.operation}")
        fault.id = len(self._world.faults) + 1
        self._world.faults.append(fault)
        return fault.model_dump()

    async def clear_faults(self, request: web.Request) -> Any:
        self._world.faults.clear()
        return []

    async def decisions(self, request: web.Request) -> Any:
        """What the service had planned for each generation; the judge takes treatment where it is told nothing."""
        wanted = await read(request, bodies.DecisionsBody)
        self._world.decisions.update(wanted.decisions)
        return {"known": len(self._world.decisions)}

    async def add_account(self, request: web.Request) -> Any:
        wanted = await read(request, bodies.AccountBody)
        account = self._world.add_account(wanted.name, wanted.id, wanted.phase_s)
        return {"id": account.id, "metrics": {metric.name: metric.id for metric in account.metrics.values()}}

    async def add_key(self, request: web.Request) -> Any:
        wanted = await read(request, bodies.KeyBody)
        scopes = {"page": PAGE_SCOPES, "all": ALL_SCOPES}.get(str(wanted.scopes), frozenset(wanted.scopes))
        key = self._world.add_key(account_of(self._world, request), scopes, wanted.value)
        return {"key": key.value, "scopes": sorted(key.scopes)}

    async def revoke_key(self, request: web.Request) -> Any:
        key = account_of(self._world, request).keys.get(request.match_info["key"])
        if key is None:
            raise Missing("no such key")
        key.revoked = True
        return {"revoked": True}

    async def foreign_traffic(self, request: web.Request) -> Any:
        wanted, account = await read(request, bodies.ForeignTrafficBody), account_of(self._world, request)
        if wanted.operation not in BY_ID:
            raise ValueError(f"no operation {wanted.operation}")
        self._world.add_foreign(account, wanted.operation, wanted.per_s, wanted.pattern, wanted.burst)
        return {
            name: {"per_s": other.per_s, "pattern": other.pattern, "calls": other.calls, "refused": other.refused}
            for name, other in account.foreign.items()
        }

    async def windows(self, request: web.Request) -> Any:
        """The fullest window ever admitted, by operation and length in seconds, beside its limit."""
        account = account_of(self._world, request)
        return {
            name: [
                {"length_s": window.length_s, "limit": window.limit, "admitted_max": window.history_max}
                for window in windows.windows
            ]
            for name, windows in account.windows.items()
        }

    async def add_flow(self, request: web.Request) -> Any:
        wanted = await read(request, bodies.FlowBody)
        return described(build_flow(self._world, account_of(self._world, request), wanted))

    async def change_flow(self, request: web.Request) -> Any:
        flow = flow_of(account_of(self._world, request), request)
        wanted = await read(request, bodies.FlowPatch)
        flow.name = wanted.name if wanted.name is not None else flow.name
        flow.status = wanted.status if wanted.status is not None else flow.status
        flow.archived = wanted.archived if wanted.archived is not None else flow.archived
        flow.updated_at = self._world.clock.now()
        return described(flow)

    async def change_action(self, request: web.Request) -> Any:
        flow = flow_of(account_of(self._world, request), request)
        if (action := flow.action(request.match_info["action"])) is None:
            raise Missing(f"no action {request.match_info['action']}")
        change_action(self._world, action, await read(request, bodies.ActionPatch))
        return action.definition()

    async def add_campaign(self, request: web.Request) -> Any:
        wanted = await read(request, bodies.CampaignBody)
        campaign = self._world.add_campaign(account_of(self._world, request), wanted.name, wanted.status)
        return {"id": campaign.id, "message_id": campaign.message_id}
