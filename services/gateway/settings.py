"""What the gateway is told."""

from typing import Self

from pydantic import Field, model_validator

from shared.settings import Listen, ServiceSettings


class Settings(ServiceSettings):
    """Settings of the gateway."""

    gateway_listen: Listen = Field(
        "127.0.0.1:8080", description="host:port where webhooks arrive; TLS ends in front of it."
    )
    gateway_linger_s: float = Field(
        5,
        ge=0,
        description="Real seconds after SIGTERM in which webhooks are still answered while /readyz is red, so that a "
        "load balancer takes this replica out first; less than drain_s.",
    )
    gateway_wait_s: float = Field(
        3,
        ge=0,
        le=10,
        description="Most real seconds for which a caller may wait for the copy (`Prefer: wait=N`), and what it waits "
        "without an N; 0: nobody waits.",
    )

    @model_validator(mode="after")
    def _lingering_leaves_time_to_drain(self) -> Self:
        if self.gateway_linger_s >= self.drain_s:
            raise ValueError(
                f"gateway_linger_s ({self.gateway_linger_s:g}) must be less than drain_s ({self.drain_s:g})"
            )
        return self
