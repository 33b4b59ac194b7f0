"""What the ranker is told; how a template is ranked stands in its own policy."""

from pydantic import Field

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """Durations are virtual seconds."""

    ranker_tick_s: float = Field(5, gt=0, description="How often to look for templates with new feedback.")
    ranker_refit_s: float = Field(
        3600, gt=0, description="A template is fitted again after this time even if nothing changed: sends ripen."
    )
    ranker_lease_s: float = Field(
        300, gt=0, description="A ranker that fell silent keeps its template from others for this time."
    )
    ranker_retry_s: float = Field(60, gt=0, description="How long a template waits after a fit that failed.")
