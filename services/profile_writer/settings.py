"""What the profile writer is told."""

from pydantic import Field

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """`JUSTAI_WRITER_*` beside the shared settings. All seconds are the product's, so they follow a scaled clock."""

    writer_deadline_margin_s: float = Field(
        2,
        ge=0,
        description="A write with less than this left before its deadline is not sent. A turn spaces its requests over "
        "up to half a second and an answer may take one; a write that comes later than the email changes nothing for "
        "it and costs the quota twice, once more to be cleaned up.",
    )
    writer_turn_writes: int = Field(25, ge=1, le=200, description="Most writes of one account and road in one turn.")
    writer_turns: int = Field(8, ge=1, le=64, description="Turns, of different accounts, that send at the same time.")
    writer_lease_s: float = Field(
        30,
        gt=0,
        description="How long a turn may hold its writes. It stops by itself before that; a dead one's writes are "
        "taken over then. Longer than a call to Klaviyo may last.",
    )
    writer_clean_up_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Clean-up spends tokens only while less than this share of the minute's quota is in use, so that "
        "a burst of fresh writes always finds the rest free.",
    )
    writer_import_road: bool = Field(
        False,
        description="Also write by POST /api/profile-import where an account's answers have proved that Klaviyo counts "
        "it apart from PATCH: twice the writes a minute. A few real writes find out under load; `justai quota` shows "
        "the verdict. Off: not one request goes that way.",
    )
