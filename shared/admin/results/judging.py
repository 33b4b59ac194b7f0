"""From facts to what may be said of them. Pure; the arithmetic is in shared/inference."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from urllib.parse import unquote
from uuid import UUID

from shared.admin.errors import Refused
from shared.admin.results.advice import Suggestion, advice
from shared.admin.results.basis import Basis, Rates, basis_of, compared
from shared.admin.results.earned import Earnings
from shared.admin.results.ratios import ratios_of
from shared.admin.results.store import Asked, Fact, People, Read, total
from shared.admin.results.themes import Theme, by_theme
from shared.inference import decay, guardrail, lift, variants
from shared.inference.ratio import SampleRatio, draws_fit
from shared.inference.sequence import ALPHA, NotEnough
from shared.inference.strata import Day, Strata
from shared.inference.variants import Estimate, Sums
from shared.zones import day_in

NO_VALUE = "(none)"
_MOST_SEGMENTS = 20  # more comparisons than that at once and none of them would ever be decided


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant's row. `guard_now`: by the days after it was last resumed, rolled back or approved again. `fits`: it
    was drawn as often as its logged probabilities say. `compared`: its rate, in the reward that advice goes by, over
    the decisions at which each that serves could be drawn; None: it does not serve, or has no rate at all."""

    copy_id: UUID
    name: str
    sends: int
    clicks: int
    share: float
    rate: Estimate | NotEnough
    best: float | None
    guard: guardrail.Guard
    guard_now: guardrail.Guard
    fits: bool
    state: str
    compared: Estimate | NotEnough | None

    @property
    def paused(self) -> bool:
        return self.state == "paused"

    @property
    def approved(self) -> bool:
        return self.state == "approved"


@dataclass(frozen=True, slots=True)
class Segment:
    """One value of an attr, delivered sends of both arms. Its interval is that much wider as there are segments.

    `mostly`: the variant that these people were sent most, and its share.
    """

    value: str
    treatment: int
    control: int
    mostly: tuple[str, float] | None
    result: lift.Lift | NotEnough


@dataclass(frozen=True, slots=True)
class Results:
    """All that is said of one template over a time. `uncompared`: delivered sends of days on which the other arm had
    none; they are in the arms, not in the lift."""

    template_id: str
    state: str
    since: datetime
    until: datetime
    shipped_at: datetime | None
    treatment: Fact
    control: Fact
    lift: lift.Lift | NotEnough
    uncompared: int
    split: SampleRatio | None  # people assigned, against the planned share
    delivery: SampleRatio | None  # people delivered to, against the share among the assigned
    variants: Sequence[Variant]
    themes: Sequence[Theme]
    external: bool  # control is Klaviyo's own branch: how many were assigned to it is not known
    unlogged: int  # delivered treatment without usable probabilities: in the lift, not in the variants' rates
    attr: str | None
    segments: Sequence[Segment]
    weeks: Sequence[decay.Week]
    worn_off: bool
    advice: Sequence[Suggestion]


def judge_results(
    known: Read, asked: Asked, earnings: Earnings | None, *, attr: str | None, control_share: float | None, worth: float
) -> Results:
    """Everything at once. `earnings`: where conversions are counted. Raises Refused for an attr of which nothing can be
    compared."""
    treatment, control = arms_of(known.facts)
    design = design_of(treatment, control, known.people)
    strata = strata_of(known.facts)
    found = lift.of_rates(strata, worth=worth, design=design)
    tally = variants.tally(known.draws)
    rates = {copy_id: variants.judged(sums, tally.pooled, design) for copy_id, sums in tally.of.items()}
    basis = basis_of(Basis("click", found, rates, known.draws, design), earnings)
    rows = _variants(known, tally, rates, compared(basis, known.states))
    weeks, worn_off = _decay(known, asked, worth, design)
    split, delivery = ratios_of(known.firsts, control_share or known.planned_control, external=known.external)
    logged = sum(one.sends for one in tally.of.values())
    return Results(
        template_id=asked.template_id,
        state=known.state,
        since=asked.since,
        until=asked.until,
        shipped_at=known.shipped_at,
        treatment=treatment,
        control=control,
        lift=found,
        uncompared=strata.uncompared,
        split=split,
        delivery=delivery,
        variants=rows,
        themes=by_theme(known.facts, known.draws, known.themes, design),
        external=known.external,
        unlogged=max(0, treatment.delivered - logged),
        attr=attr,
        segments=_segments(known, attr, worth, design) if attr else [],
        weeks=weeks,
        worn_off=worn_off,
        advice=advice(
            basis.lift, rows=rows, alarms=[one for one in (split, delivery) if one is not None and one.alarm],
            state=known.state, worn_off=worn_off, reward=basis.reward,
        ),
    )  # fmt: skip


def arms_of(facts: Sequence[Fact]) -> tuple[Fact, Fact]:
    """Treatment and control, all together."""
    return total(fact for fact in facts if not fact.control), total(fact for fact in facts if fact.control)


def strata_of(facts: Iterable[Fact]) -> Strata:
    """Clicks of delivered generations, day by day."""
    return Strata.of(fact.clicks_of_day for fact in facts)


def design_of(treatment: Fact, control: Fact, people: Iterable[People]) -> float:
    """The larger design effect of both arms."""
    arms = {True: control, False: treatment}
    return max(
        (
            lift.design_effect(
                arms[one.control].delivered, arms[one.control].clicked, one.sends_squared, one.sends_clicks,
                one.clicks_squared,
            )
            for one in people
        ),
        default=1.0,
    )  # fmt: skip


def _variants(known: Read, tally: variants.Tally, rates: Rates, compared_rates: Rates) -> list[Variant]:
    known_rates = {copy_id: rate for copy_id, rate in rates.items() if isinstance(rate, Estimate)}
    # The best of one says nothing, least of all beside others that are not known yet.
    chances = variants.chances_of_being_best(known_rates) if len(known_rates) > 1 else {}
    delivered = sum(sums.sends for sums in tally.of.values())
    guards = _guards(known.facts, tally.of)
    guards_now = _guards(_judged_anew(known), tally.of) if known.anew else guards
    rows = [
        Variant(
            copy_id,
            known.names.get(copy_id, str(copy_id)),
            sums.sends,
            int(sums.clicks),
            sums.sends / delivered if delivered else 0.0,
            rates[copy_id],
            chances.get(copy_id),
            guards[copy_id],
            guards_now[copy_id],
            _fits(sums),
            known.states.get(copy_id, ""),
            compared_rates.get(copy_id),
        )
        for copy_id, sums in tally.of.items()
    ]
    return sorted(rows, key=lambda row: (-(row.best or 0.0), -row.sends, row.name))


def _fits(sums: Sums) -> bool:
    return draws_fit(sums.sends - sums.expected, sums.spread)


def _judged_anew(known: Read) -> Iterable[Fact]:
    """What the ranker's guardrail judges, by whole days: who resumed a variant or approved another text of it has seen
    what there was, and it would be told to pause for the same facts as long as they are in the time asked for."""
    return (fact for fact in known.facts if fact.copy_id is None or fact.day > known.anew.get(fact.copy_id, date.min))


def _guards(facts: Iterable[Fact], copy_ids: Iterable[UUID]) -> dict[UUID, guardrail.Guard]:
    """Each variant against control, and against the others, by day and cell."""
    strata: dict[tuple[date, str], dict[UUID | None, tuple[int, int]]] = defaultdict(dict)
    for fact in facts:
        if fact.control or fact.copy_id is not None:
            stratum = strata[fact.day, fact.cell]
            sends, away = stratum.get(fact.copy_id, (0, 0))  # control may be there twice: ours, and Klaviyo's branch
            stratum[fact.copy_id] = (sends + fact.delivered, away + fact.driven_away)
    return guardrail.judge_variants(strata, copy_ids)


def value_of(cell: str, attr: str) -> str:
    """The attr's value in a canonical cell, as a person reads it."""
    wanted = " ".join(unicodedata.normalize("NFKC", attr).lower().split())
    for pair in cell.split("&"):
        name, _, value = pair.partition("=")
        if unquote(name) == wanted and value:
            return unquote(value)
    return NO_VALUE


def refuse_without_attrs(arms: Iterable[tuple[bool, bool]]) -> None:
    """Raise Refused where control is Klaviyo's own branch alone; `arms`: whether it is control, and external.

    Of its people we know no attrs: all of them would stand beside those few of treatment who have none."""
    if {external for control, external in arms if control} == {True}:
        raise Refused(
            "Klaviyo's own branch does not tell us attrs; they are known of control that we split off "
            "(justai template set --split random)",
            code="no_attrs", field="by",
        )  # fmt: skip


def _segments(known: Read, attr: str, worth: float, design: float) -> list[Segment]:
    refuse_without_attrs((fact.control, fact.external) for fact in known.facts)
    by_value: dict[str, list[Fact]] = defaultdict(list)
    for fact in known.facts:
        if not fact.external:
            by_value[value_of(fact.cell, attr)].append(fact)
    largest = sorted(by_value.items(), key=lambda item: (-total(item[1]).delivered, item[0]))[:_MOST_SEGMENTS]
    segments = []
    for value, of_value in largest:
        treatment, control = arms_of(of_value)
        result = lift.of_rates(strata_of(of_value), worth=worth, alpha=ALPHA / len(largest), design=design)
        mostly = _mostly(of_value, known.names)
        segments.append(Segment(value, treatment.delivered, control.delivered, mostly, result))
    return segments


def _mostly(facts: Iterable[Fact], names: Mapping[UUID, str]) -> tuple[str, float] | None:
    sends: Counter[UUID] = Counter()
    for fact in facts:
        if fact.copy_id is not None:
            sends[fact.copy_id] += fact.delivered
    if not sends.total():
        return None
    copy_id = max(sends, key=lambda one: (sends[one], str(one)))
    return names.get(copy_id, str(copy_id)), sends[copy_id] / sends.total()


def _decay(known: Read, asked: Asked, worth: float, design: float) -> tuple[list[decay.Week], bool]:
    """The lift that was shipped is that of all days before, however long ago: those asked for hold few of them soon."""
    if known.shipped_at is None:
        return [], False
    shipped = day_in(asked.zone, known.shipped_at)
    days = [fact.clicks_of_day for fact in known.facts]
    weeks = decay.by_week(days, shipped, worth, design, asked.first_whole_day)
    before: list[Day] = [*known.before, *(one for one in days if one.day < shipped)]
    won = lift.of_rates(Strata.of(before), worth=worth, design=design)
    return weeks, isinstance(won, lift.Lift) and won.lift > 0 and decay.worn_off(weeks, won.lift)
