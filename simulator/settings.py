"""Everything about Klaviyo that public material leaves open, as switches.

A default is the harsher reading where the two readings differ for a client, so that what passes here passes there.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt


class SimulatorSettings(BaseModel):
    """One frozen value for the whole box; `/_sim/settings` replaces it as a whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kilobyte_bytes: Literal[1000, 1024] = Field(1000, description="A KB of the body limits; unknown, 1000 is stricter.")
    oversize_status: Literal[413, 400] = Field(413, description="Answer to a body over its limit; unknown.")
    bad_key_status: Literal[401, 400] = Field(401, description="Answer to a missing or wrong key; both are documented.")
    retry_after: bool = Field(True, description="False: 429 without Retry-After, seen on real accounts.")
    shared_write_quota: bool = Field(
        False,
        description="True: PATCH of a profile and profile-import spend one quota, that of PATCH. The document counts "
        "per operation; unknown on a live account.",
    )
    visibility_delay_s: float = Field(0.0, ge=0, description="Virtual seconds until emails see a write.")
    bulk_job_min_s: PositiveFloat = Field(5.0, description="Shortest run of a bulk import job, virtual seconds.")
    bulk_job_max_s: PositiveFloat = Field(120.0, description="Longest run of a bulk import job, virtual seconds.")
    import_error_payload: bool = Field(
        True, description="False: import errors come without original_payload, which the document does not require."
    )
    import_error_row: bool = Field(
        True, description="False: an import error points at /data, the document's default, and names no row."
    )
    cursor_life_s: PositiveFloat | None = Field(
        None, description="Virtual seconds for which a page cursor is good; unknown, None is for ever."
    )
    event_page_again: int = Field(
        0, ge=0, description="So many events of a page come once more at the beginning of the next one."
    )
    report_page_rows: PositiveInt = Field(1000, description="Rows of one page of a report; unknown.")

    header_values: Literal["shown", "hidden"] = Field(
        "shown", description="Whether reading a flow tells the values of its webhooks' headers; unknown, and Klaviyo's "
        "own screen hides a part of them.",
    )  # fmt: skip
    webhook_timeout_s: PositiveFloat = Field(
        10.0, description="Real seconds until a flow webhook is given up; unknown, 5 to 30 is likely."
    )
    webhook_concurrency: PositiveInt = Field(64, description="Webhooks in flight at once.")
    webhook_retries: int = Field(17, ge=0, description="Retries of a webhook that may heal.")
    webhook_retry_span_s: PositiveFloat = Field(86_400.0, description="Virtual seconds that all retries take.")
    retry_unanswered: bool = Field(False, description="Retry a webhook that timed out or found no server; unknown.")
    hold_on_retry: bool = Field(False, description="True: a person waits while the webhook is retried; unknown.")
    webhook_autoescape: bool = Field(False, description="HTML-escape values in webhook bodies; off was observed.")
    invalid_json: Literal["send", "skip"] = Field(
        "send", description="What is done with a webhook body that is no JSON."
    )
    allow_http: bool = Field(True, description="Accept plain http webhook URLs of this machine; Klaviyo wants https.")

    request_log_entries: PositiveInt = Field(20_000, description="Requests kept for `/_sim/requests`.")
    request_log_bytes: PositiveInt = Field(
        32_000_000, description="Body bytes kept for `/_sim/requests`, the newest ones."
    )
