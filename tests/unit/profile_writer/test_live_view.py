"""The dashboard's view of all accounts."""

from datetime import UTC, datetime, timedelta

from services.profile_writer.upkeep.live_view import Quota, Waiting, live_view

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def test_lanes_are_added_up_and_the_worst_account_is_shown() -> None:
    view = live_view(
        [
            Waiting("a", 1, 1_500, NOW + timedelta(seconds=30)),
            Waiting("a", 3, 750, None),
            Waiting("b", 1, 10, NOW - timedelta(seconds=4)),
        ],
        [Quota("a", 600, 750, 750.0), Quota("b", 30, 750, 600.0)],
    )
    assert view.waiting == {1: 1_510, 3: 750}
    assert view.overdue_s(NOW) == 4
    assert view.used_ratio == 0.8
    assert view.drain_s == 180


def test_nothing_waits_and_nobody_was_served() -> None:
    view = live_view([], [])
    assert (view.waiting, view.overdue_s(NOW), view.used_ratio, view.drain_s) == ({}, 0, 0, 0)


def test_an_account_whose_quota_others_eat_whole_drains_in_some_time() -> None:
    assert live_view([Waiting("a", 1, 60, NOW)], [Quota("a", 0, 750, -10.0)]).drain_s == 3_600
