"""What people do with an email: a pure draw of the events it leaves, from rates and one seeded generator."""

import random
import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

from simulator.ids import Ids
from simulator.people import events as shapes
from simulator.people.events import Event, Sent

LINK = re.compile(r"""href=["'](https?://[^"'\s]+)["']""", re.IGNORECASE)
DEFAULT_LINK = "https://shop.example/"


class Reaction(BaseModel):
    """People who got an email that `contains` this text (subject or body), and whose properties equal `where`, open,
    click and order at these rates instead of the general ones. This is how variants come to differ."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    contains: str = ""
    where: dict[str, str] = Field(default_factory=dict)
    open: float | None = Field(None, ge=0, le=1)
    click: float | None = Field(None, ge=0, le=1)
    order: float | None = Field(None, ge=0, le=1)

    def fits(self, texts: Iterable[str], properties: dict[str, object]) -> bool:
        told = not self.contains or any(self.contains in text for text in texts)
        return told and all(str(properties.get(name, "")) == value for name, value in self.where.items())


class Behaviour(BaseModel):
    """Rates per email sent, or per the event before where that is said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bounce: float = Field(0.01, ge=0, le=1)
    open: float = Field(0.35, ge=0, le=1)
    machine_open: float = Field(0.3, ge=0, le=1, description="Apple privacy opens; a human one may follow.")
    click: float = Field(0.2, ge=0, le=1, description="Human clicks, of human opens.")
    bot_click: float = Field(0.02, ge=0, le=1)
    unsubscribe: float = Field(0.05, ge=0, le=1, description="Of human opens.")
    spam: float = Field(0.002, ge=0, le=1, description="Of human opens.")
    order: float = Field(0.0, ge=0, le=1, description="Of human clicks.")
    reactions: tuple[Reaction, ...] = ()
    open_after_s: float = Field(600.0, gt=0, description="Mean virtual seconds from send to a human open.")
    late: float = Field(0.02, ge=0, le=1, description="Events that Klaviyo shows and exports late.")
    late_by_s: float = Field(7_200.0, ge=0)
    duplicate: float = Field(0.02, ge=0, le=1, description="Events exported twice, in the same file or a later one.")
    campaign_noise: float = Field(0.1, ge=0, le=1, description="Campaign emails received beside each flow email.")

    def rates(self, texts: Iterable[str], properties: dict[str, object]) -> tuple[float, float, float]:
        """Open, click and order rate of this email for this person; the first reaction that fits decides."""
        shown = tuple(texts)
        it = next((reaction for reaction in self.reactions if reaction.fits(shown, properties)), Reaction())
        return (
            self.open if it.open is None else it.open,
            self.click if it.click is None else it.click,
            self.order if it.order is None else it.order,
        )


class EventMaker:
    """Turns drawn reactions into events of one account; `metric_ids` maps metric names to this account's ids."""

    def __init__(self, ids: Ids, behaviour: Behaviour, metric_ids: dict[str, str]) -> None:
        self._ids, self._behaviour, self._metric_ids = ids, behaviour, metric_ids
        self._random: random.Random = ids.random

    def after(self, sent: Sent, html: str, properties: dict[str, object]) -> list[Event]:
        """All events that one email will ever cause, each with its own moment."""
        rates, chance = self._behaviour, self._chance
        handed_off = sent.at + timedelta(seconds=self._random.uniform(1, 5))
        if chance(rates.bounce):
            hard = chance(0.5)
            number = self._random.getrandbits(96)
            return [self._event(shapes.BOUNCED, sent, handed_off, shapes.bounced(sent, handed_off, number, hard=hard))]

        made = [self._event(shapes.RECEIVED, sent, handed_off, shapes.received(sent))]
        open_rate, click_rate, order_rate = rates.rates((sent.subject, html), properties)
        if chance(rates.machine_open):
            at = handed_off + timedelta(seconds=self._random.uniform(2, 60))
            made.append(self._event(shapes.OPENED, sent, at, shapes.opened(sent, at, machine=True)))
        if chance(rates.bot_click):
            at = handed_off + timedelta(seconds=self._random.uniform(1, 20))
            made.append(self._event(shapes.CLICKED, sent, at, shapes.clicked(sent, at, self._link(html), bot=True)))
        if chance(open_rate):
            made += self._human(sent, html, click_rate, order_rate)
        if chance(rates.campaign_noise):
            made.append(self._campaign_noise(sent))
        return made

    def _human(self, sent: Sent, html: str, click_rate: float, order_rate: float) -> list[Event]:
        chance, wait = self._chance, self._random.expovariate
        at = sent.at + timedelta(seconds=6 + wait(1 / self._behaviour.open_after_s))
        made = [self._event(shapes.OPENED, sent, at, shapes.opened(sent, at, machine=False))]
        if chance(click_rate):
            at += timedelta(seconds=2 + wait(1 / 30))
            made.append(self._event(shapes.CLICKED, sent, at, shapes.clicked(sent, at, self._link(html), bot=False)))
            if chance(order_rate):
                at += timedelta(seconds=60 + wait(1 / 600))
                order = shapes.ordered(self._ids.number(), round(self._random.uniform(10, 200), 2))
                made.append(self._event(shapes.ORDERED, sent, at, order))
        if chance(self._behaviour.unsubscribe):
            at += timedelta(seconds=5)
            made.append(self._event(shapes.UNSUBSCRIBED, sent, at, shapes.unsubscribed(sent, at)))
        if chance(self._behaviour.spam):
            made.append(self._event(shapes.SPAM, sent, at, shapes.unsubscribed(sent, at)))
        return made

    def _campaign_noise(self, sent: Sent) -> Event:
        """A newsletter to the same person: a ULID message without `$flow`, to be attributed to no flow."""
        at = sent.at + timedelta(seconds=self._random.uniform(60, 3600))
        newsletter = Sent(
            transmission_id=self._ids.ulid(at),
            message_id=self._ids.ulid(at),
            message_name="Daily Newsletter",
            flow_id=None,
            profile_id=sent.profile_id,
            email=sent.email,
            subject="Daily Newsletter",
            at=at,
        )
        return self._event(shapes.RECEIVED, newsletter, at, shapes.received(newsletter))

    def _event(self, metric: str, sent: Sent, at: datetime, properties: dict[str, object]) -> Event:
        late_s = self._behaviour.late_by_s if self._chance(self._behaviour.late) else 0.0
        moment = at.replace(microsecond=0)
        return Event(
            id=self._ids.event(),
            uuid=self._ids.uuid_at(moment),
            at=moment,
            metric_id=self._metric_ids[metric],
            metric_name=metric,
            profile_id=sent.profile_id,
            properties=properties,
            visible_at=at + timedelta(seconds=late_s),
        )

    def _chance(self, rate: float) -> bool:
        return self._random.random() < rate

    def _link(self, html: str) -> str:
        links = LINK.findall(html)
        return str(self._random.choice(links)) if links else DEFAULT_LINK
