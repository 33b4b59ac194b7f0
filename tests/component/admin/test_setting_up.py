"""What is set up of an org, and what is next, from nothing to the first right email."""

from shared.admin.access import keys
from shared.admin.operation import Nothing
from shared.admin.orgs import setting_up
from shared.admin.orgs.setting_up import SetUp
from shared.admin.templates import settings as template_settings
from shared.admin.templates import writing as template_writing
from shared.admin.variants import saving as variant_saving
from shared.admin.variants import variants
from tests.component.admin.rig import Rig
from tests.support.operations import Facts

INSERT_STEP = """
    INSERT INTO flow_messages (org_id, flow_id, flow_name, flow_status, action_id, message_id, message_name, delay_s,
        synced_at)
    VALUES ($1, 'FLOW01', 'Welcome', 'live', '7', 'M7', 'Email', $2, now())
"""
CONTROL = {"subject": "Hello", "body": "<p>Hello.</p>"}
COPY = {"template_id": "welcome", "variant": "Warm", "subject": "Hi", "body": "<p>Hi.</p>"}


async def set_up(acme: Rig) -> SetUp:
    return await acme.run(setting_up.show, Nothing())


def left(found: SetUp) -> list[str]:
    return [one.name for one in found.steps if not one.done]


async def test_each_step_is_done_by_what_it_asks_for_and_the_first_that_is_left_is_next(acme: Rig) -> None:
    facts = Facts(acme.database, acme.org_id, acme.clock.now())
    nothing = await set_up(acme)

    await facts.account()
    await acme.run(keys.create, keys.CreateKey(name="webhook"))
    await acme.run(template_writing.create, {"template_id": "welcome", "name": "Welcome", **CONTROL})
    made = await set_up(acme)
    await facts.execute(INSERT_STEP, acme.org_id, None)
    place = {"template_id": "welcome", "flow_id": "FLOW01", "treatment_action_id": "7"}
    await acme.run(template_settings.set_template, place)
    await acme.run(variant_saving.save, COPY)
    await acme.run(variants.submit, {"template_id": "welcome", "variant": "Warm"}, name="Ada")
    written = await set_up(acme)
    await acme.run(variants.approve, {"template_id": "welcome", "variant": "Warm"}, name="Grace")
    await acme.run(template_settings.set_state, {"template_id": "welcome", "state": "active"})
    live = await set_up(acme)
    await facts.execute("UPDATE flow_messages SET delay_s = 180")
    await facts.generation("01A", outcome=None)
    waiting = await set_up(acme)
    await facts.generation("01B")
    right = await set_up(acme)

    assert len(left(nothing)) == len(nothing.steps) == 11
    assert (nothing.next, nothing.ready) == ("klaviyo", False)
    assert [one.name for one in nothing.steps if one.waits] == [
        "flow",
        "variants",
        "approval",
        "paste",
        "live",
        "right",
    ]
    assert (made.next, made.template_id) == ("flow", "welcome")
    assert (written.next, written.in_review) == ("approval", 1)
    assert left(live) == ["paste", "right", "source", "export"]
    assert (waiting.next, waiting.ready) == ("right", True)
    assert (left(right), right.next) == (["source", "export"], "source")


async def test_what_another_org_has_counts_for_nothing(acme: Rig) -> None:
    other = await acme.other()
    facts = Facts(other.database, other.org_id, other.clock.now())
    await facts.account()
    await facts.generation("01A")
    await other.run(keys.create, keys.CreateKey(name="webhook"))

    assert len(left(await set_up(acme))) == 11
