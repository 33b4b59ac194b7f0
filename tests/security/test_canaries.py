"""Secrets are planted in every place that takes one; then all that the services write down is searched for them.

The services run as processes that log all they have to say, are traced by a collector, and meet refusals and servers
that are not there, since what is said of a failure is where secrets get out. ASVS 5.0 V16.2.5, V13.3.1.
"""

import asyncio
import json
import re
import secrets
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pyotp
import pytest
import yaml
from aio_pika import Message
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from demo.box import Box
from devstack.isolation import fresh_database, fresh_virtual_host
from devstack.ports import LOOPBACK, free_ports
from devstack.processes import supervise
from devstack.services import environment, run_justai, services
from shared.clock import ScaledClock
from shared.messaging.broker import connect, open_channel
from shared.messaging.topology import GENERATE
from simulator.app import serving
from simulator.settings import SimulatorSettings
from simulator.world import World
from tests.component.console.browser import Browser
from tests.security.watching import collecting, found_in, tapped
from tests.support.servers import Servers
from tests.support.waiting import eventually

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

FACTOR = 20.0
NAMES = ("gateway", "generator", "profile_writer", "ingest", "ranker", "egress", "console")
ROOT = Path(__file__).parents[2]
TEMPLATE = {
    "template_id": "welcome",
    "name": "Welcome",
    "state": "active",
    "delay_s": 60,
    "send_window_s": 60,
    "control": {"subject": "Hello", "preheader": "News", "body": "<p>Hello</p>"},
    "variants": [
        {
            "name": "Warm",
            "approved": True,
            "subject": "Hello {{ first_name | default: 'you' }}",
            "preheader": "News",
            "body": "<p>Hello {{ first_name | default: 'you' }}</p>",
        }
    ],
}


def canary(prefix: str = "") -> str:
    return f"{prefix}{secrets.token_hex(16)}"


@dataclass
class Planted:
    """By name. `private`: what a person is called, which queues and the database hold, and no log or trace may."""

    secrets: dict[str, str] = field(default_factory=dict)
    private: dict[str, str] = field(default_factory=dict)

    def put(self, name: str, value: str) -> str:
        self.secrets[name] = value
        return value


async def test_no_secret_stands_in_a_log_a_message_a_trace_a_metric_or_a_dump(servers: Servers, tmp_path: Path) -> None:
    endpoints = servers.need("postgres", "rabbitmq")
    origin, real_origin = datetime(2026, 11, 23, 10, tzinfo=UTC), time.time()
    clock = f"scaled:{FACTOR:g}:{real_origin}:{origin.isoformat()}"
    world = World(ScaledClock(origin, FACTOR, real_origin), SimulatorSettings())
    planted, places = Planted(), dict[str, bytes]()
    async with (
        fresh_database(endpoints.database_url) as database_url,
        fresh_virtual_host(endpoints) as amqp_url,
        tapped(endpoints, amqp_url) as messages,
        collecting() as collector,
        serving(world) as box,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http,
    ):
        [console_port] = free_ports(1)
        console_url = f"http://{LOOPBACK}:{console_port}"
        env = environment(
            database_url=database_url, amqp_url=amqp_url, clock=clock, gateway_linger_s="0.1", log_level="DEBUG",
            otlp_url=collector.url, console_listen=console_url.removeprefix("http://"), console_url=console_url,
            console_plain_cookies="true", llm_provider="openai", llm_url=f"http://{LOOPBACK}:{free_ports(1)[0]}/v1",
            llm_model="none", llm_api_key=planted.put("the model's key", canary("sk-")),
        )  # fmt: skip
        planted.put("the database's password", urlsplit(database_url).password or "")
        planted.put("the broker's password", urlsplit(amqp_url).password or "")
        for name in ("SEAL_KEYS", "API_KEY_PEPPERS"):
            planted.put(name, env[f"JUSTAI_{name}"].partition(":")[2])
        buttons = Box(http, box.url)
        person = await _set_up(env, buttons, box.url, planted, tmp_path)

        running = services(env, NAMES)
        logs = tmp_path / "logs"
        async with supervise(running.commands, log_dir=logs, cwd=ROOT):
            await _be_somebody(console_url, logs, planted)
            await _send(http, running.gateway_url, planted, person)
            await eventually(lambda: "jai_for" in held_by(world, person), within_s=30)
            world.keys.clear()  # from now on Klaviyo refuses our key
            await _send(http, running.gateway_url, planted, person, again=True)
            await _poison(amqp_url)
            await eventually(lambda: b"klaviyo.key_refused" in read(logs), within_s=40)
            await eventually(lambda: any(b"unreadable" in one for one in messages), within_s=20)
            places["metrics"] = b"".join([await _metrics(http, one.ready_url or "") for one in running.commands])
        places["logs"] = read(logs)
        places["messages"] = b"\n".join(messages)
        places["traces"] = b"\n".join(collector.bodies)
        places["the dump"] = await dump_of(database_url)

    assert found_in(places, planted.secrets) == []
    assert found_in({name: places[name] for name in ("logs", "traces", "metrics")}, planted.private) == []
    # What is searched is what was meant: names that are no secret stand in it.
    assert "a name in messages" in found_in(places, planted.private)
    assert b"service.configured" in places["logs"]
    assert b"welcome" in places["the dump"]
    told = set(re.findall(rb'"event":"([a-z_.]+)"', places["logs"]))
    assert told >= {b"webhook.refused", b"source.failed", b"uploads.not_swept", b"klaviyo.key_refused"}
    assert len(messages) >= 10
    assert b"gateway" in places["traces"]
    assert len(planted.secrets) >= 15


def read(logs: Path) -> bytes:
    """All that the processes have said."""
    return b"".join(path.read_bytes() for path in sorted(logs.glob("*")))


def held_by(world: World, person: str) -> str:
    """The names of what stands on a profile."""
    return " ".join(name for account in world.accounts.values() for name in account.profiles[person].state.properties)


async def dump_of(database_url: str) -> bytes:
    """By the very server's own program."""
    connection = await asyncpg.connect(database_url)
    try:
        folder = await connection.fetchval("SELECT setting FROM pg_config WHERE name = 'BINDIR'")
    finally:
        await connection.close()
    return await asyncio.to_thread(
        subprocess.check_output, [f"{folder}/pg_dump", "--inserts", "--dbname", database_url], timeout=60
    )


async def _metrics(http: aiohttp.ClientSession, ready_url: str) -> bytes:
    async with http.get(ready_url.replace("/readyz", "/metrics")) as answer:
        return await answer.read()


async def _set_up(env: dict[str, str], box: Box, box_url: str, planted: Planted, folder: Path) -> str:
    """An org with all that it can be told in confidence, on servers that are not there; a person of its account."""
    await run_justai(env, "org", "create", "acme", "Acme")
    api_key = await run_justai(env, "key", "create", "acme", "webhook", "--quiet")
    planted.put("the API key", api_key.strip())
    admin = await run_justai(env, "key", "create", "acme", "robot", "--scope", "admin", "--quiet")
    planted.put("the key of an administrator", admin.strip())
    private_key = planted.put("Klaviyo's key", await box.open_account("Acme"))
    await run_justai(env, "klaviyo", "connect", "acme", "--base-url", box_url, "--key-stdin", given=private_key)
    ssh_key = ed25519.Ed25519PrivateKey.generate()
    path = folder / "id_ed25519"
    text = ssh_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    ).decode()
    path.write_text(text)
    for number, line in enumerate(text.splitlines()[2:-2]):
        planted.put(f"the SFTP key, line {number}", line)
    public = ssh_key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    nowhere = str(free_ports(1)[0])
    await run_justai(
        env, "source", "add", "acme", "events", "--host", LOOPBACK, "--port", nowhere, "--user", "acme",
        "--path", "/out", "--host-key", public.decode(), "--key-file", str(path), "--poll-s", "10",
    )  # fmt: skip
    secret = planted.put("the S3 secret", canary("s3/"))
    await run_justai(
        env, "export", "target", "acme", "--bucket", "records", "--endpoint-url", f"http://{LOOPBACK}:{nowhere}",
        "--access-key", "AKID", given=f"{secret}\n",
    )  # fmt: skip
    template = folder / "welcome.yaml"
    template.write_text(yaml.safe_dump(TEMPLATE))
    await run_justai(env, "template", "import", "acme", str(template))
    planted.private["a name"] = canary("Zoe")
    planted.private["an email"] = f"{canary()}@people.example"
    [person] = await box.add_people([{"email": planted.private["an email"], "first_name": planted.private["a name"]}])
    return person


async def _be_somebody(url: str, logs: Path, planted: Planted) -> None:
    """The first person of the console, with a second factor, who types something wrong in every place first."""
    [set_up] = re.findall(rb'"set_up": ?"([^"]+)"', read(logs))[:1]
    password = planted.put("the password", canary("violet teapot "))
    wrong = planted.put("a wrong password", canary("green kettle "))
    async with Browser(url) as browser:
        form = {"name": "Ann", "email": "ann@example.com", "password": password, "again": password}
        org = re.search(r'value="([0-9a-f-]{36})"', (await browser.get(urlsplit(set_up.decode()).path)).html)
        await browser.post(urlsplit(set_up.decode()).path, **form, **({"org": org[1]} if org else {}))
        planted.put("a session", browser.token or "")
        await browser.sign_in("ann@example.com", wrong)
        await browser.sign_in("ann@example.com", password)
        planted.put("another session", browser.token or "")
        page = await browser.get("/_account/two-factor")
        seed = re.search(r'value="((?:[A-Z2-7]{4} ){7}[A-Z2-7]{4})"', page.html)
        assert seed is not None
        app = pyotp.TOTP(planted.put("the TOTP seed", seed[1].replace(" ", "")))
        done = await browser.post("/_account/two-factor", code=app.now(), current=password)
        for number, code in enumerate(re.findall(r"\b[a-z2-7]{4}(?:-[a-z2-7]{4}){3}\b", done.html)[:3]):
            planted.put(f"a recovery code, {number}", code)
        await browser.post("/acme/integration", private_key=planted.put("a Klaviyo key that is none", canary("pk_")))
        headers = {"X-Api-Key": planted.secrets["the key of an administrator"]}
        for key in (
            planted.secrets["the key of an administrator"],
            planted.put("a key that is none", "jai_live_" + canary()),
        ):
            await browser.ask("GET", "/api/v1/orgs/acme/audit", headers={**headers, "X-Api-Key": key})


async def _send(http: aiohttp.ClientSession, url: str, planted: Planted, person: str, *, again: bool = False) -> None:
    """A webhook that is fine, and ones that are not, by a key that is good and by one that is none."""
    name = planted.private["a name"] + ("!" if again else "")
    body = {
        "template_id": "welcome", "user_id": person, "tracking_id": f"{person}.FLOW.ACTION",
        "fields": {"first_name": name, "email": planted.private["an email"]}, "attrs": {"plan": name},
    }  # fmt: skip
    target, good = f"{url}/api/generate/acme", {"X-Api-Key": planted.secrets["the API key"]}
    async with http.post(target, json=body, headers=good) as answer:
        assert answer.status == 202, await answer.text()
    broken = json.dumps({**body, "user_id": name}).encode()
    for data, key in (
        (broken, good["X-Api-Key"]), (broken[:-5], good["X-Api-Key"]), (broken, planted.secrets["a key that is none"]),
    ):  # fmt: skip
        async with http.post(target, data=data, headers={"X-Api-Key": key}) as answer:
            assert answer.status in (401, 422)
    query = {"template_id": "welcome", "user_id": person, "tracking_id": f"{person}.F.A", "fields.first_name": name}
    async with http.get(target, params=query, headers={"Authorization": f"Bearer {good['X-Api-Key']}"}) as answer:
        assert answer.status in (200, 202, 422)


async def _poison(amqp_url: str) -> None:
    """What no service can read, where each takes its work from."""
    async with connect(amqp_url, "poison") as connection:
        channel = await open_channel(connection)
        await channel.default_exchange.publish(Message(b'{"no": "job"}'), routing_key=GENERATE.queues[0])
