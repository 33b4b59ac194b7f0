"""What `/_sim` accepts, as described models; an unknown or wrong member answers 400 naming it."""

from datetime import datetime, time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from simulator.flow.definitions import DelayUnit, Status, Weekday
from simulator.foreign import Pattern
from simulator.people.export import Format, Layout
from simulator.people.hooks import Stamp
from simulator.profile import Carried


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AccountBody(Body):
    name: str
    id: str | None = None
    phase_s: float | None = Field(None, ge=0, lt=60, description="Phase of the rate windows; drawn when absent.")


class KeyBody(Body):
    scopes: list[str] | Literal["page", "all"] = "page"
    value: str | None = None


class ProfileBody(Body):
    id: str | None = None
    email: str | None = None
    phone_number: str | None = None
    external_id: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    properties: dict[str, Any] = Field(default_factory=dict)


class ProfilesBody(Body):
    profiles: list[ProfileBody]


class MergeBody(Body):
    into: str | None = Field(None, description="The profile that stays; None deletes.")
    carried: Carried = Field("none", description="Which custom properties go along, which Klaviyo does not document.")


class WebhookBody(Body):
    """`<flow_id>` and `<treatment_action_id>` in `body` become the flow's id and its first email action's."""

    type: Literal["send-webhook"]
    id: str | None = None
    url: str
    headers: dict[str, str] = Field(default_factory=dict)
    body: str
    name: str = "Webhook"
    status: Status = "live"


class DelayBody(Body):
    type: Literal["time-delay"]
    id: str | None = None
    unit: DelayUnit = "minutes"
    value: int = Field(2, ge=0)
    until_time: time | None = Field(None, description="After that, until this time of day, UTC.")
    until_weekdays: list[Weekday] = Field(default_factory=list, description="After that, until one of these days.")


class EmailBody(Body):
    """`prefix` names the profile properties with generated content, for the judge and the literal snippet. `text` and
    `amp` can be read of the template, and are shown to nobody."""

    type: Literal["send-email"]
    id: str | None = None
    message_id: str | None = None
    name: str = "Email"
    subject: str
    preview_text: str = ""
    html: str
    text: str = ""
    amp: str | None = None
    from_email: str = "hello@shop.example"
    from_label: str = "Shop"
    prefix: str = "jai"
    status: Status = "live"


StepBody = Annotated[WebhookBody | DelayBody | EmailBody, Field(discriminator="type")]


class SplitBody(Body):
    """By a random sample: `share` of the people go on to the next action, the others to `otherwise`."""

    type: Literal["conditional-split"]
    id: str | None = None
    share: float = Field(0.5, ge=0, le=1)
    otherwise: list[StepBody]


ActionBody = Annotated[WebhookBody | DelayBody | EmailBody | SplitBody, Field(discriminator="type")]


class FlowBody(Body):
    """Ids are drawn unless given; given ones must be new in the account."""

    id: str | None = None
    name: str
    trigger_type: Literal["Added to List", "Date Based", "Low Inventory", "Metric", "Price Drop", "Unconfigured"] = (
        "Added to List"
    )
    status: Status = "live"
    actions: list[ActionBody]


class FlowPatch(Body):
    name: str | None = None
    status: Status | None = None
    archived: bool | None = None


class ActionPatch(Body):
    """Only what is given changes; a member that does not belong to the action's type is refused."""

    status: Status | None = None
    url: str | None = None
    headers: dict[str, str] | None = None
    body: str | None = None
    unit: DelayUnit | None = None
    value: int | None = Field(None, ge=0)
    until_time: time | None = None
    until_weekdays: list[Weekday] | None = None
    name: str | None = None
    subject: str | None = None
    preview_text: str | None = None
    html: str | None = None
    text: str | None = None
    amp: str | None = None
    prefix: str | None = None


class TriggerBody(Body):
    profile_ids: list[str] | Literal["all"] = "all"
    spread_s: float = Field(0.0, ge=0, description="Virtual seconds over which people enter.")
    event: dict[str, Any] | None = None


class CampaignBody(Body):
    name: str
    status: str = "Sent"


class DecisionsBody(Body):
    decisions: dict[str, Literal["treatment", "control"]]


class ForeignTrafficBody(Body):
    operation: str
    per_s: float = Field(ge=0, description="Requests per virtual second that other apps of the account spend.")
    pattern: Pattern = Field("steady", description="Evenly, at random one by one, or at random `burst` at once.")
    burst: int = Field(20, ge=1, le=1000)


class ExportBody(Body):
    folder: str = Field(description="Below the export root, if the box was started with one.")
    layout: Layout = "nested"
    format: Format = "csv"
    gzip: bool = False
    half: bool = Field(False, description="Leave the first half of the file; `…/export/finish` brings the rest.")


class DeliverBody(Body):
    url: str
    secret: str = Field(min_length=16)
    webhook_id: str = "hook1"
    batch: int = Field(500, ge=1, le=10_000, description="Events of one request.")
    stamp: Stamp = Field("http", description="How the timestamp header is written; HTTP dates were seen.")


class FinishBody(Body):
    path: str = Field(description="A file that an export left half written.")


class RenderBody(Body):
    """Renders for a person as of now (or `at`); nothing is sent and nothing is recorded."""

    profile_id: str
    subject: str = ""
    preview_text: str = ""
    html: str = ""
    message_id: str | None = Field(None, description="Take the texts of this flow message instead.")
    at: datetime | None = None


class AdvanceBody(Body):
    seconds: float = Field(gt=0)
