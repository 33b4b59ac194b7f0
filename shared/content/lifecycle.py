"""The life of a variant: draft, checked, in review, approved, live, archived. Pure: who may do what, and what then is.

The guardrail pauses an approved one (services/ranker/guard.py); only a person resumes it.

One version is served while the next is on its way: `state` and `version` say what is served, `proposed_state` and
`proposed_version` what is to be. A version itself never changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

State = Literal["draft", "approved", "paused", "archived"]
Proposal = Literal["draft", "checked", "in_review"]
Action = Literal["check", "submit", "approve", "reject", "archive", "rollback", "resume"]

APPROVING: Final = ("approved", "rolled_back", "resumed")
"""Events that make an approved variant: it is judged by what came after the last of them."""

_SHOWN = {"draft": "draft", "checked": "checked", "in_review": "in review"}


class NotAllowed(Exception):
    """This cannot be done with this variant now; says why, and what can."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one variant is."""

    state: State
    version: int
    proposed_version: int | None = None
    proposed_state: Proposal | None = None

    @property
    def pending(self) -> int | None:
        """The version that checks, reviews and approvals are about; None: there is nothing but what is served."""
        if self.proposed_version is not None:
            return self.proposed_version
        return None if self.state in ("approved", "paused") else self.version

    def shown(self, *, served: bool) -> str:
        """In words. `served`: the template is active, so an approved variant is live."""
        if self.state == "draft":
            return _SHOWN[self.proposed_state or "draft"]
        now = self.state if self.state != "approved" else "live" if served else "approved"
        if self.proposed_state is None:
            return now
        return f"{now}; version {self.proposed_version} {_SHOWN[self.proposed_state]}"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the history, as far as decisions look at it. Oldest first wherever there are several."""

    version: int
    event: str
    actor: str


@dataclass(frozen=True, slots=True)
class Move:
    """What an action makes of a variant: where it is then, and the event of which version to remember."""

    standing: Standing
    event: str
    version: int


def about(action: Action, now: Standing) -> int | None:
    """The version that this action would be about: the one that is served, or paused, where that is taken back, resumed
    or archived, else the pending one. None: there is none."""
    served = now.state in ("approved", "paused")
    return now.version if served and action in ("rollback", "resume", "archive") else now.pending


def act(action: Action, now: Standing, history: Sequence[Event], *, actor: str, review_required: bool) -> Move:
    """What this action of this person does. Raises NotAllowed. Whether the copy passes its checks is the caller's."""
    if action == "archive":
        if now.state == "archived":
            raise NotAllowed("It is archived already.")
        return Move(Standing("archived", now.version), "archived", now.version)
    if action == "rollback":
        return _rollback(now, history)
    if action == "resume":
        if now.state != "paused":
            raise NotAllowed("It is not paused.")
        return Move(replace(now, state="approved"), "resumed", now.version)
    if (pending := now.pending) is None:
        raise NotAllowed("There is no newer version than the one that is approved.")
    if action == "reject":
        if now.proposed_state != "in_review":
            raise NotAllowed("It is not in review.")
        return Move(replace(now, proposed_state="draft"), "rejected", pending)
    if action == "approve":
        if review_required:
            _may_review(now, pending, history, actor)
        return Move(Standing("approved", pending), "approved", pending)
    if now.proposed_state == "in_review":
        raise NotAllowed("It is in review: approve or reject it.")
    proposed: Proposal = "checked" if action == "check" else "in_review"
    moved = replace(now, proposed_version=pending, proposed_state=proposed)
    return Move(moved, "checked" if action == "check" else "submitted", pending)


def _may_review(now: Standing, pending: int, history: Sequence[Event], actor: str) -> None:
    if now.proposed_state != "in_review":
        raise NotAllowed("The org requires a review: submit it first.")
    involved = {_name(one.actor) for one in history if one.version == pending and one.event in ("written", "submitted")}
    if _name(actor) in involved:
        raise NotAllowed(f"The org requires a review by somebody else: {actor} wrote or submitted version {pending}.")


def _name(actor: str) -> str:
    return " ".join(actor.split()).casefold()


def _rollback(now: Standing, history: Sequence[Event]) -> Move:
    """One step: to the version that was served before the one that is. Done twice, it is undone."""
    if now.state not in ("approved", "paused"):
        raise NotAllowed("It is not approved, so there is nothing to take back; a version in review can be rejected.")
    served = [one.version for one in history if one.event in ("approved", "rolled_back")]
    before = next((version for version in reversed(served) if version != now.version), None)
    if before is None:
        raise NotAllowed("No other version was ever approved.")
    return Move(replace(now, state="approved", version=before), "rolled_back", before)


@dataclass(frozen=True, slots=True)
class Written:
    """What a file says of a variant that is known. `same_as`: the version whose texts it repeats, None for new ones;
    `approved`: None where the file does not say."""

    same_as: int | None
    newest: int
    approved: bool | None


def write(now: Standing, said: Written, *, review_required: bool) -> list[Move]:
    """What importing a file does: the moves in their order, none where all is as the file says.

    Without required reviews a file is the truth: `approved: true` serves its texts, anything else withdraws them. With
    reviews it can only propose, while the version that is approved stays served; `approved: false` still withdraws.
    What is paused stays so while the file says of it what it has said before: nobody resumes it by accident.
    """
    version = said.same_as or said.newest + 1
    wanted = said.approved or (said.approved is None and review_required)
    if now.state == "paused" and wanted and version == now.version:
        return []
    new = said.same_as is None
    moves = [Move(now, "written", version)] if new else []
    if review_required:
        return _propose(now, version, said, moves)
    if said.approved:
        if now != (then := Standing("approved", version)):
            moves.append(Move(then, "approved", version))
    elif now.state in ("approved", "paused"):
        moves.append(Move(Standing("draft", version), "withdrawn", version))
    elif now.state == "archived":
        moves.append(Move(Standing("draft", version), "restored", version))
    elif now.pending != version or new:
        moves = [Move(Standing("draft", version), "written", version)]
    return moves


def _propose(now: Standing, version: int, said: Written, written: list[Move]) -> list[Move]:
    waiting = Standing("draft", now.version, version, "draft")
    if said.approved is False and now.state != "draft":
        return [*written, Move(waiting, "restored" if now.state == "archived" else "withdrawn", version)]
    if now.state == "approved" and now.version == version:
        gone = now.proposed_version
        return [] if gone is None else [Move(Standing("approved", version), "withdrawn", gone)]
    if said.approved:
        if (now.proposed_version, now.proposed_state) == (version, "in_review"):
            return []
        return [
            *written,
            Move(replace(now, proposed_version=version, proposed_state="in_review"), "submitted", version),
        ]
    if written or now.pending != version:
        return [Move(replace(now, proposed_version=version, proposed_state="draft"), "written", version)]
    return []


def touched(before: Standing, after: Standing, *, served: bool) -> list[str]:
    """What a file does to a variant that whoever wrote it may not think of, as sentences about it without their end:
    it knows one text of each, and another may wait, or be paused. `served`: the template's variants are."""
    told: list[str] = []
    if before.proposed_state is not None and _is_dropped(before, after):
        words = {"draft": "a draft", "checked": "checked", "in_review": "in review"}[before.proposed_state]
        told.append(f"version {before.proposed_version}, {words}, is withdrawn")
    if before.state == "paused" and after.state in ("approved", "draft"):
        told.append("the guardrail's pause ends" + (": it is a draft" if after.state == "draft" else ""))
    changed = after.version != before.version and before.state in ("approved", "paused")
    if served and changed and after.state == "approved":
        told.append(f"the changed text is served from the next webhook on, in place of version {before.version}")
    return told


def _is_dropped(before: Standing, after: Standing) -> bool:
    """Whether what was on its way is no longer. A draft's own draft only becomes the next one."""
    if after.state == "approved" and after.version == before.proposed_version:
        return False
    if before.proposed_state == "in_review":
        return (after.proposed_version, after.proposed_state) != (before.proposed_version, "in_review")
    return before.state in ("approved", "paused") and after.pending is None
