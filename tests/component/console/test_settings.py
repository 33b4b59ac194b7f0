"""Settings pages beside what a browser shows: roles, other orgs' things."""

from uuid import uuid4

import pytest

from shared.admin.orgs import content_rules
from shared.clock import SystemClock
from shared.people.roles import Role
from tests.component.console.browser import Browser
from tests.support.console import Stage
from tests.support.templates import do

INSERT_KEY = """
    INSERT INTO api_keys (key_id, org_id, name, shown, digest, pepper, created_at)
    VALUES ($1, $2, 'theirs', '…', sha256($1::uuid::text::bytea), 1, $3)
"""
INSERT_TEMPLATES = """
    INSERT INTO templates (org_id, template_id, name, state, flow_id, treatment_action_id, created_at, updated_at)
    SELECT $1, 't' || n, 'T', 'active', 'F' || n, 'A', $2, $2 FROM generate_series(1, 1000) n
"""
INSERT_FLOWS = """
    INSERT INTO flow_messages (org_id, flow_id, flow_name, flow_status, action_id, message_id, message_name, delay_s,
                               synced_at)
    SELECT $1, 'F' || n, 'Flow ' || n, 'live', 'A', 'M' || n, 'Email', 180, $2 FROM generate_series(1, 1000) n
"""
INSERT_GENERATIONS = """
    INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, deadline_at,
                             clean_at, decision, reason, property_prefix, written_for)
    SELECT $2::timestamptz::date, gen_random_uuid(), $1, 't' || n % 1000, 'u' || n, 't', $2, $2, $2, 'treatment',
        'uniform', 'jai', 'F.A' FROM generate_series(1, 5000) n
"""
INSERT_OUTCOMES = """
    INSERT INTO write_outcomes (day, generation_id, org_id, outcome, at, attempts)
    SELECT day, generation_id, org_id, 'written', accepted_at, 1 FROM generations
"""
INSERT_SOURCE = """
    INSERT INTO sources (source_id, org_id, name, host, username, host_key, sealed_key)
    VALUES ($1, $2, 'events', 'sftp.example.com', 'acme', 'ssh-ed25519 AAAA', 'sealed')
"""


@pytest.mark.parametrize("role", ["viewer", "editor"])
async def test_only_owners_change_keys_and_connections(stage: Stage, visitor: Browser, role: Role) -> None:
    await visitor.sign_in(await stage.person("Cleo", acme=role))

    sent = [
        (await visitor.post(path)).status
        for path in ("/acme/keys", "/acme/integration", "/acme/integration/export", "/acme/integration/sources",
                     "/acme/integration/rules")
    ]  # fmt: skip

    assert sent == [403] * 5
    for path in ("/acme/keys", "/acme/integration", "/acme/integration/export", "/acme/integration/sources"):
        assert 'type="password"' not in (await visitor.get(path)).html


async def test_a_key_of_another_org_is_neither_rotated_nor_revoked(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    key_id = uuid4()
    async with stage.db.transaction() as connection:
        await connection.execute(INSERT_KEY, key_id, stage.orgs["other"], stage.now)

    rotated = await visitor.post(f"/acme/keys/{key_id}/rotate", keep_hours="0")
    revoked = await visitor.post(f"/acme/keys/{key_id}/revoke")

    assert (rotated.status, revoked.status) == (404, 404)
    assert f"No active key &#39;{key_id}&#39;." in revoked.html
    async with stage.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM api_keys WHERE revoked_at IS NULL") == 1


async def test_a_key_that_manages_the_org_is_rotated_without_a_word_of_webhooks(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    await visitor.post("/acme/keys", name="Terraform", kind="admin")
    async with stage.db.connection() as connection:
        key_id = await connection.fetchval("SELECT key_id FROM api_keys")

    asked = await visitor.get("/acme/keys")
    rotated = await visitor.post(f"/acme/keys/{key_id}/rotate", keep_hours="1")
    await visitor.post("/acme/keys", name="Flow")
    both = await visitor.get("/acme/keys")

    assert "Give the new one to whatever manages the org with it before." in rotated.words
    assert "change over whatever manages the org with it" in asked.words
    for page in (asked, rotated):
        assert "every webhook" not in page.words
    assert "change every webhook over: Klaviyo repeats" in both.words


async def test_what_a_stranger_wrote_is_shown_and_not_run(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))

    answer = await visitor.post("/acme/keys", name="<script>alert(1)</script>")

    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.html
    assert "<script>alert(1)" not in answer.html


async def test_of_a_thousand_templates_those_with_trouble_are_listed_first(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    org_id, now = stage.orgs["acme"], SystemClock().now()
    async with stage.db.transaction() as connection:
        for table in ("generations", "write_outcomes"):
            await connection.execute("SELECT ensure_partition($1, $2)", table, now.date())
        for statement in (INSERT_TEMPLATES, INSERT_FLOWS, INSERT_GENERATIONS):
            await connection.execute(statement, org_id, now)
        await connection.execute(INSERT_OUTCOMES)
        await connection.execute("UPDATE flow_messages SET flow_status = 'draft' WHERE flow_id = 'F777'")

    answer = await visitor.get("/acme/troubleshooting")

    assert "980 more are not listed here: trouble comes first." in answer.words
    assert answer.words.index("Flow &#39;Flow 777&#39;, template t777: the flow is draft") < answer.words.index("t1:")
    assert "of the newest 2,000 webhooks" in answer.words
    assert len(answer.html) < 30_000


async def test_a_broker_that_is_away_is_said_so_where_a_bucket_is_tested(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    nothing = await visitor.post("/acme/integration/export/test")
    await visitor.post("/acme/integration/export", bucket="records", role_arn="arn:aws:iam::111122223333:role/x")

    answer = await visitor.post("/acme/integration/export/test")

    assert nothing.status == 404
    assert answer.status == 200
    assert "The message broker could not be reached" in answer.words


async def test_what_is_exported_beside_the_record_is_ticked_where_it_was_said(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))

    await visitor.post(
        "/acme/integration/export", bucket="records", record="analyst", layout="hive", success_file="true",
        tables="outcomes",
    )  # fmt: skip
    shown = (await visitor.get("/acme/integration/export")).html

    async with stage.db.transaction() as connection:
        row = await connection.fetchrow("SELECT record, tables, layout, success_file FROM export_targets")
    assert row is not None
    assert tuple(row) == ("analyst", ["outcomes"], "hive", True)
    ticked = [line for line in shown.splitlines() if "checked" in line]
    assert [any(f'value="{value}"' in line for line in ticked) for value in ("analyst", "outcomes", "hive")] == [
        True
    ] * 3
    assert not any('value="variants"' in line or 'value="plain"' in line for line in ticked)


async def test_a_broker_that_is_away_is_said_so_where_a_source_is_tested(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    async with stage.db.transaction() as connection:
        await connection.execute(INSERT_SOURCE, uuid4(), stage.orgs["acme"])

    tested = await visitor.post("/acme/integration/sources/events/test")
    previewed = await visitor.get("/acme/integration/sources/events/preview")

    assert (tested.status, previewed.status) == (200, 200)
    for page in (tested, previewed):
        assert "The message broker could not be reached" in page.words
    for path in ("nothing", "nothing/preview"):
        assert (await visitor.get(f"/acme/integration/sources/{path}")).status == 404


async def test_an_owner_renames_the_org_and_nobody_else_does(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ed", acme="editor"))
    refused = await visitor.post("/acme/integration/org/name", name="Beans")
    await visitor.sign_in(await stage.person("Ann", acme="owner"))

    empty = await visitor.post("/acme/integration/org/name", name=" ")
    done = await visitor.post("/acme/integration/org/name", name="Acme Beans")
    page = await visitor.get("/acme/integration/org")

    assert (refused.status, empty.status, done.location) == (403, 422, "/acme/integration/org")
    assert "Name of the org is missing." in empty.words
    assert "It is called Acme Beans now" in page.words
    assert 'value="Acme Beans"' in page.html


async def test_rules_saved_from_an_old_page_do_not_undo_what_somebody_set_meanwhile(
    stage: Stage, visitor: Browser
) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    path = "/acme/integration/rules"
    typed = {"missing_default": "blocking", "banned_words": "cheap"}
    old = await visitor.get(path)
    await do(stage, "acme", content_rules.set_rules, {"rules": {"review_required": True}})

    refused = await visitor.post(path, **typed, **old.hidden(path))
    twice = await visitor.post(path, **typed, **refused.hidden(path))
    kept = (await do(stage, "acme", content_rules.show_rules, {})).rules
    new = await visitor.get(path)
    done = await visitor.post(path, **typed, **new.hidden(path), review_required="true")

    assert (refused.status, twice.status, done.status) == (422, 422, 303)
    assert "Nothing was saved. The rules have changed since you looked at them" in refused.words
    assert "cheap" in refused.words
    assert (kept.review_required, kept.banned_words) == (True, [])
    rules = (await do(stage, "acme", content_rules.show_rules, {})).rules
    assert (rules.review_required, rules.banned_words) == (True, ["cheap"])
