"""What people change of their own accounts, in the audit log of each org they work in: an owner has to be able to see
that somebody joined, or turned two-factor sign-in off. Never a password, a code or a link."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from shared.admin.audit import INSERT_ENTRY
from shared.db.pool import Connection

SELECT_ORGS_OF = "SELECT org_id FROM memberships WHERE user_id = $1"

WORDS: Final = {
    "people.join": "Join by an invitation, or through the provider.",
    "people.set_up": "Set up the console as its first person.",
    "people.name": "Change the own name.",
    "people.password": "Change the own password.",
    "people.reset_used": "Set a new password by a link.",
    "people.let_in_used": "Sign in by the operator's link.",
    "people.second_factor_on": "Turn two-factor sign-in on.",
    "people.second_factor_off": "Turn two-factor sign-in off.",
    "people.recovery_codes": "Make new recovery codes.",
}
"""What is remembered, by its name."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a request was made, in the system's time, and its id."""

    at: datetime
    request_id: str


async def remember(
    connection: Connection, moment: Moment, what: str, user_id: UUID, email: str, **asked: str | bool
) -> None:
    """In the transaction of the change, by its name in WORDS. Who works nowhere is in no org's log."""
    for row in await connection.fetch(SELECT_ORGS_OF, user_id):
        await connection.execute(
            INSERT_ENTRY, row["org_id"], moment.at, email, "person", what, email, asked, {"user_id": str(user_id)},
            moment.request_id,
        )  # fmt: skip
