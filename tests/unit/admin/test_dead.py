"""Whose a dead letter is."""

from uuid import UUID

import pytest

from shared.admin.queues.dead import Replay, has_reason, orgs_of
from shared.messaging.dead import DeadLetter

ONE, OTHER = UUID(int=1), UUID(int=2)


def test_a_letter_is_of_the_orgs_whose_jobs_it_holds() -> None:
    body = f'{{"kind":"write","version":1,"jobs":[{{"org_id":"{ONE}"}},{{"org_id":"{OTHER}"}},{{"org_id":"{ONE}"}}]}}'

    assert orgs_of(body.encode()) == {ONE, OTHER}


@pytest.mark.parametrize(
    "jobs", ["", "{", "[]", '"jobs"', '{"jobs": 1}', '{"jobs": [1]}', '{"jobs": [{}]}', '{"jobs": [{"org_id": 7}]}']
)
def test_a_letter_that_cannot_be_read_is_nobodys(jobs: str) -> None:
    assert orgs_of(jobs.encode()) == set()


@pytest.mark.parametrize(
    ("reason", "exact", "is_wanted"),
    [(None, False, True), ("not_found", False, True), ("not_found", True, False), ("profile_not_found", True, True)],
)
def test_a_reason_is_found_within_another_or_meant_as_a_whole(reason: str | None, exact: bool, is_wanted: bool) -> None:
    letter = DeadLetter("a1", "write", "profile_not_found", 1, "", b"")

    assert has_reason(letter, Replay(kind="write", reason=reason, exact=exact)) is is_wanted
