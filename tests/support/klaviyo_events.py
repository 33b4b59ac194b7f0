"""Emails and what people did with them, put straight into an account in a box."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count

from simulator.account import Account
from simulator.ids import Ids
from simulator.people import events as shapes
from simulator.people.events import Event, Sent

_numbers = count(1)
_ids = Ids(7)


@dataclass(frozen=True)
class Mail:
    """One email of a flow, or of a campaign where it has none, whose events go into `account`."""

    account: Account
    at: datetime
    profile_id: str = "01PERSON"
    message_id: str = "MSG1"
    flow_id: str | None = "FLOW1"

    @property
    def sent(self) -> Sent:
        transmission = f"TR{self.message_id}{self.profile_id}{int(self.at.timestamp())}"
        return Sent(
            transmission, self.message_id, "Welcome 1", self.flow_id, self.profile_id, "a@x.example", "Hi", self.at
        )  # fmt: skip

    def received(self, *, late_s: float = 0) -> Event:
        return self._add(shapes.RECEIVED, self.at, shapes.received(self.sent), late_s)

    def opened(self, after_s: float = 300, *, machine: bool = False, late_s: float = 0) -> Event:
        at = self.at + timedelta(seconds=after_s)
        return self._add(shapes.OPENED, at, shapes.opened(self.sent, at, machine=machine), late_s)

    def clicked(self, after_s: float = 320, *, bot: bool = False, late_s: float = 0) -> Event:
        at = self.at + timedelta(seconds=after_s)
        properties = shapes.clicked(self.sent, at, "https://shop.example/a", bot=bot)
        return self._add(shapes.CLICKED, at, properties, late_s)

    def bounced(self, after_s: float = 3) -> Event:
        at = self.at + timedelta(seconds=after_s)
        return self._add(shapes.BOUNCED, at, shapes.bounced(self.sent, at, next(_numbers), hard=True), 0)

    def unsubscribed(self, after_s: float = 400) -> Event:
        at = self.at + timedelta(seconds=after_s)
        return self._add(shapes.UNSUBSCRIBED, at, shapes.unsubscribed(self.sent, at), 0)

    def ordered(self, value: float = 20.0, after_s: float = 900) -> Event:
        at = self.at + timedelta(seconds=after_s)
        return self._add(shapes.ORDERED, at, shapes.ordered(f"O{next(_numbers)}", value), 0)

    def _add(self, metric: str, at: datetime, properties: dict[str, object], late_s: float) -> Event:
        moment = at.replace(microsecond=0)
        event = Event(
            id=_ids.event(), uuid=_ids.uuid_at(moment), at=moment, metric_id=self.account.metric_named(metric).id,
            metric_name=metric, profile_id=self.profile_id, properties=properties,
            visible_at=at + timedelta(seconds=late_s),
        )  # fmt: skip
        self.account.events.add(event)
        return event
