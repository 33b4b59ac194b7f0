"""Any story of variants, on the decisions alone; tests/component/generator tells them to a database."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from shared.content.lifecycle import Action, Event, Move, NotAllowed, Standing, Written, act, write
from tests.support.life_of_variants import Life, Said, Served


@dataclass
class Variant:
    now: Standing
    texts: list[str] = field(default_factory=list)
    history: list[Event] = field(default_factory=list)

    def apply(self, moves: Sequence[Move], by: str) -> None:
        for move in moves:
            self.now = move.standing
            self.history.append(Event(move.version, move.event, by))

    def says(self, text: str, approved: bool | None, by: str, *, reviews: bool) -> bool:
        """Whether that is a new version."""
        looked_at = (self.now.pending, self.now.version) if self.texts else ()
        same = next((one for one in looked_at if one is not None and self.texts[one - 1] == text), None)
        said = Written(same, len(self.texts), approved)
        if same is None:
            self.texts.append(text)
        self.apply(write(self.now, said, review_required=reviews), by)
        return same is None


class Memory:
    """The rules, and what a store would keep for them."""

    def begin(self) -> None:
        self.variants: dict[str, Variant] = {}
        self.stops, self.reviews = set[bool](), False

    def save(self, name: str, text: str, by: str) -> None:
        self.variants.setdefault(name, Variant(Standing("draft", 1))).says(text, None, by, reviews=True)

    def step(self, action: Action, name: str, by: str) -> int | None:
        if (one := self.variants.get(name)) is None:
            return None
        try:
            move = act(action, one.now, one.history, actor=by, review_required=self.reviews)
        except NotAllowed:
            return None
        one.apply([move], by)
        return move.version

    def imports(self, said: Sequence[Said], by: str) -> set[str]:
        new = set()
        for name, text, approved in said:
            one = self.variants.setdefault(name, Variant(Standing("draft", 1)))
            if one.says(text, approved, by, reviews=self.reviews):
                new.add(name)
        for name in self.variants.keys() - {one.name for one in said}:
            self.step("archive", name, by)
        return new

    def pause(self, name: str, version: int) -> None:
        one = self.variants[name]
        one.apply([Move(replace(one.now, state="paused"), "paused", version)], "guardrail")

    def stop(self, *, whole: bool) -> None:
        self.stops.add(whole)

    def resume(self, *, whole: bool) -> None:
        self.stops.discard(whole)

    def require_reviews(self, *, required: bool) -> None:
        self.reviews = required

    def served(self) -> dict[str, Served]:
        if not hasattr(self, "variants") or self.stops:
            return {}
        return {
            name: Served(one.now.version, one.texts[one.now.version - 1])
            for name, one in self.variants.items()
            if one.now.state == "approved"
        }


@pytest.mark.parametrize("stories", [50, pytest.param(5_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_by_the_rules_a_person_only_ever_gets_an_approved_variant(stories: int) -> None:
    class InMemory(Life):
        stage = Memory()

    run_state_machine_as_test(InMemory, settings=settings(max_examples=stories, stateful_step_count=30))
