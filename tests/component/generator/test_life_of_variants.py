"""Stories of variants on a database: operations as the console and `justai` ask them, and what the generator then says.

The same stories are told to the decisions alone, and many more of them: tests/unit/content/test_life_of_variants.py.
"""

import asyncio
from collections.abc import Collection, Coroutine, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from services.generator.catalog import Catalog, OrgConfig
from services.generator.compose import asked_again, compose
from services.generator.records import Generation, Stored
from services.generator.render import Renderer
from services.generator.store import Store
from services.ranker.guard import ACTOR, INSERT_EVENT, PAUSE
from shared.admin import stops
from shared.admin.errors import Conflict, NotFound, Refused
from shared.admin.operation import Operation, R
from shared.admin.orgs import content_rules
from shared.admin.templates import templates
from shared.admin.variants import saving as variant_saving
from shared.admin.variants import variants
from shared.content.lifecycle import Action
from shared.db.pool import open_database
from shared.vars_codec import decode_vars
from tests.component.admin.rig import Rig, new_org
from tests.support.life_of_variants import Life, Said, Served
from tests.unit.generator.given import job

TEMPLATE: Final = "welcome"
PEOPLE: Final = 4
FILE: Final = {
    "template_id": TEMPLATE, "name": "Welcome", "state": "active",
    "control": {"subject": "Control", "body": "<p>Control</p>"},
}  # fmt: skip
STEPS: Final[Mapping[Action, Operation[Any, Any]]] = {
    "submit": variants.submit, "approve": variants.approve, "reject": variants.reject,
    "rollback": variants.rollback, "resume": variants.resume, "archive": variants.archive,
}  # fmt: skip
T = TypeVar("T")


class OnADatabase:
    """An org of its own for each story; nothing happens at the same moment, so that histories have an order."""

    def __init__(self, rig: Rig, loop: asyncio.AbstractEventLoop) -> None:
        self._rig, self._loop, self._stories = rig, loop, 0
        self._catalog = Catalog(Store(rig.database, rig.clock), rig.clock, max_bytes=1_000_000)
        self._renderer = Renderer(16)
        self._begun = False
        self._got: list[Generation] = []

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        self._rig.clock.at += timedelta(seconds=1)
        return self._loop.run_until_complete(work)

    def _ask(self, operation: Operation[Any, R], by: str = "Ann", **asked: Any) -> R:
        return self._run(self._rig.run(operation, asked, name=by))

    def begin(self) -> None:
        self._stories += 1
        slug = f"shop{self._stories}"
        org_id = self._run(new_org(self._rig.database, slug))
        self._rig, self._begun = Rig(self._rig.database, org_id, slug, self._rig.clock), True
        self._got = []
        self._ask(templates.import_template, template={**FILE, "variants": []})

    def save(self, name: str, text: str, by: str) -> None:
        body = f"<p>{text}</p>"
        self._ask(variant_saving.save, by, template_id=TEMPLATE, variant=name, subject=text, body=body)

    def step(self, action: Action, name: str, by: str) -> int | None:
        asked = {"template_id": TEMPLATE, "variant": name}
        try:
            if action == "check":
                return int(self._ask(variants.check, by, **asked).version)
            return int(self._ask(STEPS[action], by, **asked, comment="because").version)
        except (Conflict, NotFound, Refused):
            return None

    def imports(self, said: Sequence[Said], by: str) -> set[str]:
        given = [
            {"name": one.name, "subject": one.text, "body": f"<p>{one.text}</p>"}
            | ({} if one.approved is None else {"approved": one.approved})
            for one in said
        ]
        done = self._ask(templates.import_template, by, template={**FILE, "variants": given})
        return {change.name for change in done.changes if change.what in ("created", "new version")}

    def pause(self, name: str, version: int) -> None:
        """As the guardrail does."""
        self._run(self._pause(name, version))

    async def _pause(self, name: str, version: int) -> None:
        rig, now = self._rig, self._rig.clock.now()
        async with rig.database.transaction() as connection:
            copy_id = await connection.fetchval(
                "SELECT copy_id FROM variants WHERE org_id = $1 AND name = $2", rig.org_id, name
            )
            await connection.execute(PAUSE, rig.org_id, copy_id, now)
            await connection.execute(INSERT_EVENT, rig.org_id, copy_id, version, ACTOR, "too many left", now)

    def stop(self, *, whole: bool) -> None:
        self._ask(stops.stop_org) if whole else self._ask(stops.stop_template, template_id=TEMPLATE)

    def resume(self, *, whole: bool) -> None:
        self._ask(stops.resume_org) if whole else self._ask(stops.resume_template, template_id=TEMPLATE)

    def require_reviews(self, *, required: bool) -> None:
        self._ask(content_rules.set_rules, rules={"review_required": required})

    def served(self) -> dict[str, Served]:
        return self._run(self._served()) if self._begun else {}

    async def _served(self) -> dict[str, Served]:
        """What may be drawn, after a look at what some people get: one of these, word for word, or control."""
        rig = self._rig
        config = (await self._catalog.orgs({rig.org_id}))[rig.org_id]
        template = config.templates[TEMPLATE]
        for number in range(PEOPLE):
            asked = job(rig.clock.now(), org_id=rig.org_id, template_id=TEMPLATE, user_id=f"P{number}")
            made = compose(asked, config, self._renderer)
            if template.stopped or not template.variants:
                reason = "stopped" if template.stopped else "no_approved_variant"
                assert (made.decision, made.reason, made.vars) == ("control", reason, None)
                continue
            assert made.copy_id is not None
            assert made.vars is not None
            source = template.variants[made.copy_id]
            assert made.variant_version == source.version
            assert decode_vars(made.vars, source).subject == source.subject
            self._got.append(made)
        if template.stopped:
            return {}
        names = {row["copy_id"]: row["name"] for row in await rig.rows("SELECT copy_id, name FROM variants")}
        served = {names[one.copy_id]: Served(one.version, one.subject) for one in template.variants.values()}
        self._come_again(config, {(one.copy_id, one.version) for one in template.variants.values()})
        return served

    def _come_again(self, config: OrgConfig, served: Collection[tuple[UUID, int]]) -> None:
        """Whoever got copy and comes with the same body again gets what is served still, or control."""
        for one in self._got:
            stored = Stored(
                one.generation_id, one.day, one.accepted_at, one.write, one.template_id, one.copy_id,
                one.variant_version,
            )  # fmt: skip
            again = asked_again(stored.accepted_again(self._rig.clock.now() + timedelta(seconds=1)), config)
            assert again is not None
            assert (again.action == "write") is ((one.copy_id, one.variant_version) in served)


@pytest.fixture
def stage(database_url: str) -> Iterator[OnADatabase]:
    with asyncio.Runner() as runner:
        opening = open_database(database_url, name="test-life", max_size=2)
        database = runner.run(opening.__aenter__())
        try:
            yield OnADatabase(Rig(database, UUID(int=0)), runner.get_loop())
        finally:
            runner.run(opening.__aexit__(None, None, None))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("stories", [4, pytest.param(150, marks=pytest.mark.long)])
def test_in_a_database_too_a_person_only_ever_gets_an_approved_variant(stage: OnADatabase, stories: int) -> None:
    machine = type("Stories", (Life,), {"stage": stage})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=stories, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
