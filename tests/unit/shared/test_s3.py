"""What an answer of an S3 server means for the job."""

import pytest
from botocore.parsers import ResponseParserError

from shared.errors import Permanent, Transient
from shared.s3 import failure_of, named


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, "AccessDenied"),
        (403, "InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch"),
        (404, "NoSuchBucket"),
        (301, "PermanentRedirect"),
        (400, "AuthorizationHeaderMalformed"),
        (501, "NotImplemented"),
    ],
)
def test_what_only_the_owner_of_the_bucket_can_mend_blocks_the_hour(status: int, code: str) -> None:
    failure = failure_of("PutObject", code, status)

    assert isinstance(failure, Permanent)
    assert failure.reason == f"s3_{status}"
    assert str(failure) == f"PutObject: {status} {code}"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (429, "TooManyRequests"),
        (503, "SlowDown"),
        (500, "InternalError"),
        (504, ""),
        (0, ""),
        (400, "BadDigest"),
        (400, "RequestTimeout"),
        (400, "ExpiredToken"),
        (404, "NoSuchUpload"),
    ],
)
def test_what_may_pass_is_tried_again(status: int, code: str) -> None:
    assert isinstance(failure_of("UploadPart", code, status), Transient)


async def test_an_answer_that_is_not_s3_is_a_failure_in_our_words_and_is_not_quoted() -> None:
    async def answered() -> None:
        raise ResponseParserError("Unable to parse response, invalid XML received: <html>jane@example.com")

    with pytest.raises(Transient) as failure:
        await named(answered(), 5)

    assert (failure.value.reason, "jane" in str(failure.value)) == ("s3_unreadable", False)
    assert failure.value.__cause__ is None
