"""Sending one email: render it from the profile as it was at the due moment, look at it, remember what was seen."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from simulator.account import Account
from simulator.flow.definitions import EmailText, FlowMessage, literal_snippet
from simulator.flow.judge import Sight, look, own_values
from simulator.flow.ledger import Entry, Ledger, Seen, Send
from simulator.flow.templating import BrokenTemplate, Rendered, render_email
from simulator.profile import Copy, Profile, ProfileState, without_copies

MARKER_PARTS = re.compile(r"[^A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class Moment:
    """What a person's profile was at the due moment, and every copy that had arrived for it by then."""

    profile_id: str
    state: ProfileState
    plain: ProfileState
    copies: tuple[Copy, ...]


def moment_of(person: Profile, at: datetime, prefix: str) -> Moment:
    copies = tuple(copy for copy in person.copies if copy.written_at <= at)
    state = person.as_of(at)
    prefixes = frozenset({prefix, *(copy.prefix for copy in copies)})
    return Moment(person.id, state, without_copies(state, prefixes), copies)


def see(text: EmailText, moment: Moment, prefix: str) -> tuple[Rendered | None, Seen]:
    """Render one email for one moment and look at it; the rendering is None when it failed."""
    marker = moment.state.properties.get(f"{prefix}_generation")
    named = marker if isinstance(marker, str) else None
    try:
        shown = render_email(text, moment.profile_id, moment.state)
    except BrokenTemplate as error:
        return None, Seen(Sight(broken=f"render failed: {error}"), named)
    try:
        control = render_email(text, moment.profile_id, moment.plain)
    except BrokenTemplate:
        control = None
    values = own_values(moment.plain.fields, moment.plain.properties)
    return shown, Seen(look(shown, control, moment.copies, values), named)


@dataclass(frozen=True, slots=True)
class Posted:
    """A send, and the rendering that people then react to."""

    send: Send
    shown: Rendered | None
    state: ProfileState


def send_email(
    account: Account, ledger: Ledger, entry: Entry, message: FlowMessage, due: datetime, transmission_id: str,
    visibility_delay_s: float,
) -> Posted | None:  # fmt: skip
    """One flow email as of `due`, for the caller to record. None when the profile is gone by then: nobody gets it."""
    person = account.profiles.get(entry.profile_id)
    if person is None:
        return None
    moment = moment_of(person, due - timedelta(seconds=visibility_delay_s), message.prefix)
    shown, real = see(message.email, moment, message.prefix)
    _, literal = see(literal_snippet(message.prefix), moment, message.prefix)

    newest = ledger.newest(message.id, person.id, entry.entered_at, due)
    own = ledger.of_message(message.id, person.id)
    newest, unasked = _unasked(moment, ledger, message, entry, newest)
    send = Send(
        transmission_id=transmission_id,
        entry=entry,
        message_id=message.id,
        sent_at=due,
        subject=shown.subject if shown else "",
        newest=newest,
        older=(own | unasked) - ({newest} if newest else set()),
        real=real,
        literal=literal,
    )
    return Posted(send, shown, moment.state)


def names_message(marker: str, message: FlowMessage) -> bool:
    """Whether a `<prefix>_for` marker names this message: its id or its action's, alone or as a part of the marker."""
    return not {message.id, message.action_id}.isdisjoint(MARKER_PARTS.split(marker))


def _unasked(
    moment: Moment, ledger: Ledger, message: FlowMessage, entry: Entry, newest: str | None
) -> tuple[str | None, frozenset[str]]:
    """Generations that were written for this message although no webhook answer named them.

    The gateway may have accepted a webhook whose answer was lost; then the marker of the write is the only witness. It
    counts as this entry's newest only when the entry was never answered.
    """
    witnesses = [
        copy
        for copy in moment.copies
        if copy.profile_id == moment.profile_id
        and names_message(copy.written_for, message)
        and copy.generation_id not in ledger.known
    ]
    if newest is None:
        since_entry = [copy for copy in witnesses if copy.written_at >= entry.entered_at]
        if since_entry:
            newest = since_entry[-1].generation_id
    return newest, frozenset(copy.generation_id for copy in witnesses)
