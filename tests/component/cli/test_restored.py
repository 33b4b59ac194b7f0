"""A restored database is told of the span that it knows nothing of."""

from datetime import UTC, datetime, timedelta

from tests.component.cli.rig import Cli

SELECT_LOSSES = "SELECT since, over_at - until AS doubted FROM losses"


def test_a_loss_is_remembered_for_as_long_as_it_is_asked(acme: Cli) -> None:
    said = acme.ok("restored", "--since", "2026-01-02T02:00", "--days", "40")

    assert said.startswith("Copy that was written between 2026-01-02 02:00")
    assert acme.rows(SELECT_LOSSES) == [
        {"since": datetime(2026, 1, 2, 2, tzinfo=UTC), "doubted": timedelta(days=40)}
    ]  # fmt: skip


def test_a_moment_that_is_still_to_come_is_refused(acme: Cli) -> None:
    assert "still to come" in acme.error("restored", "--since", "2999-01-01T00:00")
    assert acme.rows(SELECT_LOSSES) == []
