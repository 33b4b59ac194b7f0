"""`justai doctor`: is everything there that the system needs, and what should be done?"""

import asyncio
import importlib
import json
import shutil
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import click

from cli import doctor_rules as rules
from cli.display import printable
from cli.doctor_rules import DatabaseSeen, Finding, SealedSeen, UrlSeen, Waits
from cli.session import command
from shared.admin.checks.driven_away_store import OF_SERVED
from shared.admin.sources.sources import MENDED
from shared.api_keys import Peppers
from shared.crypto import KeyRing, SealError, key_name
from shared.db import migrate
from shared.db.sealed import SELECT_SEALED
from shared.errors import Failure
from shared.keyring import LIVES, SELECT_HOLDERS, Holder, read_keys
from shared.messaging import inspection
from shared.schemas.decisions import NOT_RENDERED
from shared.settings import ServiceSettings, SettingsError
from shared.source_silence import GAPS, silent_since

_TIMEOUT_S: Final = 20.0
_SERVICES: Final = ("gateway", "generator", "profile_writer", "ingest", "ranker", "egress", "console")
_MARKS: Final = {"ok": "ok", "warn": "!", "bad": "!!"}

SELECT_SERVER: Final = """
    SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS said,
        clock_timestamp() AS now, current_setting('max_connections')::int AS most,
        (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
        (SELECT max(clock_timestamp() - xact_start) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()) AS longest,
        (SELECT coalesce(sum(1 + (SELECT count(*) FROM pg_index x WHERE x.indrelid = i.inhrelid)), 0)::int
         FROM pg_inherits i WHERE i.inhparent = ANY (ARRAY[
             to_regclass('generations'), to_regclass('write_outcomes'), to_regclass('events')])) AS locks,
        current_setting('max_locks_per_transaction')::int * (current_setting('max_connections')::int
            + current_setting('max_prepared_transactions')::int) AS most_locks
"""
SELECT_ROLE: Final = """
    SELECT r.rolsuper OR r.rolbypassrls AS above_rules,
        EXISTS (SELECT FROM pg_tables WHERE schemaname = 'public' AND tableowner = $1) AS owns
    FROM pg_roles r WHERE r.rolname = $1
"""
SELECT_LEDGER: Final = "SELECT to_regclass('schema_migrations')"
SELECT_PEPPERS: Final = "SELECT DISTINCT pepper FROM api_keys WHERE revoked_at IS NULL"
SELECT_REFUSED: Final = "SELECT slug FROM write_pauses JOIN orgs USING (org_id) ORDER BY slug"
_UNASKED: Final = ", ".join(f"'{one}'" for one in sorted(NOT_RENDERED | {"no_approved_variant", "unknown_template"}))
SELECT_WAITING: Final = f"""
    SELECT slug, what, found.name, n::int FROM (
        SELECT org_id, 'org' AS what, '' AS name, 1 AS n FROM orgs WHERE stopped_at IS NOT NULL
        UNION ALL SELECT org_id, 'template', template_id, 1 FROM templates WHERE stopped_at IS NOT NULL
        UNION ALL SELECT org_id, 'variants', template_id, count(*) FROM variants WHERE state = 'paused' GROUP BY 1, 3
        UNION ALL SELECT org_id, 'fit', template_id, 1 FROM policy_fits WHERE error IS NOT NULL
        UNION ALL SELECT org_id, 'leaving', template_id, 1 FROM {OF_SERVED}
        UNION ALL SELECT org_id, 'control', template_id, lost FROM orgs CROSS JOIN LATERAL (
            SELECT template_id, sum(emails) AS emails, sum(emails) FILTER (WHERE decided IN ({_UNASKED})) AS lost
            FROM shown_counts c WHERE c.org_id = orgs.org_id AND span = 60 AND at > $1::timestamptz - interval '1 hour'
            GROUP BY 1
        ) counted WHERE lost > 10 AND lost > 0.2 * emails
        UNION ALL SELECT s.org_id, 'files', s.name, count(*) FROM ingest_files f JOIN sources s USING (source_id)
            WHERE f.state IN ('held', 'failed') AND s.removed_at IS NULL AND NOT {MENDED} GROUP BY 1, 3
        UNION ALL SELECT org_id, 'source', name, 1 FROM sources
            WHERE enabled AND removed_at IS NULL AND (refused_at IS NOT NULL OR last_error IS NOT NULL)
        UNION ALL SELECT org_id, 'webhooks', '', sum(webhooks) FROM refused_webhooks
            WHERE flow_id <> '' GROUP BY 1 HAVING max(last_at) > $1
        UNION ALL SELECT org_id, 'hours', '', count(*) FROM export_hours
            WHERE state = 'blocked' AND coalesce(error, '') NOT LIKE 'rows_are_gone%' GROUP BY 1
    ) found JOIN orgs USING (org_id) ORDER BY slug, what, found.name LIMIT {rules.MOST_WAITING + 1}
"""  # noqa: S608  # our own text

SELECT_GAPS: Final = f"""
    SELECT slug, s.name, seen.* FROM sources s JOIN orgs USING (org_id)
    CROSS JOIN LATERAL ({GAPS.format(source_id="s.source_id")}) seen WHERE s.enabled AND s.removed_at IS NULL
"""  # noqa: S608  # the same


@click.command("doctor")
@click.option("--url", help="The public address that Klaviyo calls, like https://copy.example.com: tried from here.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array of findings in place of the lines.")
@command
async def doctor(url: str | None, as_json: bool) -> None:
    """Check settings, servers, schema, queues, keys, clocks, room, orgs, and say what to do.

    \b
    ok  it is well
    !   it works, and should be looked at
    !!  it does not work

    Changes nothing. Ends with status 1 when something does not work (!!), so that a script can watch it. Orgs are named
    in which something waits for somebody; more of one org tells `justai check ORG`.
    """
    found = [finding async for finding in _look(url)]
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=1))
    else:
        for one in found:
            click.echo(f"{_MARKS[one.tone]:>2} {one.area:<9} {printable(_said(one))}")
    if any(one.tone == "bad" for one in found):
        raise SystemExit(1)


def _said(finding: Finding) -> str:
    return f"{finding.says.rstrip('.')}.{' ' + finding.do if finding.do else ''}"


async def _look(url: str | None) -> AsyncIterator[Finding]:
    settings = None
    for one in of_configuration():
        yield one
    try:
        settings = ServiceSettings.read()
    except SettingsError:
        return  # said above; without them there is nothing to reach
    looks: list[tuple[str, str, Callable[[], Awaitable[Iterable[Finding]]]]] = [
        ("database", "PostgreSQL (JUSTAI_DATABASE_URL)", lambda: _database(settings)),
        ("broker", "RabbitMQ (JUSTAI_AMQP_URL)", lambda: _broker(settings)),
    ]
    if url is not None:
        looks.append(("address", url, lambda: _address(url)))
    for area, what, look in looks:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                findings = list(await look())
        except (Failure, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            findings = [
                Finding(area, "bad", f"{what} is out of reach: {_why(error)}", "Is it up, and the address right?")
            ]
        for finding in findings:
            yield finding
    for one in of_room():
        yield one


def _why(error: BaseException) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__


def of_configuration() -> Iterable[Finding]:
    """Every service's settings, as this environment has them."""
    faults: dict[str, list[str]] = {}
    for service in _SERVICES:
        try:
            importlib.import_module(f"services.{service}.settings").Settings.read()
        except SettingsError as error:
            for line in str(error).splitlines():
                faults.setdefault(line, []).append(service)
    for line, services in faults.items():
        whose = "every service" if len(services) == len(_SERVICES) else ", ".join(services)
        yield Finding("settings", "bad", f"{line} ({whose})", "docs/configuration.md says what each setting is.")
    if not faults:
        yield Finding("settings", "ok", "The settings of every service are usable")


def of_room() -> Iterable[Finding]:
    """Folders for files in hand that are set and to be seen here. In a container the doctor has a disk of its own, and
    what the system's folder has is not what theirs has: of that it says nothing."""
    for service in ("ingest", "egress"):
        with suppress(SettingsError):  # said already
            read = importlib.import_module(f"services.{service}.settings").Settings.read()
            folder = getattr(read, f"{service}_spool_dir")
            if folder is not None and Path(folder).is_dir():
                variable = f"JUSTAI_{service.upper()}_SPOOL_DIR"
                yield rules.of_room(variable, str(folder), shutil.disk_usage(folder).free)


async def _database(settings: ServiceSettings) -> Iterable[Finding]:
    connection = await asyncpg.connect(
        settings.database_url.get_secret_value(), server_settings={"timezone": "UTC"}, timeout=_TIMEOUT_S
    )
    try:
        [row] = await connection.fetch(SELECT_SERVER)
        here = datetime.now(UTC)
        files = migrate.load()
        applied = await _applied(connection)
        seen = DatabaseSeen(
            version=row["version"], said=f"PostgreSQL {row['said'].split()[0]}", applied=applied.keys(),
            edited={file.name for file in files if applied.get(file.name, file.sha256) != file.sha256},
            role_problem=await _role_problem(connection, settings.database_role) if applied else None,
            now=row["now"], used=row["used"], most=row["most"], longest=row["longest"], locks=row["locks"],
            most_locks=row["most_locks"],
        )  # fmt: skip
        found = list(rules.of_database(seen, files, here, real_time=True))
        if not any(one.tone == "bad" and one.area == "schema" for one in found):
            found += await _stored(connection, settings)
        return found
    finally:
        await connection.close()


async def _applied(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, str]:
    if await connection.fetchval(SELECT_LEDGER) is None:
        return {}
    return {row["name"]: row["sha256"] for row in await connection.fetch(migrate.SELECT_APPLIED)}


async def _role_problem(connection: "asyncpg.Connection[asyncpg.Record]", role: str) -> str | None:
    row = await connection.fetchrow(SELECT_ROLE, role)
    if row is None:
        return f"The role {role} does not exist"
    if row["above_rules"] or row["owns"]:
        return f"The role {role} stands above row-level security"
    return None


async def _stored(connection: "asyncpg.Connection[asyncpg.Record]", settings: ServiceSettings) -> Sequence[Finding]:
    """Secrets, API keys and accounts, as services see them."""
    await connection.execute("SELECT set_config('role', $1, false)", settings.database_role)
    try:
        ring = KeyRing(await read_keys(settings.seal_keys.get_secret_value()))
    except Failure as error:
        return [Finding("keys", "bad", str(error), "Services do not start without it: see JUSTAI_SEAL_KEYS.")]
    sealed = [
        SealedSeen(row["owner"], row["what"], key_name(row["sealed"]), _opens(ring, row["sealed"], row["place"]))
        for row in await connection.fetch(SELECT_SEALED)
    ]
    rows = await connection.fetch(SELECT_HOLDERS, datetime.now(UTC) - LIVES)
    held = [Holder(row["service"], row["host"], row["keys"]) for row in rows]
    peppers = {row["pepper"] for row in await connection.fetch(SELECT_PEPPERS)}
    known = Peppers(settings.api_key_peppers.get_secret_value()).numbers
    refused = [row["slug"] for row in await connection.fetch(SELECT_REFUSED)]
    now = datetime.now(UTC)
    waiting = [Waits(*row) for row in await connection.fetch(SELECT_WAITING, now - rules.LATELY)]
    for slug, name, newest_at, gaps, usual_gap_s in await connection.fetch(SELECT_GAPS):
        if silent_since(newest_at, gaps, usual_gap_s, now) is not None:
            waiting.append(Waits(slug, "silent", name))
    waiting.sort(key=lambda one: (one.slug, one.what, one.name))
    return [
        *rules.of_secrets(sealed, ring.names[0]), *rules.of_holders(held, ring.names[0]),
        rules.of_peppers(peppers, known), *rules.of_accounts(refused), *rules.of_orgs(waiting),
    ]  # fmt: skip


def _opens(ring: KeyRing, sealed: str, place: str) -> bool:
    try:
        ring.open(sealed, place)
    except SealError:
        return False
    return True


async def _broker(settings: ServiceSettings) -> Iterable[Finding]:
    return rules.of_broker(await inspection.look(settings.amqp_url.get_secret_value(), "justai-doctor"))


async def _address(url: str) -> Iterable[Finding]:
    return rules.of_url(await ask(url), datetime.now(UTC))


async def ask(url: str) -> UrlSeen:
    """The webhook's own path of an org that is not there, without a key: the gateway says 401, in its own words."""
    path = f"{url.rstrip('/')}/api/generate/doctor"
    until = await _certificate_until(url) if url.startswith("https://") else None
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S / 2)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.post(path, json={}, allow_redirects=False) as answer,
        ):
            is_ours = answer.status == 401 and "missing_api_key" in await answer.text(errors="replace")
            return UrlSeen(path, answer.status, answer.headers.get("Location"), None, until, is_ours)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return UrlSeen(path, error=_why(error), certificate_until=until)


async def _certificate_until(url: str) -> datetime | None:
    """When the server's certificate ends; None where it cannot be had, which the call itself will say why."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(_TIMEOUT_S / 2):
            _, writer = await asyncio.open_connection(
                parts.hostname, parts.port or 443, ssl=ssl.create_default_context()
            )
    except (OSError, TimeoutError, ssl.SSLError):
        return None
    try:
        shown = writer.get_extra_info("peercert") or {}
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC) if "notAfter" in shown else None
    finally:
        writer.close()
