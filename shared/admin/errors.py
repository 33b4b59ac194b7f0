"""Why an operation was not done. One small family; the command line and HTTP say it each in its own way.

AdminError
├── NotFound   what was named is not there
├── Refused    what was asked cannot be done as it stands; names the field, or each of several
├── Conflict   something of that name is there already
└── Forbidden  whoever asks may not do this
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import ValidationError

from shared.admin.wording import what_is_wrong


@dataclass(frozen=True, slots=True)
class Next:
    """Another operation of the same org that helps, and the values of its path. `instead`: it has to be done first;
    else it shows what there is."""

    operation: str
    values: tuple[str, ...] = ()
    instead: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one field of what was asked; `field` is a path like `target.bucket`."""

    field: str
    message: str


class AdminError(Exception):
    """`str()` is for people; `code` is stable. `next` is shown in the words of whoever shows the error."""

    status: ClassVar[int]
    type: ClassVar[str]
    default_code: ClassVar[str]

    def __init__(
        self, message: str, *, code: str | None = None, field: str | None = None, next: Next | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.field, self.next = message, field, next
        self.code = code or self.default_code


class NotFound(AdminError):
    """What was named is not there, or not this org's."""

    status, type, default_code = 404, "not_found", "not_found"


class Refused(AdminError):
    """It cannot be done as it was asked. `faults` has one entry for each field that is wrong."""

    status, type, default_code = 422, "invalid_request", "refused"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        next: Next | None = None,
        faults: Sequence[Fault] = (),
    ) -> None:
        super().__init__(message, code=code, field=field, next=next)
        self.faults = tuple(faults) or ((Fault(field, message),) if field else ())

    @classmethod
    def of_faults(cls, faults: Sequence[Fault], *, code: str = "invalid_field") -> "Refused":
        """All that is wrong at once."""
        first = faults[0]
        more = f" ({len(faults) - 1} more)" if len(faults) > 1 else ""
        return cls(f"{first.message}{more}", code=code, field=first.field, faults=faults)

    @classmethod
    def of(cls, error: ValidationError) -> "Refused":
        """What a model found. Never the input: it may be a secret."""
        return cls.of_faults(
            [
                Fault(_path(fault["loc"]), what_is_wrong(fault, "this"))
                for fault in error.errors(include_url=False, include_input=False)
            ]
        )


class Conflict(AdminError):
    """It is there already, or is not any more what whoever asked had seen."""

    status, type, default_code = 409, "conflict", "conflict"


class Forbidden(AdminError):
    """Whoever asks is known, and may not do this."""

    status, type, default_code = 403, "permission_denied", "role_too_small"


def _path(loc: tuple[Any, ...]) -> str:
    return ".".join(str(step) for step in loc if step != "[key]") or "body"
