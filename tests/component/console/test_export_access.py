"""Pages of the export: the policies to copy, who writes, and the switch."""

import re

import pytest

from shared.admin.exports import exports
from shared.admin.exports import switch as export_switch
from tests.component.console.browser import Browser, answer
from tests.support.console import Stage
from tests.support.templates import do

ROLE = "arn:aws:iam::111122223333:role/exports"


@pytest.fixture
async def ann(stage: Stage, visitor: Browser) -> Browser:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    return visitor


async def test_the_policies_of_the_orgs_own_bucket_can_be_copied(stage: Stage, ann: Browser) -> None:
    nowhere = await ann.get("/acme/integration/export/access")
    saved = await ann.post("/acme/integration/export", bucket="records", prefix="jai", role_arn=ROLE, bucket_owner="")
    page = await ann.get("/acme/integration/export/access?keep_days=400")
    wrong = await ann.get("/acme/integration/export/access?keep_days=soon")

    target = await do(stage, "acme", exports.show, {})
    assert (nowhere.status, saved.status, page.status, wrong.status) == (200, 303, 200, 422)
    assert "No export bucket yet" in nowhere.words
    assert target.external_id in page.html
    assert "arn:aws:s3:::records/jai/*" in page.html
    assert "JUSTAI_EXPORT_PRINCIPAL" in page.words  # nobody has said it here
    assert re.search(r"Days&#34;: 400", page.html)
    assert len(re.findall("data-copy-button", page.html)) == 3  # id, permissions, life cycle


async def test_what_cannot_be_is_told_beside_its_field(ann: Browser) -> None:
    page = await ann.post(
        "/acme/integration/export", bucket="records", bucket_owner="12", encryption="bucket", region="eu-west-1"
    )

    assert page.status == 422
    assert "Bucket owner is the number of an AWS account, 12 digits." in page.words


async def test_exports_are_switched_off_after_asking_back_and_on_again(stage: Stage, ann: Browser) -> None:
    await ann.post("/acme/integration/export", bucket="records")

    asked = await ann.post("/acme/operations/exports/off")
    before = await do(stage, "acme", export_switch.show_state, {})
    done = await ann.post("/acme/operations/exports/off", **answer(asked))
    off = await do(stage, "acme", export_switch.show_state, {})
    page = await ann.get("/acme/operations/exports")
    await ann.post("/acme/operations/exports/on")
    on = await do(stage, "acme", export_switch.show_state, {})

    assert (asked.status, done.status) == (200, 303)
    assert "nobody who is deleted is taken out of it" in asked.words
    assert [one.enabled for one in (before, off, on)] == [True, False, True]
    assert "Exports are off" in page.words
    assert "Switch exports on" in page.words
    assert "Export the range" not in page.words


async def test_exports_are_given_up_after_asking_back_and_only_by_an_owner(stage: Stage, ann: Browser) -> None:
    await ann.post("/acme/integration/export", bucket="records")

    page = await ann.get("/acme/operations/exports")
    asked = await ann.post("/acme/operations/exports/remove")
    done = await ann.post("/acme/operations/exports/remove", **answer(asked))
    after = await ann.get("/acme/operations/exports")

    assert "Give exports up" in page.words
    assert (asked.status, done.status) == (200, 303)
    assert "nobody who is deleted is taken out of it" in asked.words
    assert "There is no export to s3://records any more" in after.words
    assert "There is no export target yet" in after.words
