"""What operations say of results. Whatever may be unknown has an `outcome`; rates and shares are fractions."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from shared.admin.operation import ResultModel
from shared.admin.results.advice import Kind
from shared.schemas.policy import Reward


class Arm(ResultModel):
    """One arm's decisions. From `opened` on delivered ones alone; machines and bots: those without a person."""

    assigned: int = 0
    written: int = 0
    sent: int = 0
    delivered: int = 0
    opened: int = 0
    machine_opened: int = 0
    clicked: int = 0
    bot_clicked: int = 0
    unsubscribed: int = 0
    spam: int = 0
    driven_away: int = 0


class LiftInterval(ResultModel):
    """Rates a delivered send, compared day by day: each is the mean of the days' rates, weighted by what the day can
    tell; `lift` relative to control. An interval's end is null where nothing bounds it."""

    treatment: float
    control: float
    difference: float
    difference_within: tuple[float, float | None]
    lift: float
    lift_within: tuple[float, float | None]


class LiftSaid(ResultModel):
    """A comparison. `so_far`: the interval of one that is not decided yet; `found`: of one that is."""

    outcome: Literal["above control", "below control", "not enough yet"]
    why: str | None = None
    more_sends: int | None = None
    found: LiftInterval | None = None
    so_far: LiftInterval | None = None


class Rate(ResultModel):
    """A variant's weighted rate, with an interval that holds at every look."""

    outcome: Literal["estimated", "not enough yet"]
    why: str | None = None
    more_sends: int | None = None
    rate: float | None = None
    within: tuple[float, float] | None = None
    ess: float | None = None


class GuardSaid(ResultModel):
    """Unsubscribes and complaints against control or the other variants."""

    verdict: str
    against: str | None = None
    sends: int
    events: int
    rate: float | None = None
    other_rate: float | None = None
    p: float | None = None


class VariantReport(ResultModel):
    """As of the report's moment. `best`: the chance that no other variant's rate is higher."""

    copy_id: UUID
    name: str
    sends: int
    clicks: int
    share: float
    click_rate: Rate
    best: float | None
    drawn_as_logged: bool
    paused: bool
    guardrail: GuardSaid


class ThemeReport(ResultModel):
    """The variants of one theme together, as of the report's moment; `theme` null: those without one. `variants`: how
    many of them were decided for."""

    theme: str | None
    variants: int
    assigned: int
    delivered: int
    clicks: int
    share: float
    click_rate: Rate


class Themes(ResultModel):
    """Most delivered first, of the last 90 days. `as_of` null: no report was made yet."""

    as_of: datetime | None
    themes: list[ThemeReport]


class Ratio(ResultModel):
    """Whether control's share is what it should be. An alarm: no comparison can be believed."""

    planned: float
    found: float
    chi_square: float
    p_once: float
    p_always: float
    alarm: bool


class Ratios(ResultModel):
    """Of people assigned, against the plan; of people delivered to, against those assigned."""

    assigned: Ratio | None
    delivered: Ratio | None


class Earning(ResultModel):
    """One arm's conversions."""

    delivered: int
    conversions: int
    revenue: float | None


class ConvertedVariant(ResultModel):
    """One variant's weighted conversion rate."""

    copy_id: UUID
    name: str
    conversions: int
    conversion_rate: Rate


class Conversions(ResultModel):
    """What delivered decisions earned. `no_revenue`: why money is not shown."""

    metrics: list[str]
    window_h: int
    counted_anew: bool
    revenue_cap: float | None
    currency: str | None
    treatment: Earning
    control: Earning
    lift: LiftSaid
    revenue_lift: LiftSaid | None
    no_revenue: str | None
    variants: list[ConvertedVariant]


class Week(ResultModel):
    """One week after the template was shipped."""

    week: int
    begins: date
    sends: int
    lift: LiftSaid


class Advised(ResultModel):
    """What a person might do. `reward`: what shipping and archiving go by, that of the template's policy."""

    kind: Kind
    names: list[str]
    why: str
    reward: Reward = "click"


class Report(ResultModel):
    """What is computed from the whole log now and then. `error`: of a newer try."""

    as_of: datetime
    since: datetime
    until: datetime
    variants: list[VariantReport]
    themes: list[ThemeReport] = Field(default_factory=list)
    unlogged: int
    sample_ratio: Ratios
    conversions: Conversions | None
    weeks: list[Week]
    worn_off: bool
    advice: list[Advised]
    design: float


class Day(ResultModel):
    """Decisions of one day of the org's zone, and the lift of all days until then. `sends` by variant, in the order of
    `Results.variants`."""

    day: date
    treatment: Arm
    control: Arm
    lift_so_far: LiftInterval | None
    sends: list[int]


class VariantName(ResultModel):
    """A variant that there is, or was in that time."""

    copy_id: UUID
    name: str
    state: str


class GuardEvent(ResultModel):
    """A variant was paused or resumed."""

    at: datetime
    name: str
    event: Literal["paused", "resumed"]
    actor: str
    comment: str


class Results(ResultModel):
    """A template's results over whole days. `counted_at`: when the newest of them was counted; `waiting`: days that
    have changed since. `time_zone`: whose days they are. `external`: control is Klaviyo's own branch, of which only
    sends are known."""

    template_id: str
    name: str
    state: str
    shipped_at: datetime | None
    time_zone: str
    since: date
    until: date
    counted_at: datetime | None
    waiting: int
    treatment: Arm
    control: Arm
    external: bool
    lift: LiftSaid
    uncompared: int = 0
    days: list[Day]
    variants: list[VariantName]
    attrs: list[str]
    report: Report | None
    report_error: str | None
    guard_events: list[GuardEvent]


class Segment(ResultModel):
    """People with one value of an attr; `value` null: those without one. `mostly`: the variant they were sent most."""

    value: str | None
    treatment: Arm
    control: Arm
    mostly: str | None
    mostly_share: float | None
    lift: LiftSaid


class Segments(ResultModel):
    """The values with most sends; all their intervals hold together. `values`: how many there are."""

    attr: str
    values: int
    segments: list[Segment]


class TemplateResults(ResultModel):
    """One line of the overview, over the last 90 days."""

    template_id: str
    name: str
    state: str
    treatment: Arm
    control: Arm
    lift: LiftSaid
    alarm: bool


class Overview(ResultModel):
    """Templates, live ones first."""

    templates: list[TemplateResults]
