"""Which function answers which operation, and what an address that is none gets."""

import re
from collections.abc import Mapping

from aiohttp import web

from simulator.api import bulk_calls, flow_calls, profile_calls, reading_calls, report_calls
from simulator.api.gate import Gate, Handler
from simulator.api.jsonapi import ApiError
from simulator.api.operations import OPERATIONS

HANDLERS: Mapping[str, Handler] = {
    "get_accounts": reading_calls.get_accounts,
    "get_profile": profile_calls.get_profile,
    "update_profile": profile_calls.update_profile,
    "create_or_update_profile": profile_calls.create_or_update_profile,
    "bulk_import_profiles": bulk_calls.bulk_import_profiles,
    "get_bulk_import_profiles_jobs": bulk_calls.get_bulk_import_profiles_jobs,
    "get_bulk_import_profiles_job": bulk_calls.get_bulk_import_profiles_job,
    "get_errors_for_bulk_import_profiles_job": bulk_calls.get_errors_for_bulk_import_profiles_job,
    "get_flows": flow_calls.get_flows,
    "get_flow": flow_calls.get_flow,
    "get_actions_for_flow": flow_calls.get_actions_for_flow,
    "get_flow_action": flow_calls.get_flow_action,
    "get_flow_action_messages": flow_calls.get_flow_action_messages,
    "get_flow_message": flow_calls.get_flow_message,
    "get_template_for_flow_message": flow_calls.get_template_for_flow_message,
    "get_campaigns": reading_calls.get_campaigns,
    "get_metrics": reading_calls.get_metrics,
    "query_flow_values": report_calls.query_flow_values,
    "query_metric_aggregates": report_calls.query_metric_aggregates,
    "get_events": reading_calls.get_events,
}


def add_routes(app: web.Application, gate: Gate) -> None:
    paths = []
    for operation in OPERATIONS:
        respond = gate.endpoint(operation, HANDLERS[operation.id])
        for path in (operation.path, f"{operation.path}/"):
            app.router.add_route(operation.method, path, respond)
        paths.append(re.compile(re.sub(r"\{\w+\}", "[^/]+", operation.path) + "/?"))

    async def nothing_here(request: web.Request) -> web.Response:
        if any(path.fullmatch(request.path) for path in paths):
            error = ApiError(405, "method_not_allowed", "Method not allowed.", f"{request.method} is not allowed here.")
        else:
            error = ApiError(404, "not_found", "Not found.", f"{request.path} does not exist.", {"pointer": "/data/"})
        return gate.refusal(error, None)

    app.router.add_route("*", "/api/{rest:.*}", nothing_here)
