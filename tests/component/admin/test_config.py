"""An org's configuration as files: planned, applied, written out, and the same again."""

import pytest
from pydantic import SecretStr

from shared.admin.errors import Conflict, Forbidden
from shared.admin.exports import exports
from shared.admin.orgs import content_rules
from shared.admin.sources import sources
from shared.admin.templates import settings as template_settings
from shared.admin.templates import templates
from shared.admin.variants import saving as variant_saving
from shared.admin.variants import variants
from shared.admin.yaml_text import one_document
from tests.component.admin.config_files import HOST_KEY, PRIVATE_KEY, applied, files, refused, shown
from tests.component.admin.rig import START, Rig

ORG = f"""
org:
  slug: acme
  name: Acme Coffee
  time_zone: Europe/Berlin
rules:
  review_required: false
  banned_words: [cheap]
  end_dates: {{welcome: 2027-01-31}}
attributes:
  plan:
    kind: string
    options: {{pro: [professional], free: []}}
    default: free
sources:
  - name: events
    host: sftp.example.com
    user: acme
    host_key: {HOST_KEY}
    mapping: {{profile_id: Person}}
export:
  bucket: acme-records
  prefix: justai
  access_key: AKIAACME
"""
WELCOME = """
template_id: welcome
name: Welcome
state: active
delay_s: 120
flow: {flow_id: FLOW01, treatment_action_id: "70000012"}
policy: {model: thompson, half_life_days: 14}
split: {method: random, control_ratio: 0.1}
control:
  subject: Hello
  body: |
    <p>Hello</p>
    <p>from Acme</p>
variants:
  - name: Warm
    theme: warmth
    approved: true
    subject: "Hi {{ first_name | default: 'you' }}"
    body: "<p>Good to have you with us, the roastery is warm.</p>"
  - name: Draft
    subject: Ten beans for the asking
    body: "<p>Pick ten of them and tell nobody about it at all.</p>"
"""
SECOND = """
template_id: winback
name: Win back
control: {subject: Come back, body: <p>Come back</p>}
"""


async def state_of(acme: Rig, variant: str) -> str:
    found = await acme.run(variants.list_variants, {"template_id": "welcome"})
    return {one.name: one.state for one in found.variants}[variant]


async def test_an_org_that_is_written_out_and_applied_to_an_empty_one_is_written_out_alike(acme: Rig) -> None:
    await applied(acme, ORG, f"{WELCOME}---{SECOND}")
    first = await shown(acme)

    empty = await acme.other()
    done = await applied(empty, first.replace("slug: acme", "slug: other").replace("bucket: acme", "bucket: other"))

    again = (await shown(empty)).replace("slug: other", "slug: acme").replace("bucket: other", "bucket: acme")
    assert again == first
    assert (await applied(acme, first)).changes == (await applied(empty, await shown(empty))).changes == []
    assert [(one.kind, one.name, one.what) for one in done.changes] == [
        ("org", "other", "change"), ("rules", "other", "change"), ("attributes", "other", "create"),
        ("template", "welcome", "create"), ("variant", "welcome / Draft", "create"),
        ("variant", "welcome / Warm", "create"), ("template", "winback", "create"), ("source", "events", "create"),
        ("export", "other-records", "create"),
    ]  # fmt: skip


async def test_a_plan_names_each_field_and_changes_nothing(acme: Rig) -> None:
    await applied(acme, ORG, WELCOME)
    before = await acme.rows("SELECT count(*) FROM audit_log")
    changed = WELCOME.replace("delay_s: 120", "delay_s: 180").replace("from Acme", "from all of us").replace(
        "Hi {{", "Hey {{"
    )  # fmt: skip

    plan = await applied(acme, changed, dry_run=True)

    [template, variant] = plan.changes
    assert [(one.field, one.before, one.after) for one in template.fields[:1]] == [("delay_s", "120", "180")]
    assert template.fields[1].field == "control.body"
    assert template.fields[1].lines == [
        "@@ -1,2 +1,2 @@",
        " <p>Hello</p>",
        "-<p>from Acme</p>",
        "+<p>from all of us</p>",
    ]
    assert template.notes == ["its email snippet changes: paste it into Klaviyo again"]
    assert [one.field for one in variant.fields] == ["subject"]
    assert variant.notes == ["is approved"]
    assert (plan.same, plan.changed) == (1, False)
    assert await acme.rows("SELECT count(*) FROM audit_log") == before
    assert (await applied(acme, ORG, WELCOME, dry_run=True)).changes == []


async def test_another_place_for_exports_is_noted_and_begins_with_what_was_exported(acme: Rig) -> None:
    await applied(acme, "export: {bucket: records, prefix: jai}")
    await acme.rows(
        "INSERT INTO export_hours (org_id, table_name, hour, reason, due_at, exported_seq) "
        "VALUES ($1, 'generations', $2, 'schedule', $2, 1)", acme.org_id, START,
    )  # fmt: skip

    daily = await applied(acme, "export: {bucket: records, prefix: jai, cadence: hourly}")
    settled = await acme.rows("SELECT 1 FROM export_hours WHERE dirty_seq > exported_seq")
    moved = await applied(acme, "export: {bucket: records, prefix: new, cadence: hourly}")

    assert (daily.changes[0].notes, settled) == ([], [])
    assert "all hours that we still have" in moved.changes[0].notes[0]
    assert await acme.rows("SELECT epoch FROM export_hours WHERE dirty_seq > exported_seq") == [{"epoch": 1}]


async def test_every_change_stands_in_the_audit_log_by_what_did_it(acme: Rig) -> None:
    await applied(acme, ORG, WELCOME)

    rows = await acme.rows("SELECT operation, target FROM audit_log ORDER BY audit_id")

    assert [row["operation"] for row in rows] == [
        "orgs.rename", "orgs.zone", "rules.set", "attributes.set", "templates.import", "variants.save", "variants.save",
        "sources.set", "exports.target", "config.apply",
    ]  # fmt: skip
    assert await acme.rows("SELECT 1 FROM audit_log WHERE asked::text LIKE '%PRIVATE KEY%'") == []
    await applied(acme, ORG, WELCOME)
    assert len(await acme.rows("SELECT 1 FROM audit_log")) == len(rows)


async def test_what_no_file_names_stays_unless_it_is_pruned(acme: Rig) -> None:
    await applied(acme, ORG, WELCOME, SECOND)
    less = WELCOME[: WELCOME.index("  - name: Draft")]

    kept = await applied(acme, less)
    pruned = await applied(acme, less, prune=True)

    assert kept.changes == []
    assert [(one.kind, one.name, one.what) for one in pruned.changes] == [
        ("variant", "welcome / Draft", "archive"), ("template", "winback", "archive"),
    ]  # fmt: skip
    assert (await applied(acme, less, prune=True)).changes == []
    assert "winback" in await shown(acme)
    assert await refused(acme, ORG, prune=True) == ["prune: the files name no template: all of them would be archived"]


async def test_secrets_stay_where_they_are_and_missing_ones_are_named(acme: Rig) -> None:
    first = await applied(acme, ORG)
    [source] = await acme.rows("SELECT * FROM sources")

    await acme.run(sources.set_source, sources.SetSource(name="events", private_key=SecretStr(PRIVATE_KEY)))
    await acme.run(
        exports.set_target,
        exports.SetTarget(
            bucket="acme-records", prefix="justai", access_key="AKIAACME", secret_key=SecretStr("s3cret")
        ),
    )
    sealed = await acme.rows("SELECT sealed_key, sealed_secret FROM sources, export_targets")
    later = await applied(acme, ORG.replace("user: acme", "user: other").replace("prefix: justai", "prefix: more"))

    assert first.to_do == [
        "set our private key of the source events",
        "set the secret of the access key AKIAACME of the export bucket",
    ]
    assert source["refused_at"] is not None
    assert source["last_error"] == "Our private key is not set yet."
    assert [one.kind for one in later.changes] == ["source", "export"]
    assert later.to_do == []
    assert await acme.rows("SELECT sealed_key, sealed_secret FROM sources, export_targets") == sealed
    another = await applied(acme, ORG.replace("AKIAACME", "AKIAOTHER"))
    assert another.to_do == ["set the secret of the access key AKIAOTHER of the export bucket"]
    assert await acme.rows("SELECT sealed_secret FROM export_targets") == [{"sealed_secret": ""}]


async def test_where_reviews_are_required_a_file_only_proposes(acme: Rig) -> None:
    await applied(acme, ORG.replace("review_required: false", "review_required: true"), WELCOME)
    assert await state_of(acme, "Warm") == "in review"
    await acme.run(variants.approve, {"template_id": "welcome", "variant": "Warm"}, "reviewer", "Bob")

    changed = WELCOME.replace("Hi {{", "Hey {{")
    done = await applied(acme, changed, role="editor", name="Cleo")

    assert done.changes[0].notes == ["goes into review: somebody else has to approve it; what is approved stays served"]
    assert await state_of(acme, "Warm") == "live; version 2 in review"
    assert (await applied(acme, changed, role="editor")).changes == []


async def test_a_draft_beside_an_approved_version_is_left_alone(acme: Rig) -> None:
    await applied(acme, ORG, WELCOME)
    draft = {"template_id": "welcome", "variant": "Warm", "subject": "Quite another one", "body": "<p>Other</p>"}
    await acme.run(variant_saving.save, {**draft, "theme": "warmth"})

    done = await applied(acme, await shown(acme))

    assert done.changes == []
    assert await state_of(acme, "Warm") == "live; version 2 draft"


async def test_what_the_guardrail_paused_is_neither_resumed_nor_withdrawn(acme: Rig) -> None:
    await applied(acme, ORG, WELCOME)
    async with acme.database.transaction() as connection:
        await connection.execute("UPDATE variants SET state = 'paused' WHERE name = 'Warm'")

    assert (await applied(acme, WELCOME)).changes == []
    assert (await applied(acme, await shown(acme))).changes == []
    assert await state_of(acme, "Warm") == "paused"


@pytest.mark.parametrize(
    ("said", "before", "after"),
    [
        ("", "live", "live"),
        ("    approved: false\n", "live", "draft"),
    ],
)
async def test_only_approved_false_takes_away_what_is_served(acme: Rig, said: str, before: str, after: str) -> None:
    await applied(acme, ORG, WELCOME)
    assert await state_of(acme, "Warm") == before
    text = WELCOME.replace("    approved: true\n", said)

    await applied(acme, text)

    assert await state_of(acme, "Warm") == after
    assert (await applied(acme, text)).changes == []


async def test_an_archived_variant_that_a_file_names_comes_back(acme: Rig) -> None:
    await applied(acme, ORG, WELCOME)
    for name in ("Warm", "Draft"):
        await acme.run(variants.archive, {"template_id": "welcome", "variant": name})

    await applied(acme, WELCOME)

    assert (await state_of(acme, "Warm"), await state_of(acme, "Draft")) == ("live", "draft")
    assert (await applied(acme, WELCOME)).changes == []


async def test_an_offer_that_ended_does_not_stop_what_is_served_already(acme: Rig) -> None:
    await applied(acme, ORG, WELCOME)
    strict = ORG.replace("banned_words: [cheap]", "banned_words: [cheap, roastery]")

    same = await applied(acme, strict, WELCOME)
    faults = await refused(acme, WELCOME.replace("Hi {{", "Hey {{"))

    assert [one.kind for one in same.changes] == ["rules"]
    assert faults == [
        'file1.yaml:19: template welcome, variant "Warm", body, line 1: '
        'says "roastery", a word that the org has banned; leave it out'
    ]


async def test_all_that_is_wrong_is_said_at_once_by_file_line_and_field(acme: Rig) -> None:
    org = "org: {time_zone: Mars/Base}\nsources:\n  - name: x\n    private_key: secret\nrulez: {}\n"
    template = WELCOME.replace("delay_s: 120", "delay_s: soon").replace("name: Draft", "nam: Draft")

    faults = await refused(acme, org, template, "a: [", WELCOME + "---" + WELCOME, "- 1")

    assert [fault.split(": ", 1)[0] for fault in faults] == [
        "file1.yaml:1", "file1.yaml:4", "file1.yaml:5", "file2.yaml:5", "file2.yaml:20", "file2.yaml:20",
        "file3.yaml:2", "file4.yaml:24", "file5.yaml:1",
    ]  # fmt: skip
    assert "org.time_zone: 'Mars/Base' is no time zone; it is called like Europe/Berlin" in faults[0]
    assert "sources.0: private_key: is a secret, which must not stand in a file; set it by hand, once" in faults[1]
    assert faults[2].endswith("rulez: is no field of a configuration file; is it misspelled?")
    assert faults[3].endswith("template welcome, delay_s: must be a whole number")
    assert "stands in file4.yaml:2, too; keep one of them" in faults[7]
    assert await acme.rows("SELECT 1 FROM templates") == []


async def test_files_of_another_org_are_refused(acme: Rig) -> None:
    other = await acme.other()

    [fault] = await refused(other, ORG)

    assert fault.startswith("org.slug: the files are for the org acme, and this is other")


async def test_an_editor_changes_copy_by_files_and_nothing_that_is_an_owners(acme: Rig) -> None:
    with pytest.raises(Forbidden, match="Changing export, org, rules, source needs the role owner; yours is editor"):
        await applied(acme, ORG, WELCOME, role="editor")
    plan = await applied(acme, ORG, WELCOME, role="editor", dry_run=True)
    await applied(acme, ORG, WELCOME)

    done = await applied(acme, ORG, WELCOME.replace("delay_s: 120", "delay_s: 60"), role="editor")

    assert (plan.allowed, done.allowed) == (False, True)
    assert [one.kind for one in done.changes] == ["template"]


async def test_a_plan_that_is_not_what_was_looked_at_is_refused(acme: Rig) -> None:
    plan = await applied(acme, ORG, WELCOME, dry_run=True)
    await applied(acme, SECOND)
    await applied(acme, ORG, WELCOME, expected=plan.plan_id)
    changed = WELCOME.replace("delay_s: 120", "delay_s: 60")
    late = await applied(acme, changed, dry_run=True)
    await acme.run(template_settings.set_template, {"template_id": "welcome", "delay_s": 90})

    with pytest.raises(Conflict, match="changed since you looked"):
        await applied(acme, changed, expected=late.plan_id)


async def test_what_fails_half_way_leaves_nothing_behind(acme: Rig) -> None:
    other = await acme.other()
    await applied(other, "export: {bucket: acme-records, prefix: justai}")

    with pytest.raises(Conflict, match="in use already"):
        await applied(acme, ORG, WELCOME)

    assert await acme.rows("SELECT 1 FROM templates") == []
    assert (await acme.run(content_rules.show_rules, {})).rules.banned_words == []
    assert await acme.rows("SELECT 1 FROM audit_log WHERE org_id = $1", acme.org_id) == []


async def test_attributes_that_no_file_names_stay(acme: Rig) -> None:
    await applied(acme, ORG)
    await applied(acme, "attributes: {orders: {kind: number, edges: [1, 5]}}")

    found = await acme.run(content_rules.show_attributes, {})

    assert list(found.attributes) == ["plan", "orders"]
    assert found.time_zone == "Europe/Berlin"


async def test_it_is_served_over_http(acme: Rig) -> None:
    url = "/api/v1/orgs/acme/config"

    plan = await acme.ask("POST", url, acme.actor(), json={"files": files(ORG, WELCOME), "dry_run": True})
    done = await acme.ask("POST", url, acme.actor(), json={"files": files(ORG, WELCOME)})
    found = await acme.ask("GET", url, acme.actor("viewer"))

    assert (plan.status, plan.body["changed"], done.body["changed"]) == (200, False, True)
    assert plan.body["changes"] == done.body["changes"]
    assert found.body["yaml"].startswith("org:\n  slug: acme\n  name: Acme Coffee\n")
    assert "template_id: welcome" in found.body["yaml"]


async def test_a_templates_own_file_is_a_configuration_too(acme: Rig) -> None:
    await acme.run(templates.import_template, {"template": {**one_document(WELCOME), "name": "Older"}})

    done = await applied(acme, WELCOME)

    assert [(one.kind, [field.field for field in one.fields]) for one in done.changes] == [("template", ["name"])]
