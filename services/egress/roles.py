"""Taking a customer's role: a session that renews itself, and may only do what exports need, where they lie."""

from collections.abc import Callable
from typing import Any

# aiobotocore ships no types, hence the ignores.
from aiobotocore.credentials import AioAssumeRoleCredentialFetcher, AioDeferredRefreshableCredentials
from aiobotocore.session import AioSession

from services.egress.model import Target
from shared.errors import Permanent
from shared.export_access import SESSION_S, session_policy

_ROLE_SESSION = "justai-egress"

CreateClient = Callable[..., Any]


async def take_role(session: AioSession, target: Target, role_arn: str, sts_client: CreateClient) -> None:
    """The session works with temporary credentials of the role, taken now, and again a quarter of an hour before they
    run out. Raises Permanent, and what botocore raises when the role does not let us in."""
    if target.access_key and target.secret:
        session.set_credentials(target.access_key, target.secret)
    own = await session.get_credentials()
    if own is None:
        raise Permanent("there are no credentials to take the role with", reason="s3_no_credentials")
    try:
        policy = session_policy(target.reach)
    except ValueError as error:
        raise Permanent(f"the prefix {error}; choose a shorter one", reason="s3_bad_target") from error
    extra: dict[str, Any] = {"RoleSessionName": _ROLE_SESSION, "DurationSeconds": SESSION_S, "Policy": policy}
    if target.external_id:
        extra["ExternalId"] = target.external_id
    fetcher = AioAssumeRoleCredentialFetcher(sts_client, own, role_arn, extra_args=extra)
    taken = AioDeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
    await taken.get_frozen_credentials()  # a role that does not let us in says so here, and not with the first object
    # botocore offers no public way to hand a session credentials that renew themselves.
    session._credentials = taken
