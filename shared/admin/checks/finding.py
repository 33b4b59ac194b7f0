"""One answer of the troubleshooting list."""

from datetime import datetime
from typing import Final, Literal

from shared.admin.operation import ResultModel

Tone = Literal["good", "info", "warn", "bad"]


class CheckFinding(ResultModel):
    """One answer. `do`: what to do about it, empty where nothing is; `see`: the operation that helps. `at`: the moment
    that the text speaks of, told apart so that each surface shows it in its zone. `because`: the reason whose examples
    can be looked at with `outcomes.examples`."""

    tone: Tone
    says: str
    do: str = ""
    see: str | None = None
    at: datetime | None = None
    examples: tuple[str, ...] = ()
    because: str | None = None


NOT_CONNECTED: Final = CheckFinding(
    tone="bad",
    says="Klaviyo is not connected.",
    do="Save a private key.",
    see="klaviyo.connect",
)
