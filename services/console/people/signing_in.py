"""Signing in: password, then the second factor where there is one. What is told to whom does not depend on whether
there is such an account: the same work is done, and the same answer given."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from services.console.people import store, totp
from services.console.people.delay_store import Counted, DelayStore
from services.console.people.delays import key_of
from services.console.people.passwords import Busy, Hasher
from services.console.people.sessions import Session, Stage, With
from services.console.people.store import Account, SessionStore
from shared import logs
from shared.clock import Clock
from shared.crypto import KeyRing
from shared.db.pool import Database
from shared.people import links

log = logs.get(__name__)

_BUSY_WAIT_S = 3.0

# Held until the session is there: whoever ends all ways into the account waits, and then ends that session, too.
STILL_OPENS = "SELECT true FROM users WHERE user_id = $1 AND password_hash IS NOT DISTINCT FROM $2 FOR SHARE"
TAKE_STEP = "UPDATE users SET totp_step = $2 WHERE user_id = $1 AND totp_step < $2"
TAKE_RECOVERY_CODE = """
    UPDATE recovery_codes SET used_at = $3 WHERE user_id = $1 AND digest = $2 AND used_at IS NULL
"""


class Changed(Exception):
    """What was checked opens the account no more: its password was changed or ended meanwhile."""


class TooMany(Exception):
    """Too many attempts; the next may be made in `wait_s` seconds."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"wait {wait_s:.0f} s")
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Caller:
    """From where somebody signs in. `old`: the session that its browser had until now, which ends."""

    address: str
    agent: str
    old: bytes | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """A session that has just begun; the token goes into the cookie and is kept nowhere."""

    token: str
    stage: Stage


@dataclass(frozen=True, slots=True)
class Means:
    """What everything about people works with. `clock` is real time."""

    database: Database
    sessions: SessionStore
    delays: DelayStore
    hasher: Hasher
    ring: KeyRing
    clock: Clock
    random_bytes: Callable[[int], bytes]
    new_id: Callable[[], UUID]


async def sign_in(means: Means, email: str, password: str, caller: Caller) -> Begun | None:
    """A session, half or full; None: email or password are wrong. Raises TooMany."""
    email = email.strip().lower()
    by_account: Counted = ("account", key_of("account", email))
    account = None

    async def is_right() -> bool:
        nonlocal account
        async with means.database.connection() as connection:
            account = await store.account_of(connection, email)
        return await means.hasher.matches(account.password_hash if account else None, password)

    if not await _tried(means, [by_account, ("address", key_of("address", caller.address))], is_right):
        _tell_refused("password", account, caller)
        return None
    assert account is not None  # noqa: S101  # without an account nothing matches
    stage: Stage = "full" if account.totp_since is None else "password"
    return await _begun_with(means, account, stage, caller, "password")


async def _begun_with(means: Means, account: Account, stage: Stage, caller: Caller, how: With) -> Begun | None:
    try:
        return await begin(means, account.user_id, stage, caller, how, checked=account)
    except Changed:
        _tell_refused("changed", account, caller)
        return None


async def password_is(means: Means, account: Account, password: str) -> bool:
    """Whether somebody who is signed in knows the password too. Raises TooMany."""

    async def is_right() -> bool:
        return await means.hasher.matches(account.password_hash, password)

    return await _tried(means, [("account", key_of("account", account.email))], is_right)


async def pass_second_factor(
    means: Means, session: Session, account: Account, code: str, caller: Caller
) -> Begun | None:
    """The full session that takes the place of the half one; None: the code is wrong or was used. Raises TooMany."""

    async def is_right() -> bool:
        return await _takes(means, account, code)

    if not await _tried(means, [("code", key_of("code", str(session.user_id)))], is_right):
        _tell_refused("code", account, caller)
        return None
    return await _begun_with(means, account, "full", caller, session.signed_in_with)


def _tell_refused(reason: str, account: Account | None, caller: Caller) -> None:
    """For the operator, who alone sees whether there is such an account. What comes too soon is not looked at, and not
    told: a flood must not fill the log, and its 429s are counted."""
    user_id = account.user_id if account is not None else None
    log.warning("signin.refused", reason=reason, address=caller.address, user_id=user_id)


async def _tried(means: Means, counted: list[Counted], is_right: Callable[[], Awaitable[bool]]) -> bool:
    wait_s = await means.delays.charge(counted, means.clock.now())
    if wait_s:
        raise TooMany(wait_s)
    try:
        right = await is_right()
    except Busy:
        await means.delays.give_back(counted, means.clock.now())
        raise TooMany(_BUSY_WAIT_S) from None
    if right:
        await means.delays.give_back(counted, means.clock.now())
        for kind, key in counted:
            if kind != "address":  # one good account must not buy guesses at others
                await means.delays.forget(kind, key)
    return right


async def _takes(means: Means, account: Account, code: str) -> bool:
    if account.sealed_totp is None or account.totp_since is None:
        return False
    now = means.clock.now()
    step = totp.step_of(means.ring.open(account.sealed_totp, account.totp_place), code, now)
    async with means.database.connection() as connection:
        if step is not None:
            return await connection.execute(TAKE_STEP, account.user_id, step) == "UPDATE 1"
        digest = totp.recovery_digest(account.user_id, code)
        return await connection.execute(TAKE_RECOVERY_CODE, account.user_id, digest, now) == "UPDATE 1"


async def begin(
    means: Means, user_id: UUID, stage: Stage, caller: Caller, how: With = "password", id_token: str | None = None,
    checked: Account | None = None,
) -> Begun:  # fmt: skip
    """A session under an id that is new, whatever the browser brought. `id_token`: what the provider said, kept for
    signing out there; a half session's goes over to the full one. `checked`: the account as its password or code was
    found right. Raises Changed where it has another password by now."""
    token, now = links.mint(means.random_bytes), means.clock.now()
    digest = links.digest(token)
    async with means.database.transaction() as connection:
        if checked and not await connection.fetchval(STILL_OPENS, checked.user_id, checked.password_hash):
            raise Changed
        if id_token is None and caller.old is not None and how == "provider":
            id_token = _unsealed(means, caller.old, await connection.fetchval(store.SELECT_ID_TOKEN, caller.old))
        if caller.old is not None:
            await connection.execute(store.DELETE_SESSION, caller.old)
        sealed = means.ring.seal(id_token, id_token_place(digest)) if id_token else None
        session = Session(digest, user_id, stage, now, now, caller.agent, how)
        await store.begin_session(connection, session, address=caller.address, sealed_id_token=sealed)
    return Begun(token, stage)


def id_token_place(digest: bytes) -> str:
    """Where a session's ID token stands, for the key ring."""
    return f"sessions/{digest.hex()}/id_token"


def _unsealed(means: Means, digest: bytes, sealed: str | None) -> str | None:
    return means.ring.open(sealed, id_token_place(digest)) if sealed else None
