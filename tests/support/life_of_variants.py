"""Whatever people do with variants in whatever order: a model of what a person may get, beside what is really served.

The stage is where it happens: decisions in memory, or operations and a generator on a database. The model knows what
each step said that it had done, and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shared.content.lifecycle import Action

NAMES = st.sampled_from(["A", "B"])
PEOPLE = st.sampled_from(["Ann", "Bob", "Cy"])


class Said(NamedTuple):
    """A variant as a file says it. `approved` None: the file does not say."""

    name: str
    text: str
    approved: bool | None


class Served(NamedTuple):
    """What of a variant may be shown."""

    version: int
    text: str


class Stage(Protocol):
    """Where people act; a new template for each story."""

    def begin(self) -> None: ...
    def save(self, name: str, text: str, by: str) -> None: ...

    def step(self, action: Action, name: str, by: str) -> int | None:
        """The version that it was about; None where it could not be done."""

    def imports(self, said: Sequence[Said], by: str) -> set[str]:
        """A file with these variants and no others; the names of those that have a new version by it."""

    def pause(self, name: str, version: int) -> None: ...
    def stop(self, *, whole: bool) -> None: ...
    def resume(self, *, whole: bool) -> None: ...
    def require_reviews(self, *, required: bool) -> None: ...

    def served(self) -> dict[str, Served]:
        """By name, all that a person may get now."""


@dataclass
class Known:
    """What has been seen of one variant. `hands`: who surely wrote or submitted a version. A file that repeats its text
    may have submitted it, or have changed nothing; nobody says which."""

    texts: dict[int, str] = field(default_factory=dict)
    hands: dict[int, set[str]] = field(default_factory=dict)
    approved: set[int] = field(default_factory=set)
    served: int | None = None
    paused: int | None = None

    def wrote(self, text: str, by: str) -> None:
        version = len(self.texts) + 1
        self.texts[version], self.hands[version] = text, {by}


class Life(RuleBasedStateMachine):
    """One template of an org that requires reviews, as long as its owner does not switch them off."""

    stage: ClassVar[Stage]

    @initialize()
    def begin(self) -> None:
        self.count, self.reviews, self.stopped = 0, True, set[bool]()
        self.known: dict[str, Known] = {}
        self.stage.begin()
        self.stage.require_reviews(required=True)
        self.a_version_goes_all_the_way("A", "Ann", "Bob")

    # --- what people do ----------------------------------------------------------------------------------------------

    @rule(name=NAMES, by=PEOPLE)
    def somebody_saves(self, name: str, by: str) -> None:
        text = self.text()
        self.stage.save(name, text, by)
        self.known.setdefault(name, Known()).wrote(text, by)

    @rule(name=NAMES, by=PEOPLE)
    def somebody_submits(self, name: str, by: str) -> None:
        if (version := self.stage.step("submit", name, by)) is not None:
            self.known[name].hands[version].add(by)

    @rule(name=NAMES, by=PEOPLE)
    def somebody_approves(self, name: str, by: str) -> None:
        if (version := self.stage.step("approve", name, by)) is not None:
            one = self.known[name]
            assert not self.reviews or by not in one.hands[version], f"{by} approved version {version} alone"
            one.approved.add(version)
            one.served, one.paused = version, None

    @rule(name=NAMES, author=PEOPLE, reviewer=PEOPLE)
    def a_version_goes_all_the_way(self, name: str, author: str, reviewer: str) -> None:
        """What chance alone would rarely bring about."""
        self.somebody_saves(name, author)
        self.somebody_submits(name, author)
        self.somebody_approves(name, reviewer)

    @rule(name=NAMES, action=st.sampled_from(["check", "reject"]), by=PEOPLE)
    def somebody_looks_at_it(self, name: str, action: Action, by: str) -> None:
        self.stage.step(action, name, by)

    @precondition(lambda self: self.some_served())
    @rule(which=st.integers(0, 1), by=PEOPLE)
    def somebody_rolls_back(self, which: int, by: str) -> None:
        name = self.some_served()[which % len(self.some_served())]
        if (version := self.stage.step("rollback", name, by)) is not None:
            one = self.known[name]
            assert version in one.approved, f"version {version} was never approved"
            assert version != one.served
            one.served = version

    @precondition(lambda self: self.some_served())
    @rule(which=st.integers(0, 1))
    def the_guardrail_pauses(self, which: int) -> None:
        name = self.some_served()[which % len(self.some_served())]
        one = self.known[name]
        assert one.served is not None
        self.stage.pause(name, one.served)
        one.served, one.paused = None, one.served

    @rule(name=NAMES, by=PEOPLE)
    def somebody_resumes(self, name: str, by: str) -> None:
        if (version := self.stage.step("resume", name, by)) is not None:
            assert version == self.known[name].paused
            self.known[name].served, self.known[name].paused = version, None

    @rule(name=NAMES, by=PEOPLE)
    def somebody_archives(self, name: str, by: str) -> None:
        if self.stage.step("archive", name, by) is not None:
            self.known[name].served = self.known[name].paused = None

    @rule(required=st.booleans())
    def the_owner_says_whether_reviews_are_required(self, *, required: bool) -> None:
        self.stage.require_reviews(required=required)
        self.reviews = required

    @rule(name=NAMES, new=st.booleans(), approved=st.sampled_from([True, True, False, None]), by=PEOPLE)
    def a_file_is_imported(self, name: str, by: str, *, new: bool, approved: bool | None) -> None:
        """With one variant, in a new text or in the one that is served or was written last; the other is left out."""
        one = self.known.setdefault(name, Known())
        texts = [*one.texts.values()]
        text = one.texts[one.served or one.paused or len(texts)] if texts else ""
        if new or texts.count(text) != 1:  # which of two versions is meant could not be told
            text = self.text()
        if name in self.stage.imports([Said(name, text, approved)], by):
            one.wrote(text, by)
        version = max(number for number, known in one.texts.items() if known == text)
        for other in self.known.values():
            if other is not one:
                other.served = other.paused = None
        if self.reviews:  # it only proposes
            if approved is False:
                one.served = one.paused = None
        elif not approved:
            one.served = one.paused = None
        elif one.paused != version:
            one.approved.add(version)
            one.served, one.paused = version, None

    # --- stops -----------------------------------------------------------------------------------------------------

    @rule(whole=st.booleans())
    def copy_is_stopped(self, *, whole: bool) -> None:
        self.stage.stop(whole=whole)
        self.stopped.add(whole)

    @precondition(lambda self: self.stopped)
    @rule(whole=st.booleans())
    def copy_is_resumed(self, *, whole: bool) -> None:
        self.stage.resume(whole=whole)
        self.stopped.discard(whole)

    # --- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def people_get_what_is_approved_and_nothing_while_it_is_stopped(self) -> None:
        served = self.stage.served() if hasattr(self, "known") else {}
        if not hasattr(self, "known") or self.stopped:
            assert served == {}
            return
        assert all(served[name].version in self.known[name].approved for name in served)
        assert served == {
            name: Served(one.served, one.texts[one.served])
            for name, one in self.known.items()
            if one.served is not None
        }

    # --- the machinery -----------------------------------------------------------------------------------------------

    def some_served(self) -> list[str]:
        return [name for name, one in self.known.items() if one.served is not None]

    def text(self) -> str:
        """As unlike the others as can be: copy that is alike is told of."""
        self.count += 1
        return f"{'abcdefghijklmnopqrstuvwxyz'[self.count % 26] * 12} number {self.count}"
