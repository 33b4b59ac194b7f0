"""Turning the second factor on and off, and its recovery codes."""

from services.console.people import totp
from services.console.people.remembering import Moment, remember
from services.console.people.signing_in import TAKE_STEP, Means
from services.console.people.store import Account

# A secret that was not confirmed yet may be replaced at will; one that is in use may not.
SET_PENDING = "UPDATE users SET sealed_totp = $2 WHERE user_id = $1 AND totp_since IS NULL"
CONFIRM = "UPDATE users SET totp_since = $2 WHERE user_id = $1 AND totp_since IS NULL AND sealed_totp = $3"
TURN_OFF = "UPDATE users SET sealed_totp = NULL, totp_since = NULL WHERE user_id = $1"
DELETE_CODES = "DELETE FROM recovery_codes WHERE user_id = $1"
INSERT_CODES = "INSERT INTO recovery_codes (user_id, digest) SELECT $1, unnest($2::bytea[])"
COUNT_CODES = "SELECT count(*) FROM recovery_codes WHERE user_id = $1 AND used_at IS NULL"


async def pending_secret(means: Means, account: Account) -> str:
    """The secret that waits to be confirmed; made when there is none."""
    if account.sealed_totp is not None:
        return means.ring.open(account.sealed_totp, account.totp_place)
    secret = totp.new_secret(means.random_bytes)
    async with means.database.connection() as connection:
        await connection.execute(SET_PENDING, account.user_id, means.ring.seal(secret, account.totp_place))
    return secret


async def confirm(means: Means, account: Account, code: str, moment: Moment) -> list[str] | None:
    """Turn it on; the recovery codes, shown once. None: the code does not fit the secret that was shown."""
    if account.sealed_totp is None or account.totp_since is not None:
        return None
    now = means.clock.now()
    step = totp.step_of(means.ring.open(account.sealed_totp, account.totp_place), code, now)
    if step is None:
        return None
    codes = totp.new_recovery_codes(means.random_bytes)
    async with means.database.transaction() as connection:
        if await connection.execute(CONFIRM, account.user_id, now, account.sealed_totp) != "UPDATE 1":
            return None
        await connection.execute(TAKE_STEP, account.user_id, step)
        await connection.execute(DELETE_CODES, account.user_id)
        await connection.execute(INSERT_CODES, account.user_id, _digests(account, codes))
        await remember(connection, moment, "people.second_factor_on", account.user_id, account.email)
    return codes


async def turn_off(means: Means, account: Account, moment: Moment) -> None:
    """From now on the password is enough."""
    async with means.database.transaction() as connection:
        await connection.execute(TURN_OFF, account.user_id)
        await connection.execute(DELETE_CODES, account.user_id)
        if account.totp_since is not None:
            await remember(connection, moment, "people.second_factor_off", account.user_id, account.email)


async def new_codes(means: Means, account: Account, moment: Moment) -> list[str]:
    """Fresh recovery codes, shown once; the old ones end."""
    codes = totp.new_recovery_codes(means.random_bytes)
    async with means.database.transaction() as connection:
        await connection.execute(DELETE_CODES, account.user_id)
        await connection.execute(INSERT_CODES, account.user_id, _digests(account, codes))
        await remember(connection, moment, "people.recovery_codes", account.user_id, account.email)
    return codes


async def codes_left(means: Means, account: Account) -> int:
    """How many recovery codes were not used yet."""
    async with means.database.connection() as connection:
        return int(await connection.fetchval(COUNT_CODES, account.user_id))


def _digests(account: Account, codes: list[str]) -> list[bytes]:
    return [totp.recovery_digest(account.user_id, code) for code in codes]
