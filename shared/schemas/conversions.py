"""What counts as a conversion of a template's emails: the `conversions:` of its file, and the column of that name."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

_EMAIL_METRICS = frozenset({
    "received email", "opened email", "clicked email", "bounced email", "dropped email", "marked email as spam",
    "unsubscribed", "unsubscribed from email marketing", "updated email preferences",
})  # fmt: skip


def _a_shops_own(metric: str) -> str:
    if metric.lower() in _EMAIL_METRICS:
        raise ValueError(f"{metric!r} is about the email itself; a conversion is what a person does for the shop")
    return metric


Metric = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_a_shops_own)
]
Metrics = Annotated[list[Metric], Field(max_length=20)]


class Conversions(BaseModel):
    """An event of one of `metrics` belongs to the person's newest delivered send of the template, if that is at most
    `window_h` older: last touch. One of `refunds` takes its value, or all where it says none, off the order that has
    the same order id.

    Names of metrics are compared without regard to case. `currency`: what is said to be in another one counts as a
    conversion without value; without it all values are taken to be in one currency.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: Annotated[Metrics, Field(min_length=1)] = ["Placed Order"]
    refunds: Metrics = ["Refunded Order", "Cancelled Order"]
    window_h: Annotated[int, Field(ge=1, le=720)] = 72
    currency: Annotated[str, StringConstraints(to_upper=True, pattern=r"^[A-Za-z]{3}$")] | None = None

    @model_validator(mode="after")
    def _nothing_is_both(self) -> Self:
        if both := sorted({one.lower() for one in self.metrics} & {one.lower() for one in self.refunds}):
            raise ValueError(f"refunds: {both[0]!r} is one of `metrics`, too")
        return self


def stored(conversions: Conversions | None) -> dict[str, Any] | None:
    """As the column holds it: with all fields, so that SQL needs no defaults."""
    return None if conversions is None else conversions.model_dump(mode="json")
