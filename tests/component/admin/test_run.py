"""Running operations: who may, how a wish is read, and that a change and its entry in the log are one."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import SecretStr

from shared.admin import audit
from shared.admin.access import keys
from shared.admin.context import Asking, Context
from shared.admin.errors import Forbidden, Refused
from shared.admin.operation import AskedModel, Nothing, Operation, ResultModel, operation
from shared.admin.outcomes import examples as operations_examples
from shared.admin.run import together
from shared.errors import Outage
from shared.people.roles import ROLES, Role
from tests.component.admin.rig import START, Rig

SECRET = "planted-secret-0123456789"


class Wish(AskedModel):
    name: str
    secret: SecretStr
    others: tuple[SecretStr, ...] = ()
    note: str = ""


class Made(ResultModel):
    made_id: UUID
    secret: str


class Names(ResultModel):
    names: list[str]


UPDATE_NAME = "UPDATE orgs SET name = $2 WHERE org_id = $1"


@operation("things.make", "POST", "/things", "editor", "Make a thing.", target=("name",))
async def make(context: Context, asked: Wish) -> Made:
    await context.connection.execute(UPDATE_NAME, context.org_id, asked.name)
    if asked.note == "fail":
        raise Refused("does not fit", field="note")
    return Made(made_id=context.org_id, secret=asked.secret.get_secret_value())


@operation("things.peek", "GET", "/things", "viewer", "Says that it only looks.")
async def peek(context: Context, _: Nothing) -> Made:
    await context.connection.execute(UPDATE_NAME, context.org_id, "changed")
    return Made(made_id=context.org_id, secret="")


@operation("things.all", "GET", "/things/all", "viewer", "Names of all orgs that can be seen.")
async def see_all(context: Context, _: Nothing) -> Names:
    return Names(names=[row["slug"] for row in await context.connection.fetch("SELECT slug FROM orgs")])


@operation("things.transaction", "GET", "/things/transaction", "viewer", "When the transaction began.")
async def transaction(context: Context, _: Nothing) -> Names:
    return Names(names=[str(await context.connection.fetchval("SELECT transaction_timestamp()"))])


async def entries(acme: Rig) -> list[audit.Entry]:
    return (await acme.run(audit.list_entries, {})).entries


async def test_a_change_is_remembered_with_who_when_and_what_was_asked(acme: Rig) -> None:
    made = await acme.run(make, Wish(name="A shop", secret=SecretStr(SECRET)), name="Grace")

    [entry] = await entries(acme)
    assert (entry.actor, entry.actor_kind, entry.at, entry.operation) == ("Grace", "person", START, "things.make")
    assert (entry.target, entry.request_id) == ("A shop", "request-1")
    assert entry.results == {"made_id": str(made.made_id)}
    assert entry.asked["name"] == "A shop"


async def test_a_secret_reaches_neither_the_log_of_changes_nor_a_log_line(
    acme: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    key = await acme.run(keys.create, {"name": "old"})
    caplog.set_level("DEBUG")

    await acme.run(make, {"name": "x", "secret": SECRET, "others": [SECRET], "note": f"my key: {key.key}"})
    with pytest.raises(Refused) as refused:
        await acme.run(make, {"name": 7, "secret": SECRET, "scret": SECRET, "note": "x"})

    rows = str(await acme.rows("SELECT t::text FROM audit_log t"))
    shown = "".join(str(record.__dict__) for record in caplog.records)
    assert "things.make" in rows
    assert "operation.done" in shown
    for place in (rows, shown, str(refused.value.__dict__)):
        assert SECRET not in place
        assert key.key not in place


async def test_a_change_that_fails_leaves_neither_change_nor_entry(acme: Rig) -> None:
    with pytest.raises(Refused):
        await acme.run(make, {"name": "never", "secret": "s", "note": "fail"})

    assert await entries(acme) == []
    assert await acme.rows("SELECT name FROM orgs") == [{"name": "acme"}]


async def test_an_entry_that_cannot_be_stored_takes_the_change_with_it(acme: Rig) -> None:
    """ASVS 5.0 V2.3.3: all of it or nothing."""
    async with acme.database.transaction() as connection:
        await connection.execute("SET LOCAL ROLE NONE")
        await connection.execute("ALTER TABLE audit_log ADD CHECK (target <> 'never')")

    with pytest.raises(asyncpg.CheckViolationError):
        await acme.run(make, {"name": "never", "secret": "s"})

    assert await acme.rows("SELECT name FROM orgs") == [{"name": "acme"}]


async def test_what_says_that_it_changes_nothing_cannot(acme: Rig) -> None:
    with pytest.raises(Outage, match="ReadOnlySQLTransactionError"):
        await acme.run(peek, {})

    assert await acme.rows("SELECT name FROM orgs") == [{"name": "acme"}]


async def test_an_operation_sees_its_own_org_alone(acme: Rig) -> None:
    other = await acme.other()

    assert (await acme.run(see_all, {})).names == ["acme"]
    assert (await other.run(see_all, {})).names == ["other"]


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_may_what_it_reaches_and_nothing_above(acme: Rig, role: Role) -> None:
    may = ROLES.index(role) >= ROLES.index("editor")

    if may:
        await acme.run(make, {"name": "x", "secret": "s"}, role)
    else:
        with pytest.raises(Forbidden, match=f"needs the role editor; yours is {role}"):
            await acme.run(make, {"name": "x", "secret": "s"}, role)


@pytest.mark.parametrize(
    ("asked", "field", "message"),
    [
        ({"secret": "s"}, "name", "is missing"),
        ({"name": "x", "secret": "s", "nmae": "y"}, "nmae", "is no field of this; is it misspelled?"),
        ({"name": ["x"], "secret": "s"}, "name", "must be a text"),
        ({"name": "a\x00b", "secret": "s"}, "body", "name holds a character that no text may hold"),
    ],
)
async def test_a_wish_that_cannot_be_read_is_refused_with_the_field(
    acme: Rig, asked: dict[str, Any], field: str, message: str
) -> None:
    """ASVS 5.0 V15.3.3: only fields that are meant to be set are taken."""
    with pytest.raises(Refused) as refused:
        await acme.run(make, asked)

    [fault] = refused.value.faults
    assert (fault.field, fault.message[: len(message)]) == (field, message)


async def test_the_log_can_be_read_page_by_page_newest_first(acme: Rig) -> None:
    for number in range(5):
        await acme.run(make, {"name": f"n{number}", "secret": "s"})

    first = await acme.run(audit.list_entries, {"limit": 3})
    rest = await acme.run(audit.list_entries, {"limit": 3, "before": first.before})

    assert [entry.target for entry in (*first.entries, *rest.entries)] == ["n4", "n3", "n2", "n1", "n0"]
    assert rest.before is None
    assert (await acme.run(audit.list_entries, {"operation": "things", "limit": 1})).entries[0].target == "n4"
    assert (await acme.run(audit.list_entries, {"operation": "thing"})).entries == []


async def execute_as(acme: Rig, role: str, statement: str) -> None:
    async with acme.database.transaction() as connection:
        await connection.execute(f"SET LOCAL ROLE {role}")
        await connection.execute(statement)


async def test_nobody_can_edit_or_delete_what_is_in_the_log(acme: Rig) -> None:
    await acme.run(make, {"name": "x", "secret": "s"})

    for role in ("justai_worker", "justai_tenant"):
        for statement in ("UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await execute_as(acme, role, statement)


async def test_an_orgs_log_is_not_shown_to_another(acme: Rig) -> None:
    other = await acme.other()
    await acme.run(make, {"name": "x", "secret": "s"})

    assert await entries(other) == []
    async with other.database.transaction(other.org_id) as connection:
        assert await connection.fetch("SELECT * FROM audit_log") == []


async def test_long_texts_and_lists_are_cut_in_the_log(acme: Rig) -> None:
    await acme.run(make, {"name": "x", "secret": "s", "note": "a" * 2000, "others": ["s"] * 300})

    [entry] = await entries(acme)
    assert entry.asked["note"] == "a" * 500 + "… (2000 characters)"
    assert (len(entry.asked["others"]), entry.asked["others"][-1]) == (201, "… (300 entries)")


async def test_reads_together_are_of_one_moment_and_see_this_org_alone(acme: Rig) -> None:
    await acme.other()
    async with together(Asking(acme.means, acme.actor("viewer"), "request-1")) as reads:
        first = await reads.run(transaction, {})
        assert (await reads.run(see_all, {})).names == ["acme"]
        assert await reads.run(transaction, Nothing()) == first


async def test_reads_together_change_nothing_and_ask_for_the_role(acme: Rig) -> None:
    async def look(operation: Operation[Any, Any], asked: object) -> None:
        async with together(Asking(acme.means, acme.actor("viewer"), "request-1")) as reads:
            await reads.run(operation, asked)

    with pytest.raises(ValueError, match=r"things\.make"):
        await look(make, {"name": "x", "secret": SECRET})
    with pytest.raises(Forbidden):
        await look(operations_examples.examples, {"because": "quota"})
    with pytest.raises(Outage, match="ReadOnlySQLTransactionError"):
        await look(peek, {})
