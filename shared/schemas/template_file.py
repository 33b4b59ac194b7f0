"""A template with its variants as people write it in YAML; `justai template import` reads it."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Text = Annotated[str, StringConstraints(max_length=80_000)]
Line = Annotated[str, StringConstraints(max_length=1_000)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ControlCopy(_Part):
    """The customer's own content: what the email shows when ours must not."""

    subject: Annotated[Line, StringConstraints(min_length=1)]
    preheader: Line = ""
    body: Annotated[Text, StringConstraints(min_length=1)]


class FlowPlace(_Part):
    """Where in Klaviyo the template lives: one email step of one flow."""

    flow_id: Identifier
    treatment_action_id: Identifier
    control_action_id: Identifier | None = None


class VariantCopy(_Part):
    """One variant; texts are Liquid over `fields`, like {{ first_name | default: 'there' }}."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    theme: Line = ""
    approved: bool = False
    subject: Annotated[Line, StringConstraints(min_length=1)]
    preheader: Line = ""
    body: Annotated[Text, StringConstraints(min_length=1)]


class TemplateFile(_Part):
    """One template."""

    template_id: Identifier
    name: str
    state: Literal["draft", "active", "shipped", "archived"] = "draft"
    property_prefix: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")] = "jai"
    delay_s: Annotated[int, Field(ge=1, le=2_592_000)] | None = None
    send_window_s: Annotated[int, Field(ge=1, le=604_800)] = 900
    flow: FlowPlace | None = None
    control: ControlCopy
    variants: list[VariantCopy] = []

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [variant.name for variant in self.variants]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"variants: the name {twice[0]!r} is used twice")
        return self
