"""How the API says what went wrong: the gateway's body, with the name of the field. Pure."""

from dataclasses import dataclass
from typing import Any, Final

from shared.admin.errors import AdminError, Next, Refused
from shared.admin.operation import PREFIX, Registry
from shared.crypto import SealError
from shared.errors import Failure, Outage, Permanent, Throttled, Transient

RETRY_AFTER_S: Final = 5


@dataclass(frozen=True, slots=True)
class Problem:
    """One answer that is no result. `type` and `code` are part of the contract, the message is for people."""

    status: int
    type: str
    code: str
    message: str
    field: str | None = None
    faults: tuple[tuple[str, str], ...] = ()
    retry_after_s: int | None = None

    def body(self) -> dict[str, Any]:
        """`{"error": {type, code, message, field, faults}}`."""
        faults = [{"field": field, "message": message} for field, message in self.faults]
        error = {"type": self.type, "code": self.code, "message": self.message, "field": self.field, "faults": faults}
        return {"error": error}

    def headers(self) -> dict[str, str]:
        """What goes with it."""
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


NOBODY: Final = Problem(
    401, "authentication_failed", "missing_api_key", "Send an API key with the scope `admin` in the header X-Api-Key."
)
NO_ORG: Final = Problem(404, "not_found", "no_such_org", "There is no such org, or it is not yours.")
UNEXPECTED: Final = Problem(
    500, "unavailable", "unexpected", "Something unforeseen happened; the request id names it in the logs."
)


def problem_of(error: Exception, registry: Registry, org_slug: str) -> Problem | None:
    """What an error that somebody foresaw is over HTTP; None for any other."""
    match error:
        case Refused():
            faults = tuple((fault.field, fault.message) for fault in error.faults)
            message = faults[0][1] if len(faults) == 1 else error.message
            message = f"{error.field}: {message}" if error.field else message
            return Problem(
                error.status,
                error.type,
                error.code,
                message + _help(error.next, registry, org_slug),
                error.field,
                faults,
            )
        case AdminError():
            message = error.message + _help(error.next, registry, org_slug)
            return Problem(error.status, error.type, error.code, message, error.field)
        case Throttled():
            return Problem(503, "unavailable", error.reason, str(error), retry_after_s=max(1, round(error.wait_s)))
        case Outage() | Transient():
            return Problem(503, "unavailable", error.reason, str(error), retry_after_s=RETRY_AFTER_S)
        case Permanent():
            return Problem(422, "invalid_request", error.reason, str(error))
        case Failure():
            return Problem(503, "unavailable", error.reason, str(error), retry_after_s=RETRY_AFTER_S)
        case SealError():
            return Problem(500, "unavailable", "secret_not_readable", f"A stored secret does not open: {error}.")
        case _:
            return None


def _help(next: Next | None, registry: Registry, org_slug: str) -> str:
    if next is None:
        return ""
    one = registry[next.operation]
    path = PREFIX.replace("{org_slug}", org_slug) + one.path
    for name, value in zip(one.path_parameters, next.values, strict=False):
        path = path.replace(f"{{{name}}}", value)
    return f"; {'first' if next.instead else 'see'} {one.method} {path}"
