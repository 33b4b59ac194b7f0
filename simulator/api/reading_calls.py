"""Reading accounts, metrics, campaigns and events."""

from typing import Any

from simulator.account import Campaign, Metric
from simulator.api import resources
from simulator.api.call import Answer, Call, page
from simulator.api.jsonapi import Json, invalid
from simulator.people.events import Event


def get_accounts(call: Call) -> Answer:
    paths = call.fields("account", resources.ACCOUNT_FIELDS)
    links = {"self": f"{call.base}{call.path}"}
    return Answer(200, {"data": [resources.account(call.base, call.account, paths)], "links": links})


def get_metrics(call: Call) -> Answer:
    paths = call.fields("metric", resources.METRIC_FIELDS)
    call.includes()
    shown, links = page(call, call.account.metrics.values(), _metric_value)
    return Answer(200, {"data": [resources.metric(call.base, metric, paths) for metric in shown], "links": links})


def get_campaigns(call: Call) -> Answer:
    """In the shape of 2026-07-15; the next revision moved nearly everything, and its document is not public yet."""
    if "messages.channel" not in call.query.get("filter", ""):
        detail = "A channel filter is required to list campaigns: equals(messages.channel,'email')."
        raise invalid(detail, parameter="filter")
    wanted = call.includes()
    paths = call.fields("campaign", resources.CAMPAIGN_FIELDS)
    of_messages = call.fields("campaign-message", resources.CAMPAIGN_MESSAGE_FIELDS)
    shown, links = page(call, call.account.campaigns.values(), _campaign_value, "-created_at")
    body: Json = {"data": [resources.campaign(call.base, it, paths) for it in shown], "links": links}
    if "campaign-messages" in wanted:
        body["included"] = [resources.campaign_message(call.base, it, of_messages) for it in shown]
    return Answer(200, body)


def get_events(call: Call) -> Answer:
    paths = call.fields("event", resources.EVENT_FIELDS)
    again = call.world.settings.event_page_again
    shown, links = page(call, call.account.events.visible(call.now), _event_value, "-datetime", again)
    body: Json = {"data": [resources.event(call.base, event, paths) for event in shown], "links": links}
    if wanted := call.includes():
        body["included"] = _event_neighbours(call, shown, wanted)
    return Answer(200, body)


def _event_neighbours(call: Call, events: list[Event], wanted: tuple[str, ...]) -> list[Json]:
    found: list[Json] = []
    if "metric" in wanted:
        paths = call.fields("metric", resources.METRIC_FIELDS)
        ids = dict.fromkeys(event.metric_id for event in events)
        found += [resources.metric(call.base, call.account.metrics[metric_id], paths) for metric_id in ids]
    if "profile" in wanted:
        paths = call.fields("profile", resources.PROFILE_FIELDS)
        people = (call.account.profiles.get(profile_id) for profile_id in dict.fromkeys(it.profile_id for it in events))
        found += [resources.profile(call.base, person, paths) for person in people if person is not None]
    return found


def _metric_value(metric: Metric, name: str) -> Any:
    return {"integration.name": metric.integration, "integration.category": metric.category}.get(name, metric.id)


def _campaign_value(campaign: Campaign, name: str) -> Any:
    times = {"created_at": campaign.created_at, "scheduled_at": campaign.sent_at, "updated_at": campaign.sent_at}
    if name in times:
        return times[name] or campaign.created_at
    return {"messages.channel": campaign.channel, "archived": False}.get(name, getattr(campaign, name, None))


def _event_value(event: Event, name: str) -> Any:
    if name == "datetime":
        return event.at
    return {"metric": event.metric_id, "profile": event.profile_id}.get(name, getattr(event, name, None))
