"""What a service answers when it was asked to try a connection, over its reply address."""

from pydantic import BaseModel, ConfigDict


class ProbeStep(BaseModel):
    """One thing that was tried. `says`: what happened, in words for whoever set the connection up."""

    model_config = ConfigDict(frozen=True)

    name: str
    ok: bool
    says: str


class Probed(BaseModel):
    """The steps in their order; after one that failed there are none that need it."""

    model_config = ConfigDict(frozen=True)

    steps: list[ProbeStep]
