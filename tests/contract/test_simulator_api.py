"""Every operation of the simulator, success and refusal; each answer is also held to Klaviyo's document."""

from typing import Any
from urllib.parse import quote

import pytest

from shared.clock import FrozenClock
from simulator.account import Account
from simulator.api.operations import OPERATIONS
from simulator.settings import SimulatorSettings
from tests.contract import klaviyo_spec
from tests.contract.simulator_box import Caller, profile_body, running_box

PAGE_SCOPES = ["flows:read", "campaigns:read", "metrics:read", "profiles:write"]


async def add_people(caller: Caller, account: Account, *people: dict[str, Any]) -> list[str]:
    answer = await caller.sim("POST", f"/accounts/{account.id}/profiles", {"profiles": list(people)})
    ids: list[str] = answer["ids"]
    return ids


async def add_flow(caller: Caller, account: Account, name: str = "Welcome") -> dict[str, Any]:
    actions = [
        {"type": "send-webhook", "url": "https://gateway.example/x", "headers": {"X-Api-Key": "k"}, "body": "{}"},
        {"type": "time-delay", "unit": "minutes", "value": 3},
        {"type": "send-email", "name": "Welcome 1", "subject": "Hi", "html": "<p>{% unsubscribe %}</p>", "text": "Bye"},
    ]
    made: dict[str, Any] = await caller.sim("POST", f"/accounts/{account.id}/flows", {"name": name, "actions": actions})
    return made


# --- profiles --------------------------------------------------------------------------------------------------------


async def test_a_profile_write_is_answered_with_the_profile_and_can_be_read_back(
    caller: Caller, account: Account
) -> None:
    (profile_id,) = await add_people(caller, account, {"email": "ann@x.example", "properties": {"plan": "pro"}})

    written = await caller.api(
        "PATCH", f"/api/profiles/{profile_id}", profile_body(profile_id, {"jai_body": "<p>é</p>"}, first_name="Ann")
    )
    read = await caller.api("GET", f"/api/profiles/{profile_id}")

    assert written.status == read.status == 200
    assert written.json["data"]["attributes"]["properties"] == {"plan": "pro", "jai_body": "<p>é</p>"}
    assert written.json["data"] == read.json["data"]


async def test_a_sparse_fieldset_keeps_the_answer_small(caller: Caller, account: Account) -> None:
    (profile_id,) = await add_people(caller, account, {"email": "ann@x.example"})
    path = f"/api/profiles/{profile_id}?fields[profile]=updated"

    written = await caller.api("PATCH", path, profile_body(profile_id, {"jai_body": "x" * 50_000}))

    assert list(written.json["data"]["attributes"]) == ["updated"]
    assert len(written.raw) < 2_000


async def test_unset_removes_what_was_generated(caller: Caller, account: Account) -> None:
    (profile_id,) = await add_people(caller, account, {"properties": {"jai_body": "x", "jai_for": "M", "plan": "pro"}})
    body = profile_body(profile_id)
    body["data"]["meta"] = {"patch_properties": {"unset": ["jai_body", "jai_for"]}}

    written = await caller.api("PATCH", f"/api/profiles/{profile_id}", body)

    assert written.json["data"]["attributes"]["properties"] == {"plan": "pro"}


async def test_the_id_of_the_body_must_be_the_id_of_the_path(caller: Caller, account: Account) -> None:
    first, second = await add_people(caller, account, {}, {})

    for wrong in (second, None):
        refused = await caller.api("PATCH", f"/api/profiles/{first}", profile_body(wrong or "", {}))
        assert (refused.status, refused.error["source"]) == (400, {"pointer": "/data/id"})


@pytest.mark.parametrize("into_another", [True, False])
async def test_a_merged_or_deleted_profile_is_not_found(caller: Caller, account: Account, into_another: bool) -> None:
    gone, stays = await add_people(caller, account, {"email": "a@x.example"}, {"email": "b@x.example"})
    body = {"into": stays} if into_another else {}
    await caller.sim("POST", f"/accounts/{account.id}/profiles/{gone}/merge", body)

    refused = await caller.api("PATCH", f"/api/profiles/{gone}", profile_body(gone, {"a": 1}))

    assert (refused.status, refused.error["code"]) == (404, "not_found")
    assert refused.error["detail"] == f"A profile with id {gone} does not exist."


async def test_an_email_that_is_taken_conflicts(caller: Caller, account: Account) -> None:
    first, second = await add_people(caller, account, {"email": "a@x.example"}, {"email": "b@x.example"})

    refused = await caller.api("PATCH", f"/api/profiles/{second}", profile_body(second, email="A@x.example"))

    assert (refused.status, refused.error["code"]) == (409, "duplicate_profile")
    assert refused.error["meta"] == {"duplicate_profile_id": first}


@pytest.mark.parametrize(
    ("attributes", "pointer"),
    [
        ({"frist_name": "Ann"}, "/data/attributes/frist_name"),
        ({"properties": [1]}, "/data/attributes/properties"),
        ({"email": "no address"}, "/data/attributes/email"),
    ],
)
async def test_a_wrong_attribute_names_its_place(
    caller: Caller, account: Account, attributes: dict[str, Any], pointer: str
) -> None:
    (profile_id,) = await add_people(caller, account, {})

    refused = await caller.api("PATCH", f"/api/profiles/{profile_id}", profile_body(profile_id, **attributes))

    assert (refused.status, refused.error["source"]["pointer"]) == (400, pointer)


async def test_an_import_creates_and_then_updates(caller: Caller, account: Account) -> None:
    body = {"data": {"type": "profile", "attributes": {"email": "new@x.example", "properties": {"plan": "free"}}}}

    created = await caller.api("POST", "/api/profile-import", body)
    body["data"]["attributes"] = {"email": "NEW@x.example", "properties": {"n": 1}}
    updated = await caller.api("POST", "/api/profile-import", body)

    assert (created.status, updated.status) == (201, 200)
    assert created.json["data"]["id"] == updated.json["data"]["id"]
    assert updated.json["data"]["attributes"]["properties"] == {"plan": "free", "n": 1}


async def test_an_import_with_an_id_and_another_persons_email_is_not_found(caller: Caller, account: Account) -> None:
    first, _ = await add_people(caller, account, {"email": "a@x.example"}, {"email": "b@x.example"})
    body = {"data": {"type": "profile", "id": first, "attributes": {"email": "b@x.example"}}}

    assert (await caller.api("POST", "/api/profile-import", body)).status == 404


# --- flows and other readings ----------------------------------------------------------------------------------------


async def test_the_whole_graph_of_a_flow_can_be_read(caller: Caller, account: Account, clock: FrozenClock) -> None:
    made = await add_flow(caller, account)
    webhook, delay, mail = made["actions"]

    flows = await caller.api("GET", "/api/flows?include=flow-actions&filter=equals(status,%22live%22)")
    flow = await caller.api("GET", f"/api/flows/{made['id']}?additional-fields[flow]=definition")
    actions = await caller.api("GET", f"/api/flows/{made['id']}/flow-actions?sort=created")
    clock.advance(1)
    action = await caller.api("GET", f"/api/flow-actions/{mail['id']}?include=flow,flow-messages")
    messages = await caller.api("GET", f"/api/flow-actions/{mail['id']}/flow-messages")
    message = await caller.api("GET", f"/api/flow-messages/{mail['message_id']}?include=flow-action,template")
    template = await caller.api("GET", f"/api/flow-messages/{mail['message_id']}/template")

    assert [it["id"] for it in flows.json["data"]] == [made["id"]]
    assert {it["id"] for it in flows.json["included"]} == {webhook["id"], delay["id"], mail["id"]}
    assert flow.json["data"]["attributes"]["definition"]["entry_action_id"] == webhook["id"]
    definitions = {it["id"]: it["attributes"]["definition"] for it in actions.json["data"]}
    assert definitions[webhook["id"]]["data"]["message"]["url"] == "https://gateway.example/x"
    assert definitions[webhook["id"]]["links"]["next"] == delay["id"]
    assert definitions[delay["id"]]["data"]["value"] == 3
    assert definitions[mail["id"]]["data"]["message"]["subject_line"] == "Hi"
    assert {it["type"] for it in action.json["included"]} == {"flow", "flow-message"}
    assert [it["id"] for it in messages.json["data"]] == [mail["message_id"]]
    assert mail["message_id"] != mail["id"]
    assert message.json["data"]["relationships"]["flow-action"]["data"]["id"] == mail["id"]
    attributes = template.json["data"]["attributes"]
    assert (attributes["html"], attributes["text"], attributes["amp"]) == ("<p>{% unsubscribe %}</p>", "Bye", None)


async def test_collections_are_paged_by_a_link_that_is_followed_as_it_is(
    caller: Caller, account: Account, clock: FrozenClock
) -> None:
    for number in range(120):
        await add_flow(caller, account, f"Flow {number:03}")

    seen: list[str] = []
    path = "/api/flows?sort=-name&fields[flow]=name"
    while path:
        clock.advance(1)
        page = await caller.api("GET", path)
        seen += [it["attributes"]["name"] for it in page.json["data"]]
        path = page.json["links"].get("next", "").removeprefix(caller.box.url)

    assert seen == [f"Flow {number:03}" for number in range(119, -1, -1)]


async def test_accounts_metrics_and_campaigns_are_read(caller: Caller, account: Account) -> None:
    await caller.sim("POST", f"/accounts/{account.id}/campaigns", {"name": "Newsletter"})

    accounts = await caller.api("GET", "/api/accounts?fields[account]=timezone,contact_information.organization_name")
    metrics = await caller.api("GET", "/api/metrics?fields[metric]=name")
    channel = quote("equals(messages.channel,'email')")
    campaigns = await caller.api("GET", f"/api/campaigns?filter={channel}")
    with_messages = await caller.api("GET", f"/api/campaigns?filter={channel}&include=campaign-messages")
    unfiltered = await caller.api("GET", "/api/campaigns")

    assert accounts.json["data"][0]["id"] == account.id
    assert accounts.json["data"][0]["attributes"] == {
        "timezone": "Europe/London",
        "contact_information": {"organization_name": "Corner Shop"},
    }
    assert "Clicked Email" in {it["attributes"]["name"] for it in metrics.json["data"]}
    assert [it["attributes"]["name"] for it in campaigns.json["data"]] == ["Newsletter"]
    [message] = with_messages.json["included"]
    related = with_messages.json["data"][0]["relationships"]["campaign-messages"]["data"]
    assert related == [{"type": "campaign-message", "id": message["id"]}]
    assert message["attributes"]["definition"]["label"] == "Newsletter"
    assert (unfiltered.status, unfiltered.error["source"]) == (400, {"parameter": "filter"})


# --- who may, and how ------------------------------------------------------------------------------------------------


async def test_the_pages_key_may_write_profiles_and_read_flows_but_no_more(caller: Caller, account: Account) -> None:
    (profile_id,) = await add_people(caller, account, {})
    caller.key = (await caller.sim("POST", f"/accounts/{account.id}/keys", {"scopes": "page"}))["key"]

    allowed = set()
    for operation in OPERATIONS:
        path = operation.path.replace("{id}", profile_id).replace("{job_id}", "x")
        body: Any = {"data": {}} if operation.method != "GET" else None
        if (await caller.api(operation.method, path, body)).status != 403:
            allowed.add(operation.id)

    assert allowed == {
        "update_profile", "create_or_update_profile", "get_flows", "get_flow", "get_actions_for_flow",
        "get_flow_action", "get_flow_action_messages", "get_flow_message", "get_campaigns", "get_metrics",
        "query_flow_values", "query_metric_aggregates",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("", "not_authenticated"),
        ("Bearer pk_x", "not_authenticated"),
        ("Klaviyo-API-Key pk_wrong", "authentication_failed"),
    ],
)
async def test_a_missing_or_wrong_key_is_401(caller: Caller, authorization: str, code: str) -> None:
    refused = await caller.api("GET", "/api/metrics", headers={"Authorization": authorization})

    assert (refused.status, refused.error["code"]) == (401, code)
    assert "RateLimit-Limit" not in refused.headers


async def test_a_revoked_key_is_401_and_other_keys_go_on(caller: Caller, account: Account) -> None:
    other = (await caller.sim("POST", f"/accounts/{account.id}/keys", {"scopes": "all"}))["key"]
    await caller.sim("DELETE", f"/accounts/{account.id}/keys/{caller.key}")

    assert (await caller.api("GET", "/api/metrics")).status == 401
    caller.key = other
    assert (await caller.api("GET", "/api/metrics")).status == 200


@pytest.mark.parametrize(
    ("revision", "status"),
    [("2026-07-15", 200), ("2026-10-15", 200), ("", 400), ("2026-02-30", 400), ("latest", 400), ("2023-02-22", 410)],
)
async def test_only_known_revisions_are_served(caller: Caller, revision: str, status: int) -> None:
    assert (await caller.api("GET", "/api/metrics", headers={"revision": revision})).status == status


async def test_another_media_type_is_refused(caller: Caller, account: Account) -> None:
    (profile_id,) = await add_people(caller, account, {})

    refused = await caller.api(
        "PATCH", f"/api/profiles/{profile_id}", profile_body(profile_id), headers={"Content-Type": "application/json"}
    )

    assert (refused.status, refused.error["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("raw", [b"{", b"[]", b'"x"', b'{"data": []}', b"\xff"])
async def test_a_body_that_is_no_document_is_400(caller: Caller, account: Account, raw: bytes) -> None:
    (profile_id,) = await add_people(caller, account, {})

    assert (await caller.api("PATCH", f"/api/profiles/{profile_id}", raw=raw)).status == 400


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/api/flows?include=profiless", "include"),
        ("/api/flows?fields[flow]=nmae", "fields[flow]"),
        ("/api/flows?page[size]=51", "page[size]"),
        ("/api/flows?page[cursor]=%25%25", "page[cursor]"),
        ("/api/flows?sort=colour", "sort"),
        ("/api/flows?filter=equals(colour,1)", "filter"),
        ("/api/profile-bulk-import-jobs?filter=equals(status,'cancelled')", "filter"),
        ("/api/profile-bulk-import-jobs?sort=id", "sort"),
    ],
)
async def test_a_wrong_parameter_is_named(caller: Caller, path: str, parameter: str) -> None:
    refused = await caller.api("GET", path)

    assert (refused.status, refused.error["source"]) == (400, {"parameter": parameter})


async def test_unknown_addresses_and_methods_are_refused_in_json_api(caller: Caller) -> None:
    assert (await caller.api("GET", "/api/nothing")).error["code"] == "not_found"
    assert (await caller.api("DELETE", "/api/flows")).error["code"] == "method_not_allowed"
    assert (await caller.api("GET", "/api/flows/nope")).error["detail"] == "A flow with id nope does not exist."


@pytest.mark.parametrize(
    ("settings", "largest", "status"),
    [
        (SimulatorSettings(), 100_000, 413),
        (SimulatorSettings(kilobyte_bytes=1024), 102_400, 413),
        (SimulatorSettings(oversize_status=400), 100_000, 400),
    ],
)
async def test_a_profile_write_may_have_100_kb_as_received(
    settings: SimulatorSettings, largest: int, status: int
) -> None:
    async with running_box(settings=settings) as (caller, account):
        (profile_id,) = await add_people(caller, account, {})
        empty = len(b'{"data":{"type":"profile","id":"","attributes":{"properties":{"b":""}}}}') + len(profile_id)
        replies = []
        for size in (largest, largest + 1):
            raw = (
                f'{{"data":{{"type":"profile","id":"{profile_id}",'
                f'"attributes":{{"properties":{{"b":"{"x" * (size - empty)}"}}}}}}}}'
            ).encode()
            assert len(raw) == size
            replies.append(await caller.api("PATCH", f"/api/profiles/{profile_id}", raw=raw))

        assert [reply.status for reply in replies] == [200, status]


async def test_every_answer_was_held_to_the_document(caller: Caller, account: Account) -> None:
    if caller.spec is None:
        pytest.skip(klaviyo_spec.MISSING_REASON)

    await caller.api("GET", "/api/metrics")
    await caller.api("GET", "/api/metrics", headers={"Authorization": "x"})

    assert caller.checked == 2
