"""What operations do that no command did before: each area's own refusals, and walls between orgs."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from shared.admin import stops
from shared.admin.errors import AdminError, Conflict, Forbidden, NotFound, Refused
from shared.admin.operation import Operation
from shared.admin.orgs import orgs
from shared.admin.outcomes import outcomes
from shared.admin.person import why
from shared.admin.queues import quota
from shared.admin.registry import REGISTRY
from shared.admin.sources import accepting as source_accepting
from shared.admin.sources import files as source_files
from shared.admin.sources import sources
from shared.admin.sources import trying as source_trying
from shared.admin.templates import pasting, templates
from shared.admin.templates import settings as template_settings
from shared.admin.variants import saving as variant_saving
from shared.admin.variants import variants
from shared.crypto import KeyRing
from tests.component.admin.rig import START, Rig, Silent
from tests.component.cli.rig import KEY

TEMPLATE: Mapping[str, Any] = {
    "template_id": "welcome",
    "name": "Welcome",
    "control": {"subject": "Control", "body": "<p>Control</p>"},
    "variants": [
        {"name": "Warm", "subject": "Hello", "preheader": "A preheader that is long enough", "body": "<p>Warm</p>"}
    ],
}

PLACE = {"flow_id": "FLOW01", "treatment_action_id": "70000012"}


@pytest.fixture
async def shop(acme: Rig) -> Rig:
    """An org with one template in draft, with one variant in draft."""
    await acme.run(templates.import_template, {"template": dict(TEMPLATE)}, name="Ada")
    return acme


async def read_flow(acme: Rig, *action_ids: str) -> None:
    for action_id in action_ids:
        await acme.rows(
            "INSERT INTO flow_messages (org_id, flow_id, flow_name, flow_status, action_id, message_id, message_name, "
            "delay_s, synced_at) VALUES ($1, 'FLOW01', 'Welcome', 'live', $2, 'M' || $2, 'Email', 180, $3)",
            acme.org_id, action_id, START,
        )  # fmt: skip


async def changes(acme: Rig) -> list[str]:
    return [row["operation"] for row in await acme.rows("SELECT operation FROM audit_log ORDER BY audit_id")]


async def test_a_template_is_placed_in_its_flow_and_activated_once_there_is_something_to_serve(shop: Rig) -> None:
    await read_flow(shop, "70000012", "70000013")
    place = {**PLACE, "control_action_id": "70000013"}
    activate = {"template_id": "welcome", "state": "active"}

    with pytest.raises(Refused, match="has no flow message yet"):
        await shop.run(template_settings.set_state, activate)
    placed = await shop.run(template_settings.set_template, {"template_id": "welcome", **place})
    with pytest.raises(Refused, match="has no approved variant yet"):
        await shop.run(template_settings.set_state, activate)
    await shop.run(variants.approve, {"template_id": "welcome", "variant": "Warm"}, "reviewer", "Grace")
    active = await shop.run(template_settings.set_state, activate)

    assert (placed.changed, placed.snippet_changed, placed.template.flow_delay_s) == (True, True, 180)
    assert active.template.state == "active"
    assert [variant.name for variant in active.template.variants] == ["Warm"]
    assert await changes(shop) == ["templates.import", "templates.set", "variants.approve", "templates.state"]
    webhook = await shop.run(pasting.webhook, {"template_id": "welcome"}, "viewer")
    assert "FLOW01.70000012" in webhook.body


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"flow_id": "FLOW01"}, "treatment_action_id"),
        ({"treatment_action_id": "70000012"}, "flow_id"),
        ({"control_action_id": "70000012"}, "control_action_id"),
        ({"flow_id": "FLOW01", "treatment_action_id": "70000099"}, "treatment_action_id"),
        ({**PLACE, "control_action_id": "7"}, "control_action_id"),
        ({**PLACE, "control_action_id": "70000012"}, "control_action_id"),
        ({"property_prefix": "Jai"}, "property_prefix"),
        ({"delay_s": 0}, "delay_s"),
        ({"name": " "}, "name"),
    ],
)
async def test_a_place_that_cannot_be_is_refused_by_its_field(shop: Rig, given: dict[str, Any], field: str) -> None:
    await read_flow(shop, "70000012")

    with pytest.raises(Refused) as refused:
        await shop.run(template_settings.set_template, {"template_id": "welcome", **given})

    assert refused.value.field == field
    assert await changes(shop) == ["templates.import"]


async def test_what_is_as_it_was_is_no_change_and_stands_in_no_log(shop: Rig) -> None:
    again = await shop.run(templates.import_template, {"template": dict(TEMPLATE)})
    same = await shop.run(template_settings.set_template, {"template_id": "welcome", "name": "Welcome"})
    draft = await shop.run(template_settings.set_state, {"template_id": "welcome", "state": "draft"})

    assert (again.changed, same.changed, draft.changed) == (False, False, False)
    assert await changes(shop) == ["templates.import"]


async def test_a_template_with_faults_names_each_by_its_place(shop: Rig) -> None:
    wrong = {**TEMPLATE, "state": "live", "variants": [{"name": "Warm", "subject": "{{ name }}", "body": "<p>x</p>"}]}

    with pytest.raises(Refused) as refused:
        await shop.run(templates.import_template, {"template": wrong})

    assert [fault.field for fault in refused.value.faults] == ["state", 'variant "Warm", subject, line 1']


async def test_whoever_submitted_a_variant_may_not_approve_it_where_reviews_are_required(shop: Rig) -> None:
    await shop.rows("UPDATE orgs SET review_required = true")
    warm = {"template_id": "welcome", "variant": "Warm"}

    await shop.run(variants.submit, warm, "editor", "Ada")
    with pytest.raises(Conflict) as refused:
        await shop.run(variants.approve, warm, "owner", "Ada")
    with pytest.raises(Refused, match="say why"):
        await shop.run(variants.reject, {**warm, "comment": " "}, "reviewer", "Grace")
    approved = await shop.run(variants.approve, warm, "reviewer", "Grace")

    assert refused.value.code == "not_allowed"
    assert approved.state == "approved"
    events = (await shop.run(variants.history, warm, "viewer")).events
    assert [(one.event, one.actor) for one in events] == [
        ("written", "Ada"), ("submitted", "Ada"), ("approved", "Grace"),
    ]  # fmt: skip


async def test_a_variant_that_its_checks_stop_says_all_that_they_found(shop: Rig) -> None:
    await shop.rows('INSERT INTO content_rules SELECT org_id, \'{"banned_words": ["hello"]}\', created_at FROM orgs')

    checked = await shop.run(variants.check, {"template_id": "welcome", "variant": "Warm"}, "reviewer")
    with pytest.raises(variants.Blocked) as blocked:
        await shop.run(variants.approve, {"template_id": "welcome", "variant": "Warm"})

    assert (checked.passes, checked.changed) == (False, False)
    assert blocked.value.findings == checked.findings
    assert blocked.value.faults[0].field.startswith('variant "Warm", subject')


async def test_saving_a_variant_proposes_it_and_what_is_approved_stays_served(shop: Rig) -> None:
    warm = {"template_id": "welcome", "variant": "Warm"}
    await shop.run(variants.approve, warm)
    new = {"subject": "Good morning", "preheader": "A preheader that is long enough", "body": "<p>Warmer</p>"}

    saved = await shop.run(variant_saving.save, {**warm, **new}, "editor", "Grace")
    again = await shop.run(variant_saving.save, {**warm, **new}, "editor", "Grace")
    other = await shop.run(variant_saving.save, {**warm, **new, "variant": "Cold", "subject": "Brr"}, "editor")

    assert (saved.what, saved.state) == ("new version", "approved; version 2 draft")
    assert (again.what, again.changed) == ("unchanged", False)
    assert (other.what, other.state) == ("created", "draft")
    shown = await shop.run(variants.show, warm, "viewer")
    assert (shown.approved_version, shown.shown.author, shown.shown.body) == (1, "Grace", "<p>Warmer</p>")
    assert (await changes(shop))[-2:] == ["variants.save", "variants.save"]


@pytest.mark.parametrize(
    ("texts", "field"),
    [
        ({"subject": "", "body": "<p>x</p>"}, "subject"),
        ({"subject": "Two\nlines", "body": "<p>x</p>"}, "subject"),
        ({"subject": "Hi", "body": "<p>{{ name </p>"}, "body"),
        ({"subject": "Hi", "mjml": "<p>x</p>"}, "mjml"),
        ({"subject": "Hi"}, "body"),
    ],
)
async def test_a_variant_that_cannot_be_served_is_not_saved(shop: Rig, texts: dict[str, str], field: str) -> None:
    with pytest.raises(Refused) as refused:
        await shop.run(variant_saving.save, {"template_id": "welcome", "variant": "Warm", **texts})

    assert refused.value.field == field


async def test_an_org_has_a_zone_that_must_be_one(acme: Rig) -> None:
    found = await acme.run(orgs.set_zone, {"time_zone": "Europe/Berlin"})

    with pytest.raises(Refused) as refused:
        await acme.run(orgs.set_zone, {"time_zone": "Berlin"})

    assert found.time_zone == "Europe/Berlin"
    assert refused.value.faults[0].field == "time_zone"
    assert (await acme.run(orgs.show, {}, "viewer")).time_zone == "Europe/Berlin"


async def test_another_orgs_things_are_not_there(shop: Rig) -> None:
    other = await shop.other()
    await shop.rows(
        "INSERT INTO sources (source_id, org_id, name, host, username, host_key, sealed_key) "
        "VALUES (gen_random_uuid(), $1, 'events', 'h', 'u', 'k', 's')", shop.org_id,
    )  # fmt: skip
    warm = {"template_id": "welcome", "variant": "Warm"}
    asked: list[tuple[Operation[Any, Any], dict[str, Any]]] = [
        (templates.show, {"template_id": "welcome"}),
        (template_settings.set_template, {"template_id": "welcome", "name": "Mine"}),
        (template_settings.set_state, {"template_id": "welcome", "state": "archived"}),
        (stops.stop_template, {"template_id": "welcome"}),
        (stops.resume_template, {"template_id": "welcome"}),
        (pasting.snippet, {"template_id": "welcome"}),
        (pasting.webhook, {"template_id": "welcome"}),
        (variants.list_variants, {"template_id": "welcome"}),
        *((REGISTRY[f"variants.{step}"], warm) for step in ("show", "check", "submit", "approve", "history", "diff")),
        (sources.set_source, {"name": "events", "enabled": False}),
        (sources.rescan, {"name": "events"}),
        (source_files.list_files, {"name": "events"}),
        (source_trying.try_stored, {"name": "events"}),
        (source_trying.try_typed, {"name": "events", "port": 2222}),
        (source_trying.preview, {"name": "events"}),
        (source_files.retry, {"name": "events"}),
        (source_accepting.accept, {"name": "events", "file": "/out/a.csv"}),
    ]

    for one, wish in asked:
        with pytest.raises(AdminError) as refused:
            await other.run(one, wish)
        assert isinstance(refused.value, NotFound), one.name
    assert (await other.run(templates.list_templates, {})).templates == []
    assert (await other.run(sources.list_sources, {})).sources == []
    assert await shop.rows("SELECT DISTINCT org_id FROM audit_log") == [{"org_id": shop.org_id}]


async def test_a_listing_is_asked_for_at_once_and_a_refused_source_tried_again(acme: Rig) -> None:
    await acme.rows(
        "INSERT INTO sources (source_id, org_id, name, host, username, host_key, sealed_key, next_poll_at, refused_at) "
        "VALUES (gen_random_uuid(), $1, 'events', 'h', 'u', 'k', 's', $2, $2)", acme.org_id, START,
    )  # fmt: skip

    asked = await acme.run(sources.rescan, {"name": "events"})
    [row] = await acme.rows("SELECT source_id, next_poll_at, refused_at FROM sources")
    await acme.run(sources.set_source, {"name": "events", "enabled": False})

    assert (asked.source_id, asked.asked_at) == (row["source_id"], START)
    assert (row["next_poll_at"], row["refused_at"]) == (None, None)
    with pytest.raises(Conflict, match="is switched off"):
        await acme.run(sources.rescan, {"name": "events"})


async def test_a_key_that_is_tried_before_it_is_saved_travels_sealed(acme: Rig) -> None:
    silent = Silent()
    key = ed25519.Ed25519PrivateKey.generate()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    asked = {"host": "sftp.example", "user": "acme", "host_key": public, "private_key": text}

    tested = await replace(acme, asker=silent).run(source_trying.try_typed, asked)

    [job] = silent.jobs
    assert (tested.heard, tested.works, tested.steps) == (False, False, [])
    assert text.splitlines()[1] not in job.model_dump_json()
    assert KeyRing(KEY).open(job.typed.sealed_key, f"{acme.org_id}/source/{job.probe_id}") == text.strip()
    assert await changes(acme) == []
    with pytest.raises(Forbidden):
        await replace(acme, asker=silent).run(source_trying.try_typed, asked, "editor")


async def test_a_source_that_has_fallen_silent_says_since_when(acme: Rig) -> None:
    await acme.rows(
        "INSERT INTO sources (source_id, org_id, name, host, username, host_key, sealed_key) "
        "SELECT gen_random_uuid(), $1, name, 'h', 'u', 'k', 's' FROM unnest('{events,new}'::text[]) name", acme.org_id,
    )  # fmt: skip
    await acme.rows(
        "INSERT INTO ingest_files (file_id, org_id, source_id, path, size, mtime, state, first_seen_at, last_seen_at) "
        "SELECT gen_random_uuid(), org_id, source_id, day::text, 1, at, 'done', at, at "
        "FROM sources, generate_series(3, 8) day, LATERAL (SELECT $1::timestamptz - day * interval '1 day' AS at) m "
        "WHERE name = 'events'", START,
    )  # fmt: skip

    silent, new = (await acme.run(sources.list_sources, {})).sources

    assert (silent.silent_since, silent.usual_gap_s, silent.done) == (START - timedelta(days=3), 86_400, 6)
    assert (new.silent_since, new.usual_gap_s) == (None, None)


async def test_the_quota_of_a_shared_account_names_no_other_org(acme: Rig) -> None:
    other = await acme.other()
    await acme.rows(
        "INSERT INTO integrations (org_id, account_key, sealed_key, last4, updated_at) "
        "SELECT org_id, 'acct:X', 's', 'last', $1 FROM orgs", START,
    )  # fmt: skip
    await acme.rows("INSERT INTO klaviyo_accounts (account_key) VALUES ('acct:X')")

    for org in (acme, other):
        [account] = (await org.run(quota.show, {}, "viewer")).accounts
        assert account.orgs == [org.slug]


async def test_a_generation_of_another_org_has_no_story_here(acme: Rig) -> None:
    other, day, generation_id = await acme.other(), START.date(), uuid4()
    await acme.rows("SELECT ensure_partition('generations', $1)", day)
    await acme.rows(
        "INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, "
        "deadline_at, clean_at, decision, reason, property_prefix, written_for) "
        "VALUES ($1, $2, $3, 'welcome', '01PERSON', 'u.f.a', $4, $4, $4, 'control', 'template_draft', 'jai', 't.f.a')",
        day, generation_id, acme.org_id, START,
    )  # fmt: skip

    told = await acme.run(why.why, {"generation_id": str(generation_id)})
    [seen] = (await acme.run(outcomes.list_of_person, {"user_id": "01PERSON", "hours": 2})).generations

    assert (told.story.user_id, told.story.decided.reason) == ("01PERSON", "template_draft")
    assert (seen.generation_id, seen.shows) == (generation_id, "control, as decided")
    with pytest.raises(NotFound):
        await other.run(why.why, {"generation_id": str(generation_id)})
    with pytest.raises(NotFound, match="Nothing is stored of a person '01PERSON'"):
        await other.run(outcomes.list_of_person, {"user_id": "01PERSON", "hours": 2})
