"""The small parts of the box: ids, faults, the request log."""

import random
import re
from collections import Counter
from datetime import UTC, datetime

from shared.clock import FrozenClock
from simulator.faults import IMPORT, Fault, strike
from simulator.ids import Ids
from simulator.requestlog import LoggedRequest, RequestLog
from simulator.world import World

AT = datetime(2026, 11, 23, 10, tzinfo=UTC)


def test_ids_have_klaviyos_shapes_and_repeat_with_the_seed() -> None:
    ids = Ids(3)

    assert re.fullmatch(r"01[0-9A-HJKMNP-TV-Z]{24}", ids.ulid(AT))
    assert re.fullmatch(r"[A-Za-z0-9]{6}", ids.short())
    assert re.fullmatch(r"\d{8}", ids.number())
    assert ids.uuid_at(AT)[14] == "1"
    assert [Ids(3).uuid4() for _ in range(2)] == [Ids(3).uuid4()] * 2


def test_every_account_has_a_window_phase_of_its_own_that_repeats_with_the_seed() -> None:
    worlds = [World(FrozenClock(AT), seed=seed) for seed in (1, 1, 2)]

    first, again, other = ([world.add_account(f"A{n}").phase_s for n in range(20)] for world in worlds)

    assert first == again != other
    assert len(set(first)) == 20
    assert all(0 <= phase < 60 for phase in first)


def test_people_have_old_and_new_ids() -> None:
    world = World(FrozenClock(AT))
    account = world.add_account("A")

    lengths = Counter(len(world.add_profile(account, {})) for _ in range(500))

    assert set(lengths) == {6, 26}
    assert 60 < lengths[6] < 140


def test_a_fault_strikes_its_operation_as_often_as_it_may() -> None:
    faults = [Fault(kind="status", operation="update_profile", count=2)]
    chance = random.Random(1)

    struck = [strike(faults, "A", operation, chance) for operation in ("get_flows", *["update_profile"] * 3)]

    assert [fault is not None for fault in struck] == [False, True, True, False]


def test_a_fault_inside_imports_and_one_of_requests_do_not_spend_each_other() -> None:
    faults = [Fault(kind="row_error", count=1), Fault(kind="status", count=1), Fault(kind="cancel_job", count=1)]
    chance = random.Random(1)

    request = [strike(faults, "A", IMPORT, chance) for _ in range(2)]
    row = [strike(faults, "A", IMPORT, chance, "row_error") for _ in range(2)]
    job = [strike(faults, "A", IMPORT, chance, "cancel_job") for _ in range(2)]

    assert [request, row, job] == [[faults[1], None], [faults[0], None], [faults[2], None]]


def test_a_fault_strikes_at_its_probability_and_only_its_account() -> None:
    faults = [Fault(kind="slow", account_id="A", probability=0.2)]
    chance = random.Random(1)

    hits = sum(strike(faults, "A", "get_flows", chance) is not None for _ in range(1000))

    assert 150 < hits < 250
    assert not any(strike(faults, "B", "get_flows", chance) for _ in range(100))


def logged(number: int, body: bytes = b"", operation: str = "update_profile") -> LoggedRequest:
    headers = {"Authorization": "Klaviyo-API-Key pk_secret", "X-Api-Key": "s3cret", "revision": "2026-07-15"}
    return LoggedRequest(number, AT, "A", operation, "PATCH", "/api/profiles/x", headers, body, 200)


def test_the_log_keeps_the_last_requests_within_its_bounds() -> None:
    log = RequestLog(max_entries=3, max_bytes=100)
    for number in range(1, 6):
        log.add(logged(number, b"x" * 40))

    kept = list(log.since(0, None, 10))
    assert [entry.number for entry in kept] == [3, 4, 5]
    assert [entry.as_json()["body"] for entry in kept] == [None, "x" * 40, "x" * 40]


def test_the_log_is_read_from_a_number_on_and_by_operation() -> None:
    log = RequestLog(max_entries=10, max_bytes=1000)
    for number, operation in enumerate(["a", "b", "a", "a"], 1):
        log.add(logged(number, operation=operation))

    assert [entry.number for entry in log.since(1, "a", 1)] == [3]


def test_the_log_shows_no_secret() -> None:
    shown = logged(1, b"{}").as_json()["headers"]

    assert shown == {"Authorization": "Klaviyo-API-Key ***", "X-Api-Key": "***", "revision": "2026-07-15"}
