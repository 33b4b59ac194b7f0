"""AWS KMS keeps the key that wraps ring keys: a ring that is read off a disk or an environment opens nothing.

A ring key is unwrapped once, when a process reads its ring; secrets are then opened in memory. One call of KMS a
secret was not chosen: what is read every turn would cost a round trip and an outage of KMS would stop emails.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

# botocore and aiobotocore ship no types, hence the ignores.
import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, ClientError

from shared.crypto import KEY_BYTES, Wrapped
from shared.errors import Failure, Permanent, Transient

_UNREACHABLE: Final = (aiohttp.ClientError, OSError, TimeoutError)
_CONFIG: Final = {"retries": {"mode": "standard", "total_max_attempts": 3}, "connect_timeout": 5, "read_timeout": 10}
# Refusals that the next attempt may not meet.
_PASSING: Final = frozenset({"DependencyTimeoutException", "KMSInternalException", "ThrottlingException",
                             "LimitExceededException", "KMSInvalidStateException"})  # fmt: skip


async def new_key(name: str, kms_key: str, region: str | None) -> Wrapped:
    """A ring key that nobody has seen: KMS makes it and hands it out wrapped. `kms_key`: its id, alias or ARN there.
    Raises Failure."""
    if kms_key.startswith("arn:"):
        region = _region_of(kms_key)
    if not region:
        raise Permanent("say the key's ARN, or set AWS_REGION", reason="kms_no_region")
    async with _client(region) as client:
        answer = await client.generate_data_key_without_plaintext(
            KeyId=kms_key, NumberOfBytes=KEY_BYTES, EncryptionContext=_context(name)
        )
    return Wrapped(str(answer["KeyId"]), bytes(answer["CiphertextBlob"]))


async def unwrap(name: str, wrapped: Wrapped) -> bytes:
    """The ring key of this name. Raises Transient where KMS does not answer, Permanent where it refuses."""
    async with _client(_region_of(wrapped.kms_key)) as client:
        answer = await client.decrypt(
            CiphertextBlob=wrapped.blob, KeyId=wrapped.kms_key, EncryptionContext=_context(name)
        )
    return bytes(answer["Plaintext"])


def _context(name: str) -> dict[str, str]:
    """Bound to the key's name, and seen in CloudTrail."""
    return {"justai-seal-key": name}


def _region_of(arn: str) -> str:
    return arn.split(":")[3]


@asynccontextmanager
async def _client(region: str) -> AsyncIterator[Any]:
    """With the process's own role; AWS_ENDPOINT_URL_KMS leads elsewhere, as for every client of AWS."""
    try:
        async with AioSession().create_client("kms", region_name=region, config=AioConfig(**_CONFIG)) as client:
            yield client
    except ClientError as error:
        raise _failure(error) from error
    except _UNREACHABLE as error:
        raise Transient(f"AWS KMS does not answer: {type(error).__name__}", reason="kms_unreachable") from error
    except BotoCoreError as error:
        if type(error).__name__ in {"EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError"}:
            raise Transient(f"AWS KMS does not answer: {type(error).__name__}", reason="kms_unreachable") from error
        raise Permanent(f"AWS KMS cannot be asked: {error}", reason="kms_not_set_up") from error


def _failure(error: Any) -> Failure:
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    text = f"AWS KMS refuses {error.operation_name}: {status} {code}".strip()
    if status >= 500 or status == 429 or code in _PASSING:
        return Transient(text, reason="kms_unreachable")
    return Permanent(text, reason="kms_refused")
