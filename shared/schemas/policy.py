"""How a template's variants are to be chosen: the `policy:` of a template file, and the column `templates.policy`."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Model = Literal["logistic", "thompson", "uniform", "fixed"]
Reward = Literal["click", "conversion", "revenue"]
"""What counts as success. A machine's open never does.

| click | a person's click on content within `window_h` |
| conversion | what the template's `conversions` define, within their window |
| revenue | the same, worth value / `revenue_cap`, at most 1 |
"""


class Policy(BaseModel):
    """Settings of one template's ranker; every one has a default.

    | model | shares of the variants |
    | logistic | learned, per cell of attrs as far as the facts carry it |
    | thompson | learned, the same for everybody |
    | uniform | all alike |
    | fixed | as `shares` says, by name of the variant; 0 keeps a variant out |
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Model = "logistic"
    reward: Reward = "click"
    revenue_cap: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] | None = (
        None  # of one send, in its currency
    )
    window_h: Annotated[int, Field(ge=1, le=720)] = 72  # a click counts that comes within; others: `conversions`
    floor: Annotated[float, Field(ge=0, le=0.2)] = 0.002  # least share of a variant; at most half of an equal one
    burn_in: Annotated[int, Field(ge=0, le=1_000_000)] = 100  # sends before a variant may have less than an equal share
    max_change: Annotated[float, Field(gt=0, le=1)] = 1  # of any share in one update
    half_life_days: Annotated[float, Field(ge=1, le=3650)] | None = 28  # after it a fact weighs half; null: always all
    temper: Annotated[float, Field(gt=0, le=1)] = 0.25  # of the posterior's standard deviation; less explores less
    shares: dict[str, Annotated[float, Field(ge=0, le=1_000_000)]] = {}

    @model_validator(mode="after")
    def _shares_belong_to_fixed(self) -> Self:
        if self.model == "fixed" and not sum(self.shares.values()) > 0:
            raise ValueError("shares: model fixed needs at least one variant with a share above 0")
        if self.model != "fixed" and self.shares:
            raise ValueError(f"shares: only model fixed has them, not {self.model}")
        return self

    @model_validator(mode="after")
    def _revenue_is_bounded(self) -> Self:
        if self.reward == "revenue" and self.revenue_cap is None:
            raise ValueError(
                "revenue_cap: reward revenue needs one, like 200: what a send earns above it counts as this, so that "
                "one large order decides nothing"
            )
        return self
