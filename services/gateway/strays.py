"""Webhooks that come from one flow and name another: whoever clones a flow clones its JSON body too, and the copy is
then written, timed and counted for the original's email."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from services.gateway.reader import Webhook
from services.gateway.tally import Count, Tally
from shared.snippet import IDENTIFIER, written_for

_ID: Final = re.compile(IDENTIFIER)


class Stray(NamedTuple):
    """What is counted together. `flow_id`: whose webhook it is, as Klaviyo's header says; `named_flow_id`: the one in
    its tracking id."""

    org_id: UUID
    flow_id: str
    named_flow_id: str
    template_id: str


class StrayStore(Protocol):
    """Where counts are added up."""

    async def count_strays(self, strays: Mapping[Stray, Count]) -> None:
        """Add them to the orgs' own. Raises Outage or Transient."""


class Strays(Tally[Stray]):
    """By org, both flows and template."""

    def __init__(self, store: StrayStore) -> None:
        super().__init__("strays", store.count_strays)

    def note(self, org_id: UUID, flow_id: str, webhook: Webhook, now: datetime) -> None:
        """One more, if it is one: a tracking id that names no flow at all is another fault."""
        _, _, place = written_for(webhook.template_id, webhook.user_id, webhook.tracking_id).partition(".")
        named_flow_id = place.partition(".")[0]
        if named_flow_id and named_flow_id != flow_id and _ID.fullmatch(flow_id):
            self.count(Stray(org_id, flow_id, named_flow_id, webhook.template_id), now)
