"""The box as a process, its buttons' refusals, and the checker that the other tests lean on."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shared.clock import FrozenClock
from simulator.account import Account
from simulator.app import serving
from simulator.world import World
from tests.contract import klaviyo_spec
from tests.contract.klaviyo_spec import MEDIA_TYPE, Spec, SpecViolation, check_request, check_response
from tests.contract.simulator_box import Caller, profile_body, running_box

ROOT = Path(__file__).resolve().parents[2]
SCALED = "scaled:60:1700000000:2026-11-23T10:00:00+00:00"


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "simulator", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def test_it_prints_where_it_is_and_stops_when_told() -> None:
    with process("--port", "0", "--clock-spec", SCALED, "--set", "hold_on_retry=true") as started:
        assert started.stdout is not None
        told = json.loads(started.stdout.readline())
        with urllib.request.urlopen(f"{told['url']}/_sim/settings", timeout=5) as answer:
            settings = json.load(answer)
        with urllib.request.urlopen(f"{told['url']}/_sim/health", timeout=5) as answer:
            now = json.load(answer)["now"]
        started.send_signal(signal.SIGTERM)

        assert started.wait(timeout=10) == 0

    assert told["pid"] > 0
    assert settings["hold_on_retry"] is True
    assert now > "2027"


def test_it_keeps_its_ledger_in_a_file_until_it_is_told_to_stop(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with process("--ledger", str(path), "--seed", "7") as started:
        assert started.stdout is not None
        told = json.loads(started.stdout.readline())
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{told['url']}/api/metrics", timeout=5)
        started.send_signal(signal.SIGTERM)

        assert started.wait(timeout=10) == 0

    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["kind"], first["seed"]) == ("start", 7)
    assert (second["operation"], second["status"], second["account"]) == ("get_metrics", 401, None)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--ledger", "/nowhere/ledger.jsonl"), "--ledger"),
        (("--set", "hold_on_retri=true"), "hold_on_retri"),
        (("--set", "webhook_timeout_s=-1"), "webhook_timeout_s"),
        (("--set", "nonsense"), "NAME=VALUE"),
        (("--clock-spec", "yesterday"), "yesterday"),
    ],
)
def test_a_wrong_option_is_named_and_nothing_starts(arguments: tuple[str, ...], problem: str) -> None:
    with process(*arguments) as started:
        _, errors = started.communicate(timeout=20)

    assert started.returncode == 2
    assert problem in errors


# --- buttons ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def boxed() -> AsyncIterator[tuple[Caller, Account]]:
    async with running_box(FrozenClock()) as made:
        yield made


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "/accounts", {}, 400, "name"),
        ("POST", "/accounts", {"name": "x", "colour": 1}, 400, "colour"),
        ("POST", "/accounts/{a}/flows", {"name": "x", "actions": [{"type": "send-email"}]}, 400, "subject"),
        ("POST", "/accounts/{a}/flows", {"name": "x", "actions": [{"type": "fly"}]}, 400, "actions.0"),
        ("POST", "/accounts/{a}/keys", {"value": "taken"}, 400, "exists"),
        ("POST", "/accounts/{a}/profiles", {"profiles": [{"id": "p1"}]}, 400, "p1 exists"),
        ("POST", "/accounts/{a}/foreign-traffic", {"operation": "x", "per_s": 1}, 400, "no operation x"),
        ("POST", "/accounts/{a}/render", {"profile_id": "nobody"}, 400, "nobody"),
        ("POST", "/accounts/{a}/export/finish", {"path": "x"}, 400, "x"),
        ("PUT", "/settings", {"oversize_status": 418}, 400, "oversize_status"),
        ("GET", "/accounts/nobody/outcomes", None, 404, "nobody"),
        ("POST", "/accounts/{a}/flows/none/trigger", {}, 404, "none"),
        ("DELETE", "/accounts/{a}/keys/none", None, 404, "no such key"),
    ],
)
async def test_a_wrong_button_says_what_is_wrong(
    boxed: tuple[Caller, Account], method: str, path: str, body: Any, status: int, said: str
) -> None:
    caller, account = boxed
    world = caller.box.world
    world.add_key(account, [], "taken")
    world.add_profile(account, {}, "p1")

    answer = await caller.sim(method, path.replace("{a}", account.id), body, status=status)

    assert said in json.dumps(answer["error"])


async def test_a_flow_can_be_given_ids_but_not_taken_ones(boxed: tuple[Caller, Account]) -> None:
    caller, account = boxed
    mail = {"type": "send-email", "id": "70000012", "message_id": "WelMsg", "subject": "s", "html": "h"}
    body = {"id": "WELC01", "name": "Welcome", "actions": [mail]}

    made = await caller.sim("POST", f"/accounts/{account.id}/flows", body)
    again = await caller.sim("POST", f"/accounts/{account.id}/flows", body, status=400)

    assert (made["id"], made["actions"][0]["id"], made["actions"][0]["message_id"]) == ("WELC01", "70000012", "WelMsg")
    assert again == {"error": "flow WELC01 exists"}


async def test_an_action_takes_only_what_its_type_has(boxed: tuple[Caller, Account]) -> None:
    caller, account = boxed
    actions = [{"type": "time-delay", "value": 1}, {"type": "send-webhook", "url": "https://x.example", "body": "{}"}]
    flow = await caller.sim("POST", f"/accounts/{account.id}/flows", {"name": "x", "actions": actions})
    path = f"/accounts/{account.id}/flows/{flow['id']}/actions"

    refused = await caller.sim("PATCH", f"{path}/{flow['actions'][0]['id']}", {"subject": "s"}, status=400)
    delay = await caller.sim("PATCH", f"{path}/{flow['actions'][0]['id']}", {"unit": "hours", "value": 4})
    webhook = await caller.sim("PATCH", f"{path}/{flow['actions'][1]['id']}", {"body": '{"a":1}', "status": "draft"})

    assert refused == {"error": "a time-delay action has no subject"}
    assert (delay["data"]["unit"], delay["data"]["value"]) == ("hours", 4)
    assert (webhook["data"]["message"]["body"], webhook["data"]["status"]) == ('{"a":1}', "draft")


async def test_an_email_can_be_rendered_without_being_sent(boxed: tuple[Caller, Account]) -> None:
    caller, account = boxed
    profile_id = caller.box.world.add_profile(account, {"first_name": "Zoë <b>"})
    path = f"/accounts/{account.id}/render"

    shown = await caller.sim("POST", path, {"profile_id": profile_id, "html": "<p>{{ person.first_name }}</p>"})
    broken = await caller.sim("POST", path, {"profile_id": profile_id, "html": "{% now 'Y' %}"})

    assert shown["html"] == "<p>Zoë &lt;b&gt;</p>"
    assert "now" in broken["broken"]


async def test_time_moves_by_a_button_only_when_it_is_frozen(boxed: tuple[Caller, Account]) -> None:
    before = boxed[0].box.world.clock.now()

    answer = await boxed[0].sim("POST", "/clock/advance", {"seconds": 90})

    assert answer["now"] > before.isoformat()


async def test_an_export_stays_below_its_root(tmp_path: Path) -> None:
    world = World(FrozenClock(), export_root=tmp_path / "out")
    account = world.add_account("A")
    async with serving(world) as box, aiohttp.ClientSession() as session:
        caller = Caller(box, session, "", None)
        path = f"/accounts/{account.id}/export"
        inside = await caller.sim("POST", path, {"folder": "events"})
        outside = await caller.sim("POST", path, {"folder": "../elsewhere"}, status=400)

    assert inside["path"].startswith(str(tmp_path / "out" / "events"))
    assert "outside" in outside["error"]


# --- the checker -----------------------------------------------------------------------------------------------------


@pytest.fixture
def spec() -> Spec:
    loaded = klaviyo_spec.load_spec()
    if loaded is None:
        pytest.skip(klaviyo_spec.MISSING_REASON)
    return loaded


HEADERS = {"Authorization": "Klaviyo-API-Key pk_x", "Revision": "2026-07-15", "Content-Type": MEDIA_TYPE}
WRITE = json.dumps(profile_body("01X", {"a": 1}))


def test_a_right_request_passes_the_checker(spec: Spec) -> None:
    operation = check_request(spec, "PATCH", "/api/profiles/01X?fields[profile]=updated", HEADERS, WRITE)

    assert operation.id == "update_profile"


@pytest.mark.parametrize(
    ("method", "path", "changed", "body", "problem"),
    [
        ("PATCH", "/api/profile/01X", {}, WRITE, "no operation"),
        ("PUT", "/api/profiles/01X", {}, WRITE, "no operation"),
        ("PATCH", "/api/profiles/01X?fields[profile]=colour", {}, WRITE, "colour"),
        ("PATCH", "/api/profiles/01X?page=2", {}, WRITE, "query page"),
        ("PATCH", "/api/profiles/01X", {"Revision": ""}, WRITE, "revision"),
        ("PATCH", "/api/profiles/01X", {"Authorization": "Bearer x"}, WRITE, "authorization"),
        ("PATCH", "/api/profiles/01X", {"Content-Type": "application/json"}, WRITE, "content-type"),
        ("PATCH", "/api/profiles/01X", {}, "{", "no JSON"),
        ("PATCH", "/api/profiles/01X", {}, '{"data": {"type": "profile", "attributes": {}}}', "'id' is a required"),
        ("PATCH", "/api/profiles/01X", {}, WRITE.replace("profile", "person"), "person"),
        ("GET", "/api/events?page[size]=5000", {}, "", "5000"),
        ("GET", "/api/metrics", {}, "{}", "takes none"),
    ],
)
def test_a_wrong_request_is_caught(
    spec: Spec, method: str, path: str, changed: dict[str, str], body: str, problem: str
) -> None:
    with pytest.raises(SpecViolation, match=problem):
        check_request(spec, method, path, HEADERS | changed, body)


@pytest.mark.parametrize(
    ("status", "headers", "body", "problem"),
    [
        (302, {}, b"", "not documented"),
        (200, {"Content-Type": "text/html"}, b"<p>", "content-type"),
        (200, {"Content-Type": MEDIA_TYPE}, b"{}", "'data' is a required"),
        (404, {"Content-Type": MEDIA_TYPE}, b'{"errors": [{"code": "x"}]}', "'id' is a required"),
    ],
)
def test_a_wrong_response_is_caught(
    spec: Spec, status: int, headers: dict[str, str], body: bytes, problem: str
) -> None:
    with pytest.raises(SpecViolation, match=problem):
        check_response(spec, "PATCH", "/api/profiles/01X", status, headers, body)
