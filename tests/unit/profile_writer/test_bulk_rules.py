"""The rules of the bulk road."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import orjson
from hypothesis import given
from hypothesis import strategies as st

from services.profile_writer.bulk import rules as bulk_rules
from services.profile_writer.bulk.rules import (
    ROWS_MIN,
    ROWS_OF_JOB,
    Encoded,
    ImportEnded,
    Job,
    JobRows,
    State,
    packed,
    results,
    told_apart,
)
from services.profile_writer.rows import Held, Key, Lane, Pending, Ref
from shared.klaviyo.bulk import JOB_MAX_BYTES, ImportJob, RowError, job_body

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
DAY = date(2026, 11, 23)
ORG = UUID(int=7)


def pending(number: int, generation: int | None = None, written_for: str = "m") -> Pending:
    ref = Ref(DAY, UUID(int=generation or number), ORG)
    return Pending(Key("acct:A", f"P{number}", "jai"), ref, "write", Lane.FRESH, written_for, NOW, NOW, NOW, NOW)


def encoded(size: int, number: int = 1) -> Encoded:
    return Encoded(pending(number), b'"' + b"x" * (size - 2) + b'"')


def job(rows: int = 3, klaviyo_job_id: str | None = "K", state: State = "running", lost_s: float | None = None) -> Job:
    lost_at = None if lost_s is None else NOW + timedelta(seconds=lost_s)
    return Job(uuid4(), "acct:A", ORG, state, klaviyo_job_id, rows, NOW, lost_at)


def carried(rows: int = 3) -> JobRows:
    keys = [Key("acct:A", f"P{number}", "jai") for number in range(rows)]
    return JobRows(keys, [Ref(DAY, UUID(int=number + 1), ORG) for number in range(rows)], [NOW] * rows)


def listed(job_id: str, rows: int = 3, *, status: str = "complete", failed: int = 0, after_s: float = 1) -> ImportJob:
    return ImportJob(job_id, status, NOW + timedelta(seconds=after_s), NOW, rows, rows - failed, failed)


def reasons(found: Sequence[Exception | None]) -> list[str | None]:
    return [one.reason if isinstance(one, ImportEnded) else None for one in found]


# --- packing ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(2, 95_000), max_size=200))
def test_no_job_is_larger_than_klaviyo_takes_and_the_order_stays(sizes: list[int]) -> None:
    rows = [encoded(size, number) for number, size in enumerate(sizes)]
    jobs = packed(rows, most_jobs=1000)
    gone = [one for rows_of in jobs for one in rows_of]
    assert gone == rows[: len(gone)]
    assert len(rows) - len(gone) < ROWS_MIN
    for rows_of in jobs:
        body = job_body([one.body for one in rows_of])
        assert len(body) <= JOB_MAX_BYTES
        assert len(orjson.loads(body)["data"]["attributes"]["profiles"]["data"]) == len(rows_of)


def test_a_job_is_filled_before_the_next_is_begun() -> None:
    jobs = packed([encoded(60_000, number) for number in range(210)])
    assert [len(rows) for rows in jobs] == [74, 74, 62]


def test_a_remainder_that_is_a_handful_waits_and_a_lone_job_does_not() -> None:
    assert [len(rows) for rows in packed([encoded(60_000, number) for number in range(170)])] == [74, 74]
    assert [len(rows) for rows in packed([encoded(60_000, number) for number in range(3)])] == [3]


def test_a_job_has_no_more_rows_than_the_account_can_be_held_for() -> None:
    jobs = packed([encoded(100, number) for number in range(ROWS_OF_JOB + 60)])
    assert [len(rows) for rows in jobs] == [ROWS_OF_JOB, 60]


def test_what_does_not_fit_the_round_is_left() -> None:
    assert len(packed([encoded(90_000, number) for number in range(1_000)], most_jobs=2)) == 2


def test_no_two_jobs_have_as_many_rows() -> None:
    batches = [[encoded(10, number) for number in range(5)] for _ in range(3)]
    assert [len(rows) for rows in told_apart(batches, [5])] == [4, 3, 2]


def test_no_job_has_as_many_rows_as_other_apps_batches() -> None:
    batches = [[encoded(10, number) for number in range(1_000)] for _ in range(2)]
    assert [len(rows) for rows in told_apart(batches, [])] == [999, 998]


def test_what_is_read_back_is_some_of_what_a_job_says_to_have_written() -> None:
    refused = results(carried(5), listed("K", 5, failed=1), [RowError(0, None, "x")])
    assert bulk_rules.witnesses(refused) == [1, 3, 4]
    assert bulk_rules.witnesses(refused[:2]) == [1]
    assert bulk_rules.witnesses(bulk_rules.doubted(carried(5), "cancelled")) == []


# --- a job whose answer was lost -------------------------------------------------------------------------------------


def test_a_lost_job_is_the_one_with_as_many_rows_at_that_time() -> None:
    lost = job(3, None, "lost")
    others = [listed("other", 4), listed("mine", 3), listed("long-ago", 3, after_s=-3600)]
    assert bulk_rules.found(lost, others, frozenset()) == others[1]


def test_a_job_that_we_know_already_is_not_a_lost_one() -> None:
    assert bulk_rules.found(job(3, None, "lost"), [listed("known", 3)], frozenset({"known"})) is None


def test_a_list_says_that_a_job_was_not_made_only_when_it_reaches_back() -> None:
    lost = job(3, None, "lost")
    assert bulk_rules.looked_back_far_enough(lost.sent_at, None)
    assert bulk_rules.looked_back_far_enough(lost.sent_at, NOW - timedelta(minutes=5))
    assert not bulk_rules.looked_back_far_enough(lost.sent_at, NOW - timedelta(seconds=10))


def test_a_job_may_be_made_as_late_as_its_sending_lasted() -> None:
    slow, later = listed("slow", 3, after_s=100), listed("later", 3, after_s=200)
    assert bulk_rules.found(job(3, None, "lost"), [slow, later], frozenset()) == slow


def test_a_job_of_a_worker_that_was_frozen_may_be_made_until_its_answer_was_lost() -> None:
    late, later = listed("late", 3, after_s=420), listed("later", 3, after_s=500)
    assert bulk_rules.found(job(3, None, "lost", lost_s=400), [late, later], frozenset()) == late


def test_a_lost_job_is_given_time_to_appear_from_when_it_was_lost() -> None:
    def after(seconds: float) -> datetime:
        return NOW + timedelta(seconds=seconds)

    lost = job(3, None, "lost", lost_s=60)
    assert not bulk_rules.not_made(lost, after(100))  # the time-out alone took a minute
    assert bulk_rules.not_made(lost, after(121))
    assert not bulk_rules.not_made(job(3, None, "sending"), after(150))
    assert bulk_rules.not_made(job(3, None, "sending"), after(181))
    assert not bulk_rules.not_made(job(3, "K"), after(10_000))
    assert not bulk_rules.not_made(replace(lost, ended_at=after(121)), after(122))  # said once


def test_who_counts_as_not_made_is_looked_out_for_an_hour_and_who_is_known_for_a_day() -> None:
    for nobody, hours in [(job(3, None, "ended"), 1), (job(3, "K", "ended"), 24)]:
        ended = replace(nobody, ended_at=NOW)
        assert not bulk_rules.given_up(nobody, NOW + timedelta(days=7))
        assert not bulk_rules.given_up(ended, NOW + timedelta(hours=hours))
        assert bulk_rules.given_up(ended, NOW + timedelta(hours=hours, seconds=1))


# --- what a job's end says -------------------------------------------------------------------------------------------


def test_rows_without_an_error_are_on_their_profiles() -> None:
    assert results(carried(), listed("K"), []) == [None, None, None]


def test_a_refused_row_is_known_by_number_or_by_profile() -> None:
    by_number = results(carried(), listed("K", failed=1), [RowError(1, None, "invalid")])
    by_profile = results(carried(), listed("K", failed=1), [RowError(None, "P2", "invalid")])
    both = results(carried(), listed("K", failed=1), [RowError(0, "P2", "invalid")])
    assert reasons(by_number) == [None, "import_row_refused", None]
    assert reasons(by_profile) == reasons(both) == [None, None, "import_row_refused"]


def test_when_not_all_failures_are_known_no_row_is_believed() -> None:
    unclear = results(carried(), listed("K", failed=2), [RowError(1, None, "invalid"), RowError(None, None, "invalid")])
    assert reasons(unclear) == ["import_unclear"] * 3


def test_rows_that_no_count_speaks_of_are_not_believed() -> None:
    ended = ImportJob("K", "complete", NOW, NOW, 3, 2, 0)
    assert reasons(results(carried(), ended, [])) == ["import_unclear"] * 3


def test_a_number_beyond_the_job_names_no_row() -> None:
    assert reasons(results(carried(), listed("K", failed=1), [RowError(9, None, "x")])) == ["import_unclear"] * 3


def test_a_cancelled_job_may_have_written_any_of_its_rows() -> None:
    assert reasons(results(carried(), listed("K", status="cancelled"), [])) == ["import_cancelled"] * 3


def test_a_row_that_a_newer_generation_has_taken_is_known_from_the_profile() -> None:
    newer = pending(0, generation=99, written_for="newer")
    until = NOW + timedelta(hours=1)
    held = Held(newer.key, Ref(DAY, UUID(int=1), ORG), "unknown", "older", (), NOW, until, NOW, until)
    sent = bulk_rules.as_sent(carried(), 0, newer, held)
    assert (sent.ref.generation_id, sent.written_for, sent.clean_at) == (UUID(int=1), "older", until)
    same = pending(0, generation=1)
    assert bulk_rules.as_sent(carried(), 0, same, held) is same


# --- when ------------------------------------------------------------------------------------------------------------


def test_deadlines_nearer_than_the_usual_import_are_not_tried() -> None:
    assert bulk_rules.reach_s([]) == 10
    assert bulk_rules.reach_s([20.0, 200.0, 40.0]) == 40


def test_lists_are_asked_for_sparingly() -> None:
    assert bulk_rules.poll_after_s(5, [8.0]) == 3
    assert bulk_rules.poll_after_s(5, [400.0]) == 15
    assert bulk_rules.poll_after_s(5_000, [8.0]) == 60
    assert [bulk_rules.rest_s(failures) for failures in (1, 2, 3, 20)] == [5, 10, 20, 60]
