"""The org's connection to Klaviyo: its key is verified, sealed, shown as its last four, and replaced by another."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from pydantic import Field, SecretStr

from shared.admin.context import Asking, Context
from shared.admin.errors import Conflict, Next, NotFound, Refused
from shared.admin.operation import AskedModel, Nothing, ResultModel, operation, operation_after
from shared.klaviyo.client import KlaviyoClient, Verified

UPSERT_INTEGRATION = """
    INSERT INTO integrations (org_id, account_key, account_name, base_url, sealed_key, last4, scopes,
                              verified_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
    ON CONFLICT (org_id) DO UPDATE SET
        account_key = excluded.account_key, account_name = excluded.account_name, base_url = excluded.base_url,
        sealed_key = excluded.sealed_key, last4 = excluded.last4, scopes = excluded.scopes,
        verified_at = excluded.verified_at, updated_at = excluded.updated_at
"""
SELECT_INTEGRATION = "SELECT base_url, sealed_key FROM integrations WHERE org_id = $1"
# What is on its way to be taken off is left out: it may be gone by now. None where the account is the same by its name.
SELECT_HOLDING = """
    SELECT profile_id FROM profile_state
    WHERE account_key = (SELECT account_key FROM integrations WHERE org_id = $1 AND account_key <> $2)
      AND org_id = $1 AND state = 'holding' AND NOT clean_queued
    ORDER BY clean_at DESC LIMIT 3
"""
SELECT_SHOWN = """
    SELECT account_key, account_name, base_url, last4, scopes, verified_at FROM integrations WHERE org_id = $1
"""

WRITE: Final = "profiles:write"
SCOPE_BUYS: Final[Mapping[str, str]] = {
    WRITE: "needed: nothing can be written without it",
    "flows:read": "the flow and message pickers, and delays read from the flow itself",
    "campaigns:read": "campaigns beside flows",
    "metrics:read": "checking our counts against Klaviyo's own",
    "accounts:read": "the account's name, and one quota for orgs that share an account",
    "events:read": "events from Klaviyo's API instead of SFTP files",
    "lists:write": "bulk import when single writes cannot meet the deadline, with the next two",
    "lists:read": "watching bulk imports, together with profiles:read",
    "profiles:read": "watching bulk imports, and reading back what is on a profile",
    "templates:read": "checking that the snippet is in the email",
}
SCOPE_COSTS: Final[Mapping[str, str]] = {
    WRITE: "Nothing can be written: every email shows the control content.",
    "flows:read": "No flow or message can be chosen, and delays have to be typed in.",
    "campaigns:read": "Campaigns are not listed.",
    "metrics:read": "Our counts cannot be checked against Klaviyo's own.",
    "accounts:read": "The account's name stays unknown, and orgs of one account do not share its quota.",
    "events:read": "Events come from files alone.",
    "lists:write": "No bulk import where single writes would miss the deadline.",
    "lists:read": "Bulk imports cannot be watched, so none are sent.",
    "profiles:read": "Bulk imports cannot be watched, and what is on a profile cannot be read back.",
    "templates:read": "Nobody can check whether the snippet is in the email.",
}
"""What a key without the scope cannot do, as a sentence."""


class GivenKey(AskedModel):
    """A private key. `base_url`: another API host, for tests; only from the command line."""

    private_key: SecretStr = Field(description="pk_…; sealed at once, never shown again.")
    base_url: str | None = None


class PerhapsGivenKey(AskedModel):
    """A private key, or none: then the one that is stored is looked at."""

    private_key: SecretStr | None = Field(None, description="pk_…; it is not stored.")
    base_url: str | None = None


class KeyToStore(GivenKey):
    """A key that is to be stored. `anyway`: also one of another account, or that rotates one with more scopes."""

    anyway: bool = False


class ScopeSeen(ResultModel):
    """Whether the key has a scope, what the scope buys, and what being without it costs."""

    scope: str
    has: bool
    buys: str
    costs: str


class Connection(ResultModel):
    """What is known of a key, never more of itself than its last four characters. `may_write`: without it every email
    shows the control content."""

    account_name: str | None
    last4: str
    base_url: str
    scopes: list[ScopeSeen]
    may_write: bool
    verified_at: datetime | None


@dataclass(frozen=True, slots=True)
class Seen:
    """A key with what Klaviyo said of it. `elsewhere`: it does not find the profiles that hold our copy."""

    private_key: str
    base_url: str
    verified: Verified
    elsewhere: bool = False

    @property
    def account_key(self) -> str:
        """What names the quota: the account where the key may read it, else the key itself."""
        if self.verified.account_id:
            return f"acct:{self.verified.account_id}"
        return f"key:{hashlib.sha256(self.private_key.encode()).hexdigest()[:24]}"


def client(asking: Asking, base_url: str, private_key: str) -> KlaviyoClient:
    """A client of this key. Raises Refused where this process cannot reach Klaviyo; KeyRefused for what is no key."""
    if asking.means.klaviyo is None:
        raise Refused("this process has no way to Klaviyo", code="klaviyo_not_set_up")
    return asking.means.klaviyo(base_url, private_key)


async def stored_key(asking: Asking) -> tuple[str, str]:
    """Base URL and private key of the org, outside of any transaction. Raises NotFound, SealError."""
    async with asking.means.database.transaction(asking.org_id) as connection:
        row = await connection.fetchrow(SELECT_INTEGRATION, asking.org_id)
    if row is None:
        raise not_connected()
    return row["base_url"], asking.means.ring.open(row["sealed_key"], asking.place("klaviyo"))


def not_connected() -> NotFound:
    """There is no key yet."""
    return NotFound("Not connected to Klaviyo yet", next=Next("klaviyo.connect", instead=True))


async def _look(asking: Asking, asked: GivenKey) -> Seen:
    base_url = _base_url(asking, asked.base_url)
    private_key = asked.private_key.get_secret_value().strip()
    return Seen(private_key, base_url, await client(asking, base_url, private_key).verify())


async def _look_at_new(asking: Asking, asked: KeyToStore) -> Seen:
    seen = await _look(asking, asked)
    return seen if asked.anyway else replace(seen, elsewhere=await _is_elsewhere(asking, seen))


async def _is_elsewhere(asking: Asking, seen: Seen) -> bool:
    """Whether the profiles that hold our copy are another account's: ids are Klaviyo's, and none is in two accounts. A
    few are asked for, because one may have been merged away or deleted."""
    if WRITE not in seen.verified.scopes:
        return False
    async with asking.means.database.transaction(asking.org_id) as connection:
        rows = await connection.fetch(SELECT_HOLDING, asking.org_id, seen.account_key)
    klaviyo = client(asking, seen.base_url, seen.private_key)
    for row in rows:
        if await klaviyo.has_profile(row["profile_id"]):
            return False
    return bool(rows)


async def _look_at_any(asking: Asking, asked: PerhapsGivenKey) -> Seen:
    if asked.private_key is not None:
        return await _look(asking, GivenKey(private_key=asked.private_key, base_url=asked.base_url))
    if asked.base_url is not None:
        raise Refused("belongs to a key; give one too", field="base_url")
    base_url, private_key = await stored_key(asking)
    return Seen(private_key, base_url, await client(asking, base_url, private_key).verify())


def _base_url(asking: Asking, given: str | None) -> str:
    if given is None or given == asking.means.klaviyo_url:
        return asking.means.klaviyo_url
    if asking.actor.kind != "cli":  # or anybody with a key of ours could have us call any address
        raise Refused("another API host can only be set with `justai`", field="base_url")
    if not given.startswith(("https://", "http://")):
        raise Refused(f"{given!r} must begin with https://", field="base_url")
    return given


@operation_after(
    _look_at_any, "klaviyo.verify", "POST", "/klaviyo/verify", "editor",
    "Ask Klaviyo what a key may do; nothing is stored.", changes=False,
)  # fmt: skip
async def verify(context: Context, asked: PerhapsGivenKey, seen: Seen) -> Connection:
    return _shown(seen, context.now)


@operation_after(
    _look_at_new, "klaviyo.connect", "PUT", "/klaviyo", "owner", "Verify a private key and store it sealed."
)  # fmt: skip
async def connect(context: Context, asked: KeyToStore, seen: Seen) -> Connection:
    """Refused where profiles hold copy that this key could not take off."""
    if seen.elsewhere:
        raise _of_another_account(seen)
    return await _store(context, seen)


@operation_after(
    _look_at_new, "klaviyo.rotate", "POST", "/klaviyo/rotate", "owner",
    "Replace the stored key by another one of the same account that may at least as much.",
)  # fmt: skip
async def rotate(context: Context, asked: KeyToStore, seen: Seen) -> Connection:
    """Calls that are under way end with the old key: it should be deleted in Klaviyo a minute later, not before."""
    row = await context.connection.fetchrow(SELECT_SHOWN, context.org_id)
    if row is None:
        raise not_connected()
    was, is_now = row["account_key"], seen.account_key
    if not asked.anyway:
        if seen.elsewhere or (was != is_now and was.startswith("acct:") and is_now.startswith("acct:")):
            raise _of_another_account(seen)
        if lost := sorted(set(row["scopes"]) - seen.verified.scopes):
            raise Refused(f"the new key lacks {', '.join(lost)}, which the old one has", field="private_key")
    return await _store(context, seen)


@operation("klaviyo.show", "GET", "/klaviyo", "viewer", "Show the connection: account, key's last four, scopes.")
async def show(context: Context, _: Nothing) -> Connection:
    row = await context.connection.fetchrow(SELECT_SHOWN, context.org_id)
    if row is None:
        raise not_connected()
    return Connection(
        account_name=row["account_name"], last4=row["last4"], base_url=row["base_url"],
        scopes=_scopes(frozenset(row["scopes"])), may_write=WRITE in row["scopes"], verified_at=row["verified_at"],
    )  # fmt: skip


def _of_another_account(seen: Seen) -> Conflict:
    name = seen.verified.name or seen.verified.account_id
    return Conflict(f"The new key is of another account{f' ({name})' if name else ''}", field="private_key")


async def _store(context: Context, seen: Seen) -> Connection:
    sealed = context.means.ring.seal(seen.private_key, context.place("klaviyo"))
    await context.connection.execute(
        UPSERT_INTEGRATION, context.org_id, seen.account_key, seen.verified.name, seen.base_url, sealed,
        seen.private_key[-4:], sorted(seen.verified.scopes), context.now,
    )  # fmt: skip
    return _shown(seen, context.now)


def _shown(seen: Seen, at: datetime) -> Connection:
    return Connection(
        account_name=seen.verified.name, last4=seen.private_key[-4:], base_url=seen.base_url,
        scopes=_scopes(seen.verified.scopes), may_write=WRITE in seen.verified.scopes, verified_at=at,
    )  # fmt: skip


def _scopes(has: frozenset[str]) -> list[ScopeSeen]:
    return [
        ScopeSeen(scope=scope, has=scope in has, buys=buys, costs=SCOPE_COSTS[scope])
        for scope, buys in SCOPE_BUYS.items()
    ]
