"""Files of configuration, applied to an org and written out of it."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from shared.admin.config import config
from shared.admin.config.config import AppliedConfig
from shared.admin.errors import Refused
from shared.people.roles import Role
from tests.component.admin.rig import Rig

_KEY = Ed25519PrivateKey.generate()
PRIVATE_KEY = _KEY.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
HOST_KEY = _KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def files(*texts: str) -> list[dict[str, str]]:
    return [{"name": f"file{number}.yaml", "text": text} for number, text in enumerate(texts, 1)]


async def applied(acme: Rig, *texts: str, role: Role = "owner", name: str = "Ada", **asked: Any) -> AppliedConfig:
    return await acme.run(config.apply, {"files": files(*texts), **asked}, role, name)


async def shown(acme: Rig) -> str:
    return (await acme.run(config.show, {}, "viewer")).yaml


async def refused(acme: Rig, *texts: str, **asked: Any) -> list[str]:
    with pytest.raises(Refused) as error:
        await applied(acme, *texts, **asked)
    return [f"{fault.field}: {fault.message}" for fault in error.value.faults]
