"""A step that names the version it was decided on is not taken about another one."""

import pytest

from shared.admin.errors import Conflict
from shared.admin.operation import Operation
from shared.admin.templates import templates
from shared.admin.variants import saving as variant_saving
from shared.admin.variants import variants
from shared.admin.variants.variants import Step, Stepped
from tests.component.admin.rig import Rig

WARM = {"template_id": "welcome", "variant": "Warm"}
BODY = "<p>Hello, come in.</p>"


async def saved(acme: Rig, subject: str, *, submit: bool) -> None:
    await acme.run(variant_saving.save, {**WARM, "subject": subject, "body": BODY})
    if submit:
        await acme.run(variants.submit, WARM)


@pytest.fixture
async def shop(acme: Rig) -> Rig:
    """Version 1 is approved."""
    file = {
        "template_id": "welcome", "name": "Welcome",
        "control": {"subject": "Welcome", "preheader": "", "body": "<p>Welcome.</p>"},
        "variants": [{"name": "Warm", "approved": True, "subject": "One", "body": BODY}],
    }  # fmt: skip
    await acme.run(templates.import_template, {"template": file})
    return acme


@pytest.mark.parametrize("step", [variants.submit, variants.approve, variants.reject])
async def test_what_waits_is_the_version_that_was_seen_or_nothing_is_done(
    shop: Rig, step: Operation[Step, Stepped]
) -> None:
    await saved(shop, "Two", submit=step is not variants.submit)
    await saved(shop, "Three", submit=step is not variants.submit)

    with pytest.raises(Conflict) as refused:
        await shop.run(step, {**WARM, "version": 2, "comment": "seen"})
    done = await shop.run(step, {**WARM, "version": 3, "comment": "seen"})

    assert refused.value.code == "changed"
    assert done.version == 3


async def test_what_is_served_is_the_version_that_was_seen_or_nothing_is_taken_back(shop: Rig) -> None:
    await saved(shop, "Two", submit=False)
    await shop.run(variants.approve, WARM)

    done = await shop.run(variants.rollback, {**WARM, "version": 2})
    for step in (variants.rollback, variants.archive):
        with pytest.raises(Conflict) as refused:
            await shop.run(step, {**WARM, "version": 2})
        assert refused.value.code == "changed"

    assert done.version == 1
    assert (await shop.run(variants.show, WARM)).approved_version == 1


async def test_where_nothing_waits_any_more_that_is_what_is_said(shop: Rig) -> None:
    with pytest.raises(Conflict, match="no newer version than the one that is approved"):
        await shop.run(variants.approve, {**WARM, "version": 2})
