"""Our counts beside Klaviyo's, as they are shown."""

from datetime import timedelta

import pytest

from shared.admin.errors import NotFound
from shared.admin.sources import reconciliation
from tests.component.admin.rig import START, Rig


async def connect(rig: Rig) -> None:
    await rig.rows(
        "INSERT INTO integrations (org_id, account_key, base_url, sealed_key, last4, scopes, verified_at, updated_at)"
        " VALUES ($1, 'acct:A', 'https://a.klaviyo.com', 's', 'abcd', '{}', $2, $2)",
        rig.org_id, START,
    )  # fmt: skip


async def compared(rig: Rig, *rows: tuple[str, str, int, int, str]) -> None:
    """A comparison with these messages, measures, both numbers and causes."""
    since, until = START - timedelta(days=7), START
    await rig.rows(
        "INSERT INTO reconcile_orgs (org_id, due_at, tried_at, compared_at, sent_since, sent_until, happened_since,"
        " happened_until) VALUES ($1, $2, $2, $2, $3, $4, $3, $4)",
        rig.org_id, START, since, until,
    )  # fmt: skip
    for message_id, measure, ours, theirs, cause in rows:
        await rig.rows(
            "INSERT INTO reconciliations (org_id, compared_at, basis, message_id, measure, ours, theirs, cause)"
            " VALUES ($1, $2, 'sent', $3, $4, $5, $6, $7)",
            rig.org_id, START, message_id, measure, ours, theirs, cause,
        )  # fmt: skip


async def test_the_largest_difference_comes_first_with_its_cause_in_words(acme: Rig) -> None:
    await connect(acme)
    await acme.rows(
        "INSERT INTO flow_messages VALUES ($1, 'F', 'Welcome', 'live', 'A', 'M2', 'Mail 2', 1, $2)", acme.org_id, START
    )
    await compared(
        acme,
        ("M1", "delivered", 10, 10, "agrees"), ("M1", "opens", 5, 9, "file_late"),
        ("M2", "opens", 5, 50, "a_newer_one"),
    )  # fmt: skip

    some = await acme.run(reconciliation.totals, {}, role="viewer")
    everything = await acme.run(reconciliation.totals, {"all": True}, role="viewer")

    assert [(one.message_id, one.says) for one in some.rows] == [("M2", "a_newer_one"), ("M1", "File late")]
    assert (some.rows[0].message_name, some.rows[0].flow_name) == ("Mail 2", "Welcome")
    assert (some.compared, some.differing, len(everything.rows)) == (3, 2, 3)


async def test_nobody_sees_another_orgs_totals(acme: Rig) -> None:
    other = await acme.other()
    for rig in (acme, other):
        await connect(rig)
    await compared(other, ("M1", "opens", 5, 9, "file_late"))

    assert (await acme.run(reconciliation.totals, {})).rows == []


async def test_without_a_connection_there_is_nothing_to_compare(acme: Rig) -> None:
    with pytest.raises(NotFound, match="Not connected"):
        await acme.run(reconciliation.totals, {})
    with pytest.raises(NotFound, match="Not connected"):
        await acme.run(reconciliation.compare, {})


async def test_asking_for_a_comparison_makes_the_org_due(acme: Rig) -> None:
    await connect(acme)
    await compared(acme)
    await acme.rows("UPDATE reconcile_orgs SET due_at = $1", START + timedelta(hours=1))

    await acme.run(reconciliation.compare, {}, role="editor")

    assert (await acme.rows("SELECT due_at FROM reconcile_orgs")) == [{"due_at": None}]
