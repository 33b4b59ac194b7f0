"""A template with its variants as people write it in YAML; `justai template import` reads it."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from shared.schemas.attributes import Attributes, OtherAttrs
from shared.schemas.conversions import Conversions
from shared.schemas.policy import Policy
from shared.snippet import IDENTIFIER, PREFIX, control_fault

_CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def _printable(text: str) -> str:
    if found := _CONTROL_CHARACTERS.search(text):
        raise ValueError(f"holds the control character U+{ord(found[0]):04X}")
    return text


def _on_one_line(text: str) -> str:
    if len(text.splitlines()) > 1:
        raise ValueError("must stand on one line")
    return text


def _fits_the_snippet(text: str) -> str:
    if fault := control_fault(text):
        raise ValueError(f"cannot stand in the snippet's control branch: {fault}")
    return text


Text = Annotated[str, StringConstraints(max_length=200_000), AfterValidator(_printable)]
"""A body. Whether it fits a profile is judged in bytes, where its rendering is known."""

Line = Annotated[
    str,
    StringConstraints(max_length=1_000, strip_whitespace=True),
    AfterValidator(_printable),
    AfterValidator(_on_one_line),
]
Identifier = Annotated[str, StringConstraints(pattern=f"^{IDENTIFIER}$")]
FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,127}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ControlCopy(_Part):
    """The customer's own content: what the email shows when ours must not. Klaviyo's tags are welcome in it."""

    subject: Annotated[Line, StringConstraints(min_length=1), AfterValidator(_fits_the_snippet)]
    preheader: Annotated[Line, AfterValidator(_fits_the_snippet)] = ""
    body: Annotated[Text, StringConstraints(pattern=r"\S"), AfterValidator(_fits_the_snippet)]


class FlowPlace(_Part):
    """Where in Klaviyo the template lives: one email step of one flow."""

    flow_id: Identifier
    treatment_action_id: Identifier
    control_action_id: Identifier | None = None


class VariantCopy(_Part):
    """One variant; texts are Liquid over `fields`, like {{ first_name | default: 'there' }}.

    The body is HTML in `body` or MJML in `mjml`; one that begins with <mjml> is MJML under either name.
    """

    name: Annotated[Line, StringConstraints(min_length=1, max_length=100)]
    theme: Line = ""
    approved: bool = False
    subject: Annotated[Line, StringConstraints(min_length=1)]
    preheader: Line = ""
    body: Annotated[Text, StringConstraints(pattern=r"\S")] = ""
    mjml: Annotated[Text, StringConstraints(pattern=r"^\s*<mjml\b")] | None = None

    @property
    def source(self) -> str:
        """The body as written, HTML or MJML."""
        return self.body if self.mjml is None else self.mjml

    @property
    def is_mjml(self) -> bool:
        """Whether it is MJML, under either name."""
        return re.match(r"\s*<mjml\b", self.source) is not None

    @model_validator(mode="after")
    def _has_one_body(self) -> Self:
        if self.mjml is None and not self.body:
            raise ValueError("body: is missing; write HTML as `body`, or MJML as `mjml`")
        if self.mjml is not None and self.body:
            raise ValueError("body: has a second one in `mjml`; keep one of them")
        return self


Share = Annotated[float, Field(ge=0, le=0.9, allow_inf_nan=False)]


class SplitRule(_Part):
    """Who is control by plan while the template is active. `external`: Klaviyo's branches tell, and those of the
    control branch never call us. Another `salt` draws persistent groups anew."""

    method: Literal["external", "random", "persistent"] = "external"
    control_ratio: Share = 0.0
    salt: Annotated[Line, StringConstraints(max_length=64)] = ""

    @model_validator(mode="after")
    def _one_splits(self) -> Self:
        if self.method == "external" and self.control_ratio:
            raise ValueError("control_ratio: an external split is set in Klaviyo; use method random or persistent")
        if self.method != "external" and not self.control_ratio:
            raise ValueError(f"control_ratio: a {self.method} split needs one, like 0.1")
        return self


class TemplateFile(_Part):
    """One template.

    `conversions` may be written as `{}` where Placed Order within 72 hours is meant.

    `attributes` go before those of the org that have the same name; `control_share` of the persons are control for
    good, also once the template is shipped.

    `required_fields` are those that its copy may print without a fallback: whoever comes without one of them gets the
    control content, and whoever writes the file says so by naming them.
    """

    template_id: Identifier
    name: Annotated[Line, StringConstraints(min_length=1, max_length=200)]
    state: Literal["draft", "active", "shipped", "archived"] = "draft"
    property_prefix: Annotated[str, StringConstraints(pattern=f"^{PREFIX}$")] = "jai"
    delay_s: Annotated[int, Field(ge=1, le=2_592_000)] | None = None
    send_window_s: Annotated[int, Field(ge=1, le=604_800)] = 900
    flow: FlowPlace | None = None
    required_fields: list[FieldName] = []
    policy: Policy = Policy()
    conversions: Conversions | None = None
    attributes: Attributes = {}
    other_attrs: OtherAttrs = "pass"
    split: SplitRule = SplitRule()
    control_share: Share = 0.0
    repeat: Literal["avoid", "allow"] = "avoid"
    control: ControlCopy
    variants: list[VariantCopy] = []

    @property
    def counted_conversions(self) -> Conversions | None:
        """What is counted: as written, and by default where the ranker learns from it; None: nothing."""
        return Conversions() if self.conversions is None and self.policy.reward != "click" else self.conversions

    @model_validator(mode="after")
    def _one_window(self) -> Self:
        counted = self.counted_conversions
        if self.policy.reward == "click" or counted is None or "window_h" not in self.policy.model_fields_set:
            return self
        if self.policy.window_h != counted.window_h:
            raise ValueError(
                f"policy.window_h: is of clicks; the window of reward {self.policy.reward} is conversions.window_h "
                f"({counted.window_h})"
            )
        return self

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [variant.name for variant in self.variants]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"variants: the name {twice[0]!r} is used twice")
        if unknown := sorted({*self.policy.shares} - {*names}):
            raise ValueError(f"policy.shares: there is no variant {unknown[0]!r}")
        return self
