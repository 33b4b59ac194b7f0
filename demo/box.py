"""The Klaviyo account in a box, driven over its admin routes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp

from shared.snippet import Snippet

WEBHOOK_BODY = """{{ "template_id": "{template_id}",
  "user_id": "{{{{ person.KlaviyoID }}}}",
  "tracking_id": "{{{{ person.KlaviyoID }}}}.<flow_id>.<treatment_action_id>",
  "attrs": {{ {attrs} }},
  "fields": {{ "first_name": "{{{{ person.first_name }}}}" }} }}"""

PLAN = {"plan": "plan_type"}


@dataclass(frozen=True, slots=True)
class FlowIds:
    """What the box called a flow and its email step."""

    flow_id: str
    treatment_action_id: str
    webhook_action_id: str
    delay_action_id: str


class Box:
    """One account of the simulator."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http, self._url = http, url
        self._account = ""
        self.account_id = ""

    async def open_account(self, name: str, scopes: str = "page") -> str:
        """A fresh account and its private key, with the scopes of the integration page, or with `all`."""
        account = await self._ask("POST", "/_sim/accounts", {"name": name})
        self.account_id = str(account["id"])
        self._account = f"/_sim/accounts/{self.account_id}"
        key = await self._ask("POST", f"{self._account}/keys", {"scopes": scopes})
        return str(key["key"])

    async def add_people(self, people: Sequence[Mapping[str, Any]]) -> list[str]:
        """Profiles; their Klaviyo ids."""
        answer = await self._ask("POST", f"{self._account}/profiles", {"profiles": list(people)})
        return [str(profile_id) for profile_id in answer["ids"]]

    async def behave(self, **rates: Any) -> None:
        """How people open and click."""
        await self._ask("PUT", f"{self._account}/behaviour", rates)

    async def add_flow(
        self, name: str, template_id: str, gateway_url: str, org: str, api_key: str, *, delay_min: int = 2,
        attrs: Mapping[str, str] = PLAN,
    ) -> FlowIds:  # fmt: skip
        """Trigger → webhook → two minutes → email, exactly as the integration page says. `attrs`: names, and the
        profile properties that the webhook takes them from."""
        looked_up = [f'''"{name}": "{{{{ person|lookup:'{source}' }}}}"''' for name, source in attrs.items()]
        webhook = {
            "type": "send-webhook",
            "url": f"{gateway_url}/api/generate/{org}",
            "headers": {"Content-Type": "application/json", "X-Api-Key": api_key},
            "body": WEBHOOK_BODY.format(template_id=template_id, attrs=", ".join(looked_up)),
        }
        email = {"type": "send-email", "name": f"{name} email", "subject": "-", "html": "-"}
        actions = [webhook, {"type": "time-delay", "unit": "minutes", "value": delay_min}, email]
        flow = await self._ask("POST", f"{self._account}/flows", {"name": name, "actions": actions})
        webhook_id, delay_id, email_id = (str(action["id"]) for action in flow["actions"])
        return FlowIds(str(flow["id"]), email_id, webhook_id, delay_id)

    async def paste(self, ids: FlowIds, snippet: Snippet) -> None:
        """Put the handed-out snippet into the email step."""
        text = {"subject": snippet.subject, "preview_text": snippet.preheader, "html": _email(snippet.body)}
        await self._ask("PATCH", f"{self._account}/flows/{ids.flow_id}/actions/{ids.treatment_action_id}", text)

    async def trigger(self, ids: FlowIds, people: Sequence[str], spread_s: float) -> int:
        """Let people enter the flow, over some virtual seconds; how many were let in."""
        body = {"profile_ids": list(people), "spread_s": spread_s}
        answer = await self._ask("POST", f"{self._account}/flows/{ids.flow_id}/trigger", body)
        return len(answer["entered"]) if isinstance(answer["entered"], list) else int(answer["entered"])

    async def progress(self, ids: FlowIds) -> dict[str, Any]:
        """Where a flow's people are."""
        return await self._ask("GET", f"{self._account}/flows/{ids.flow_id}/progress")

    async def tell_decisions(self, decisions: Mapping[str, str]) -> None:
        """Which generations were control by plan; the judge cannot know."""
        await self._ask("POST", "/_sim/decisions", {"decisions": dict(decisions)})

    async def outcomes(self, *, rows: bool = False, flow_id: str | None = None) -> dict[str, Any]:
        """What every email showed, with the handed-out snippet and with the page's literal one; `rows`: each email;
        `flow_id`: of this flow alone."""
        asked = {"rows": "1"} if rows else {}
        asked |= {"flow_id": flow_id} if flow_id else {}
        return await self._ask("GET", f"{self._account}/outcomes?{urlencode(asked)}")

    async def export(self, folder: str, **how: Any) -> dict[str, Any]:
        """Drop the next file of events."""
        return await self._ask("POST", f"{self._account}/export", {"folder": folder, **how})

    async def set_plan(self, private_key: str, profile_id: str, plan: str) -> None:
        """The shop's own system changes a person's plan, through Klaviyo's public API."""
        await self.change(private_key, profile_id, {"properties": {"plan_type": plan}})

    async def change(self, private_key: str, profile_id: str, attributes: Mapping[str, Any]) -> None:
        """The shop's own system changes something of a person, through Klaviyo's public API."""
        body = {"data": {"type": "profile", "id": profile_id, "attributes": attributes}}
        headers = {
            "Authorization": f"Klaviyo-API-Key {private_key}",
            "revision": "2026-07-15",
            "Content-Type": "application/vnd.api+json",
            "Accept": "application/vnd.api+json",
        }
        url = f"{self._url}/api/profiles/{profile_id}"
        async with self._http.patch(url, data=json.dumps(body), headers=headers) as response:
            if response.status != 200:
                raise RuntimeError(f"{profile_id} was not changed: {await response.text()}")

    async def change_step(self, ids: FlowIds, action_id: str, **changes: Any) -> None:
        """The marketer edits one step of a flow."""
        await self._ask("PATCH", f"{self._account}/flows/{ids.flow_id}/actions/{action_id}", changes)

    async def break_down(self, **fault: Any) -> None:
        """One more rule of what goes wrong, as `simulator.faults` describes them; until `mend`."""
        await self._ask("POST", "/_sim/faults", fault)

    async def mend(self) -> None:
        """Nothing goes wrong any more."""
        await self._ask("DELETE", "/_sim/faults")

    async def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body)
        async with self._http.request(method, self._url + path, data=data) as response:
            answer = await response.json()
            if response.status >= 400:
                raise RuntimeError(f"the simulator refused {method} {path}: {answer}")
            return dict(answer)


def _email(content: str) -> str:
    """The customer's own frame around our content: header and the unsubscribe link stay in Klaviyo's template."""
    return f"""<html><body>
<p>Corner Coffee</p>
{content}
<footer><p>Corner Coffee, 1 Corner Street. {{% unsubscribe %}}</p></footer>
</body></html>"""
