"""Ending uploads that were left, on servers of all kinds."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest

from services.egress.model import Target
from services.egress.s3 import Bucket, S3Options
from services.egress.sweep import Sweeper
from shared.clock import FrozenClock
from shared.errors import Permanent

STRANGE, WELL = UUID(int=1), UUID(int=2)


class Shop:
    """Targets of two orgs, and their buckets, of which one answers in a way nobody foresaw."""

    async def orgs_with_target(self) -> Sequence[UUID]:
        return [STRANGE, WELL]

    async def target(self, org_id: UUID) -> Target:
        return Target("strange" if org_id == STRANGE else "well", "", "eu-central-1")

    async def bucket(self, target: Target) -> "OneUpload":
        return OneUpload(strange=target.bucket == "strange")


class OneUpload:
    def __init__(self, *, strange: bool) -> None:
        self._strange = strange

    async def sweep(self, prefix: str, ours: Callable[[str], bool], older_than_s: float) -> int:
        if self._strange:
            raise KeyError("Initiated")
        return 1


async def test_a_server_that_answers_something_unforeseen_keeps_no_other_from_being_swept() -> None:
    shop = Shop()

    assert await Sweeper(shop, shop.bucket, FrozenClock()).sweep() == 1


class Timeless:
    """An S3 server that does not say what time it is."""

    async def list_multipart_uploads(self, **_: Any) -> dict[str, Any]:
        return {"ResponseMetadata": {"HTTPHeaders": {}}, "Uploads": []}


async def test_a_server_without_a_clock_is_not_swept() -> None:
    with pytest.raises(Permanent, match="what time it is"):
        await Bucket(Timeless(), "records", S3Options()).sweep("", lambda _: True, 60)
