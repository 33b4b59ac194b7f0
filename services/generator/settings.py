"""What the generator is told."""

from pydantic import Field

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """JUSTAI_GENERATOR_…"""

    generator_catalog_mb: int = Field(
        64, ge=1, description="Most copy that is held in memory, MB of text; orgs that were not seen lately make room."
    )
    generator_compiled_copies: int = Field(
        2000, ge=1, description="Most variant versions that are held ready to render."
    )
