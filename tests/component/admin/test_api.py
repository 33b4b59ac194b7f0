"""The HTTP API: who gets in, what is refused and how, for every route there is."""

import re
from datetime import timedelta
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_core import OpenAPI

from services.console.api.openapi import document
from services.console.api.routes import DOCUMENT_PATH
from shared.admin.access import keys
from shared.admin.operation import PREFIX, Operation, has_body
from shared.admin.registry import REGISTRY
from shared.people.roles import ROLES
from tests.component.admin.rig import Answer, Rig

KEYS = "/api/v1/orgs/acme/keys"


def url(one: Operation[Any, Any], org_slug: str = "acme") -> str:
    return re.sub(r"\{[a-z_]+\}", "x", PREFIX.replace("{org_slug}", org_slug) + one.path)


async def admin_key(acme: Rig) -> dict[str, str]:
    return {"X-Api-Key": (await acme.run(keys.create, {"name": "robot", "scopes": ["admin"]})).key}


async def test_a_key_is_made_listed_and_revoked_over_http_and_the_log_says_by_whom(acme: Rig) -> None:
    headers = await admin_key(acme)

    made = await acme.ask("POST", KEYS, headers=headers, json={"name": "webhook"})
    listed = await acme.ask("GET", KEYS, headers=headers)
    gone = await acme.ask("DELETE", f"{KEYS}/webhook", headers={**headers, "X-Request-Id": "mine-1"})

    assert made.body["key"].startswith("jai_live_")
    assert [key["name"] for key in listed.body["keys"]] == ["robot", "webhook"]
    assert listed.body["keys"][0]["last_used_at"] is not None
    assert made.body["key"] not in str(listed.body)
    assert (gone.status, gone.body, gone.headers["X-Request-Id"]) == (200, {"revoked": [made.body["shown"]]}, "mine-1")
    [_, first, second] = await acme.rows("SELECT * FROM audit_log ORDER BY audit_id")
    assert (first["actor_kind"], first["operation"]) == ("key", "keys.create")
    assert (second["actor_kind"], second["operation"], second["request_id"]) == ("key", "keys.revoke", "mine-1")
    assert second["actor"].startswith("robot (jai_live_…")


async def test_a_name_may_hold_what_routers_think_of_as_theirs(acme: Rig) -> None:
    headers = await admin_key(acme)
    await acme.ask("POST", KEYS, headers=headers, json={"name": "a{b}:[c] d?e#f"})

    gone = await acme.ask("DELETE", f"{KEYS}/a%7Bb%7D%3A%5Bc%5D%20d%3Fe%23f", headers=headers)

    assert (gone.status, len(gone.body["revoked"])) == (200, 1)


async def test_every_route_refuses_nobody_and_strangers(acme: Rig) -> None:
    theirs = await admin_key(await acme.other())

    for one in REGISTRY.served():
        nobody = await acme.ask(one.method, url(one))
        stranger = await acme.ask(one.method, url(one), headers=theirs)
        nowhere = await acme.ask(one.method, url(one, "nowhere"), headers=theirs)

        assert (one.name, nobody.status, nobody.error["code"]) == (one.name, 401, "missing_api_key")
        assert (one.name, stranger.status, stranger.body) == (one.name, 404, nowhere.body)
    assert await acme.rows("SELECT * FROM audit_log WHERE org_id = $1", acme.org_id) == []


async def test_every_route_refuses_roles_that_are_too_small(acme: Rig) -> None:
    for one in REGISTRY.served():
        for role in ROLES[: ROLES.index(one.role)]:
            refused = await acme.ask(one.method, url(one), acme.actor(role))

            assert (one.name, refused.status, refused.error["code"]) == (one.name, 403, "role_too_small")


async def test_every_route_names_a_field_that_it_does_not_know(acme: Rig) -> None:
    for one in REGISTRY.served():
        sent = {"json": {"mispelled": 1}} if has_body(one) else {"params": {"mispelled": "1"}}

        refused = await acme.ask(one.method, url(one), acme.actor(), **sent)

        assert (one.name, refused.status, refused.error["type"]) == (one.name, 422, "invalid_request")
        assert "mispelled" in [fault["field"] for fault in refused.error["faults"]]


async def test_a_key_that_is_revoked_expired_of_another_kind_or_sent_twice_is_refused(acme: Rig) -> None:
    made = await acme.run(keys.create, {"name": "robot", "scopes": ["admin"], "days": 1})
    hook = await acme.run(keys.create, {"name": "webhook"})

    async def asked(*headers: tuple[str, str]) -> Answer:
        return await acme.ask("GET", KEYS, headers=list(headers))

    assert (await asked(("X-Api-Key", made.key))).status == 200
    assert (await asked(("Authorization", f"Bearer {made.key}"))).status == 200
    assert (await asked(("X-Api-Key", made.key), ("Authorization", f"Bearer {made.key}"))).status == 200
    assert (await asked(("X-Api-Key", made.key), ("Authorization", f"Bearer {hook.key}"))).status == 401
    assert (await asked(("X-Api-Key", made.key[:-1] + "!"))).status == 401
    lacking = await asked(("X-Api-Key", hook.key))
    assert (lacking.status, lacking.error["code"]) == (403, "missing_scope")
    acme.clock.at += timedelta(days=1)
    assert (await asked(("X-Api-Key", made.key))).status == 401
    acme.clock.at -= timedelta(days=1)
    await acme.run(keys.revoke, {"key": "robot"})
    assert (await asked(("X-Api-Key", made.key))).status == 401


@pytest.mark.parametrize(
    ("sent", "code", "message"),
    [
        ({"json": {"name": "x", "days": 0}}, "invalid_field", "days: "),
        ({"json": {"name": ""}}, "refused", "name: a key needs one, by which it can be revoked"),
        ({"json": ["x"]}, "not_json", "the body must be a JSON object"),
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, "not_json", "the body is no JSON"),
        ({"data": {"name": "x"}}, "not_json", "send JSON"),
    ],
)
async def test_a_body_that_cannot_be_used_says_why(acme: Rig, sent: dict[str, Any], code: str, message: str) -> None:
    refused = await acme.ask("POST", KEYS, acme.actor(), **sent)

    assert (refused.status, refused.error["type"], refused.error["code"]) == (422, "invalid_request", code)
    assert refused.error["message"].startswith(message)


async def test_a_field_of_the_path_cannot_be_said_again(acme: Rig) -> None:
    refused = await acme.ask("POST", f"{KEYS}/a/rotate", acme.actor(), json={"key": "b"})

    assert (refused.status, refused.error["field"]) == (422, "key")


async def test_what_is_not_there_says_where_to_look(acme: Rig) -> None:
    missing = await acme.ask("DELETE", f"{KEYS}/none", acme.actor())

    assert missing.status == 404
    assert missing.error["message"] == "No active key 'none'; see GET /api/v1/orgs/acme/keys"


async def test_an_error_that_nobody_foresaw_shows_nothing_but_the_requests_id(
    acme: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async with acme.database.transaction() as connection:
        await connection.execute("SET LOCAL ROLE NONE")
        await connection.execute("ALTER TABLE audit_log ADD CHECK (target <> 'canary')")

    failed = await acme.ask("POST", KEYS, acme.actor(), json={"name": "canary"})

    assert (failed.status, failed.error["code"]) == (500, "unexpected")
    assert "canary" not in str(failed.body)
    [told] = [record for record in caplog.records if record.getMessage() == "api.failed"]
    assert vars(told)["fields"]["request_id"] == failed.headers["X-Request-Id"]


async def test_answers_are_as_the_document_says(acme: Rig) -> None:
    served = (await acme.ask("GET", DOCUMENT_PATH)).body
    actor = acme.actor()

    made = await acme.ask("POST", KEYS, actor, json={"name": "webhook"})
    for method, path, answer in (
        ("POST", KEYS, made),
        ("POST", KEYS, await acme.ask("POST", KEYS, actor, json={"name": ""})),
        ("GET", KEYS, await acme.ask("GET", KEYS, actor)),
        (
            "GET",
            "/api/v1/orgs/acme/audit",
            await acme.ask("GET", "/api/v1/orgs/acme/audit", actor, params={"limit": "1"}),
        ),
    ):
        assert_described(served, method, path, answer)

    assert served == document(REGISTRY)
    OpenAPI.from_dict(served).check_spec()


def assert_described(served: dict[str, Any], method: str, path: str, answer: Answer) -> None:
    """By the JSON Schema of the document's answer for this status."""
    template = path.replace("/orgs/acme/", "/orgs/{org_slug}/")
    described = served["paths"][template][method.lower()]["responses"][str(answer.status)]
    if "$ref" in described:
        described = served["components"]["responses"][described["$ref"].rpartition("/")[2]]
    schema = described["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": served["components"]}).validate(answer.body)
