"""Running an operation: may they, is it well asked, do it and remember it in one transaction."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from shared import logs
from shared.admin import audit
from shared.admin.context import Asking, Context
from shared.admin.errors import AdminError, Forbidden, Refused
from shared.admin.operation import A, Operation, R

log = logs.get(__name__)

READ_ONLY = "SET TRANSACTION READ ONLY"


async def run(asking: Asking, operation: Operation[A, R], asked: A | Mapping[str, Any]) -> R:
    """What the operation answers. A change and its audit row are stored together or not at all.

    Raises AdminError; a shared.errors.Failure where a server or Klaviyo fails; SealError.
    """
    if not asking.actor.may(operation.role):
        raise Forbidden(f"This needs the role {operation.role}; yours is {asking.actor.role}.")
    wish = asked if isinstance(asked, operation.asked) else read(operation, asked)
    found = await operation.first(asking, wish) if operation.first is not None else None
    try:
        async with asking.means.database.transaction(asking.org_id) as connection:
            if not operation.changes:
                await connection.execute(READ_ONLY)
            context = Context.inside(asking, connection, asking.means.clock.now())
            result = await operation.work(context, wish, found)
            changed = operation.changes and getattr(result, "changed", True)
            if changed:
                await audit.remember(context, operation, wish, result)
    except AdminError as error:
        _tell(asking, operation, error)
        raise
    for act in context.afterwards:
        await act()
    if changed:
        log.info("operation.done", operation=operation.name, actor=asking.actor.kind, request_id=asking.request_id)
    return result


@dataclass(frozen=True, slots=True)
class Together:
    """Reads, one after the other in one transaction: what they answer is of one moment."""

    _asking: Asking
    _context: Context

    async def run(self, operation: Operation[A, R], asked: A | Mapping[str, Any]) -> R:
        """What the operation answers. Only for one that changes nothing and does nothing before its transaction.

        Raises AdminError, as `run` does.
        """
        if operation.changes:
            raise ValueError(f"{operation.name} is no read")
        try:
            return await within(self._context, operation, asked)
        except AdminError as error:
            _tell(self._asking, operation, error)
            raise


@asynccontextmanager
async def together(asking: Asking) -> AsyncIterator[Together]:
    """For pages made of several answers: a transaction for each would cost more than many of them."""
    async with asking.means.database.transaction(asking.org_id) as connection:
        await connection.execute(READ_ONLY)
        yield Together(asking, Context.inside(asking, connection, asking.means.clock.now()))


def _tell(asking: Asking, operation: Operation[Any, Any], error: AdminError) -> None:
    log.info("operation.refused", operation=operation.name, code=error.code, request_id=asking.request_id)


async def within(context: Context, operation: Operation[A, R], asked: A | Mapping[str, Any]) -> R:
    """Do this as a part of another operation: in its transaction, with its own role and its own audit entry. Only for
    one that does nothing before its transaction.

    Raises AdminError.
    """
    if not context.actor.may(operation.role):
        raise Forbidden(f"{operation.name} needs the role {operation.role}; yours is {context.actor.role}.")
    wish = asked if isinstance(asked, operation.asked) else read(operation, asked)
    result = await operation.work(context, wish, None)
    if operation.changes and getattr(result, "changed", True):
        await audit.remember(context, operation, wish, result)
    return result


def read(operation: Operation[A, R], asked: object) -> A:
    """What was asked, as the operation wants it. Raises Refused, naming every field that is wrong."""
    try:
        return operation.asked.model_validate(asked)
    except ValidationError as error:
        raise Refused.of(error) from None


def as_json(model: BaseModel) -> dict[str, Any]:
    """As it goes over the wire; secrets are stars."""
    return model.model_dump(mode="json")
