"""An org whose operations can be run."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from uuid import uuid4

import pytest

from services.ingest.counting.shown import StoredShownCounts
from shared.admin.templates import templates
from shared.db.pool import open_database
from tests.component.admin.draft_stage import DRAFTING, TEMPLATE, Held
from tests.component.admin.rig import START, Rig, Servers, new_org
from tests.component.admin.shown import AT_ONCE
from tests.support.drafting import draft
from tests.support.llm import FakeModel, completion, fake_model
from tests.support.operations import Facts


@pytest.fixture
async def acme(database_url: str) -> AsyncIterator[Rig]:
    async with open_database(database_url, name="admin-test", max_size=4) as database, AsyncExitStack() as stack:
        yield Rig(database, await new_org(database, "acme"), servers=Servers(stack))


@pytest.fixture
async def shop(acme: Rig) -> Rig:
    """An org with a model and a template."""
    rig = replace(acme, drafting=DRAFTING)
    await rig.run(templates.import_template, {"template": {**TEMPLATE}})
    return rig


@pytest.fixture
def model() -> Iterator[FakeModel]:
    """One that drafts at once."""
    with fake_model(*(completion(draft(number)) for number in range(3))) as server:
        yield server


@pytest.fixture
def held() -> Iterator[Held]:
    """One whose first answer waits."""
    one = Held(completion(draft(0)), completion(draft(1)))
    yield one
    one.let_go()


@pytest.fixture
def counts(acme: Rig) -> StoredShownCounts:
    """What emails showed, counted as soon as it is known."""
    return StoredShownCounts(acme.database, uuid4, AT_ONCE)


@pytest.fixture
def facts(acme: Rig) -> Facts:
    return Facts(acme.database, acme.org_id, START)
